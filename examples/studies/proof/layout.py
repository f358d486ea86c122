"""Where a piece of the proof lies, and what it asks for."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.files import read_json, write_json
from nas.experiment import Experiment

FAMILIES = ("gan", "cgan")
SEEDS = (0, 1, 2)
PROGRAM = "python -m examples.studies.proof"


class ProofError(RuntimeError):
    """A piece that cannot be made, or pieces that cannot stand in one table; says what to do."""


@dataclass(frozen=True)
class Proof:
    """What all pieces share.

    Args:
        experiments: Folder of ``proof-<family>.yaml``.
        runs: Gets the run folders, which are not kept.
        results: Gets one JSON file a piece, which are.
        overrides: Of the experiments, ``search.minutes=1``; the same for every piece.
        processes: Fresh processes that final timings are taken in.
        seconds: Of paired timing in each of them, a batch.
    """

    experiments: Path = Path("examples")
    runs: Path = Path("runs/proof")
    results: Path = Path("docs/results")
    overrides: tuple[str, ...] = ()
    processes: int = 7
    seconds: float = 4.0

    def arguments(self) -> list[str]:
        """Return the options that make another process use this proof; none for the ordinary one."""
        usual, found = Proof(), list[str]()
        for name in ("experiments", "runs", "results", "processes", "seconds"):
            if getattr(self, name) != getattr(usual, name):
                found += [f"--{name}", str(getattr(self, name))]
        return found + [word for text in self.overrides for word in ("--set", text)]


@dataclass(frozen=True)
class Piece:
    """One family and one seed of a proof."""

    family: str
    seed: int
    proof: Proof = field(default_factory=Proof)

    @classmethod
    def parse(cls, name: str, proof: Proof) -> "Piece":
        """Return the piece that is called ``gan-0``. Raises ProofError if there is no such name."""
        family, _, seed = name.strip().rpartition("-")
        if family not in FAMILIES or not seed.isdecimal():
            raise ProofError(f"a piece is a family and a seed, such as gan-0 or cgan-2; found {name!r}")
        return cls(family, int(seed), proof)

    @property
    def name(self) -> str:
        """``gan-0``."""
        return f"{self.family}-{self.seed}"

    @property
    def folder(self) -> Path:
        """Our run."""
        return (self.proof.runs / self.name).absolute()

    @property
    def random_folder(self) -> Path:
        """The run that searches at random."""
        return (self.proof.runs / f"{self.name}-random").absolute()

    @property
    def rivals(self) -> Path:
        """What else can be done to the same reference, and a JSON file for every finished part of the piece."""
        return (self.proof.runs / f"{self.name}-rivals").absolute()

    @property
    def log(self) -> Path:
        """What the piece printed, where several are made at once."""
        return (self.proof.runs / f"{self.name}.log").absolute()

    @property
    def result(self) -> Path:
        """The JSON file that is kept."""
        return self.proof.results / f"{self.name}.json"

    def experiment(self, *overrides: str) -> Experiment:
        """Return the experiment of this seed, in one worker, with ``overrides`` on top."""
        own = (f"name={self.name}", f"seed={self.seed}", "search.workers=1")
        file = self.proof.experiments / f"proof-{self.family}.yaml"
        return Experiment.load(file, [*self.proof.overrides, *own, *overrides])

    def command(self, step: str) -> str:
        """Return the command line of ``step``: ``piece`` or ``time``."""
        return shlex.join([*PROGRAM.split(), *self.proof.arguments(), step, self.family, str(self.seed)])

    def part(self, name: str) -> Any:
        """Return what the part ``name`` left when it finished, or ``None`` if it did not."""
        path = self.rivals / f"{name}.json"
        return read_json(path) if path.is_file() else None

    def finish(self, name: str, value: Any) -> Any:
        """Leave what marks the part ``name`` as finished, and return it."""
        write_json(self.rivals / f"{name}.json", value)
        return value
