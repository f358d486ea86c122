"""Members of a space measured on this machine, one after another, and the latency predictor that is fitted to them.

Of what is drawn uniformly some are held out; half of the rest is drawn among those that a first fit predicts to be in
the fastest quarter, because most of a space is slow and a search looks for the fast. Each is timed in turns with one
fixed model, whose own time drifts with the machine: only ratios are kept. What is measured is in a file beside the
result at once, and is not measured again.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cost import count_cost
from benchmarks.fingerprint import fingerprint
from benchmarks.inputs import InputSpec
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import Ratio, Target
from benchmarks.statistics import summarize
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import Bench
from nas.device_profile import SCHEMA, Anchor, DeviceProfile, SpaceKey, space_hash
from nas.errors import NasError
from nas.log import Log, read_log
from nas.predictor import FASTEST_SHARE, Member, Predictor, macs_errors
from nas.progress import Progress
from nas.seeds import Stream
from search_spaces.space import Genotype, ImageShape, SearchSpace, SearchSpaceError

TASK = "profile"
LOOKS_S = (0.3, 1.0)  # of paired timing: longer where the first leaves a wide interval, as on a busy machine
WIDE = 0.05  # half an interval, as a share of the ratio
ANCHOR_S = 2.0
LEAST_MEMBERS, LEAST_HELD_OUT = 40, 20
REFUSALS = 50  # genotypes in a row that the space does not build: then it builds none for this image
DRAFTS = 100  # for each genotype that is measured

_MAX_RATIO = 1e6
HELD_OUT, UNIFORM, FAST = "held out", "uniform", "fast"


@dataclass(frozen=True)
class Assignment:
    """What is profiled.

    Args:
        space: Whose members are measured.
        inputs: What generators take.
        image: What they draw.
        target: Where they run.
        members: Genotypes to fit to.
        held_out: Genotypes to judge the fit by.
        seed: Of the genotypes.
    """

    space: SearchSpace
    inputs: tuple[InputSpec, ...]
    image: ImageShape
    target: Target
    members: int
    held_out: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """What must agree for measurements to be of one kind; how many there are does not matter."""
        return {
            "space": {"name": self.space.name, "sha256": space_hash(self.space)},
            "machine": fingerprint().to_json(),
            "target": self.target.to_json(),
            "image": [self.image.channels, self.image.height, self.image.width],
            "inputs": [spec.to_json() for spec in self.inputs],
            "seed": self.seed,
        }

    @property
    def stock(self) -> Genotype:
        """What all members are timed against: the first that the space has a name for, or else one of its samples."""
        return next(iter(self.space.named.values()), None) or self.space.sample(np.random.default_rng(self.seed))


class Profiler:
    """Measures what is missing, then fits.

    Args:
        assignment: What is profiled.
        log: File of the measurements; those that it holds are taken from there.
        progress: Hears of each.
        clock: Monotonic seconds.

    Raises:
        NasError: ``log`` is of another assignment.
    """

    def __init__(
        self, assignment: Assignment, log: Path, progress: Progress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job, self._progress, self._clock = assignment, progress, clock
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = Log(log)
        self._known = _read(log, assignment)
        if not log.is_file():
            self._log.write("profile", **assignment.to_json())
        self._members: dict[str, list[Member]] = {HELD_OUT: [], UNIFORM: [], FAST: []}
        self._seen: set[str] = set()
        self._bench = Bench(
            assignment.target,
            assignment.inputs,
            seed=(assignment.seed, Stream.TIMING),
            calibration_seed=(assignment.seed, Stream.CALIBRATION),
        )

    def run(self, minutes: float) -> DeviceProfile:
        """Return the profile of what was measured once everything is, or ``minutes`` are over.

        Raises:
            NasError: too little was measured to fit to, or the space builds nothing for this image.
        """
        job = self._job
        end = self._clock() + 60 * minutes
        known = sum("error" not in row for row in self._known.values())
        self._progress.start(TASK, job.members + job.held_out, "genotypes", done=known)
        with tempfile.TemporaryDirectory(prefix="leangen-profile-") as folder:
            anchor = Path(folder) / "anchor.onnx"
            self._export_anchor(anchor)
            for part, genotype in self._drafts():
                if self._clock() >= end:
                    break
                self._take(part, genotype, anchor)
                self._progress.update(TASK, sum(map(len, self._members.values())))
            self._progress.finish(TASK)
            return self._fit(self._anchor_seconds(anchor))

    def _drafts(self) -> Iterator[tuple[str, Genotype]]:
        """Genotypes in the order in which they are measured, with what each is for; those measured before as well."""
        job = self._job
        uniform = job.members - job.members // 2
        total = uniform + job.held_out
        for genotype in self._fresh(0, lambda _: True):
            done = len(self._members[UNIFORM]) + len(self._members[HELD_OUT])
            if done >= total:
                break
            due = (done + 1) * job.held_out // total > done * job.held_out // total
            yield (HELD_OUT if due else UNIFORM), genotype
        predictor = Predictor.fit(job.space, job.inputs, job.image, self._members[UNIFORM])
        limit = float(np.quantile(predictor.log_ratios(self._members[UNIFORM]), FASTEST_SHARE))
        for genotype in self._fresh(1, lambda one: predictor.log_ratio(one) <= limit):
            if len(self._members[FAST]) >= job.members // 2:
                return
            yield FAST, genotype

    def _fresh(self, stream: int, wanted: Callable[[Genotype], bool]) -> Iterator[Genotype]:
        """Draw genotypes that are ``wanted`` and were not drawn before; a small space runs out of them."""
        space, rng = self._job.space, np.random.default_rng((self._job.seed, Stream.PROPOSAL, stream))
        for _ in range(DRAFTS * (self._job.members + self._job.held_out)):
            genotype = space.sample(rng)
            name = space.id(genotype)
            if name in self._seen or not _builds(wanted, genotype):
                continue
            self._seen.add(name)
            yield genotype

    def _take(self, part: str, genotype: Genotype, anchor: Path) -> None:
        """Add ``genotype`` to its part: as it was measured before, or measured now."""
        name = self._job.space.id(genotype)
        row = self._known.get(name)
        if row is None:
            row = self._measure(genotype, anchor)
            self._log.write("member", id=name, **row)
            self._known[name] = row
        if "error" not in row:
            self._members[part].append(Member(genotype, row["ratios"], row["macs"]))
        elif not any(self._members.values()) and len(self._known) >= REFUSALS:
            raise NasError(f"space {self._job.space.name} builds nothing for this image: {row['error']}")

    def _measure(self, genotype: Genotype, anchor: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="leangen-profile-") as folder:
            try:
                files = self._bench.variants(self._generator(genotype), Path(folder))
            except (CompressError, SearchSpaceError) as error:
                return {"error": str(error)}
            ratios: dict[str, Ratio] = {}
            for seconds in LOOKS_S:
                ratios = self._bench.ratios(anchor, files, seconds)
                if all(_half(one) <= WIDE for one in ratios.values()):
                    break
            macs = count_cost(files["fp32"]).macs
        values = {precision: one.value for precision, one in ratios.items()}
        return {"ratios": values, "half_widths": {name: _half(one) for name, one in ratios.items()}, "macs": macs}

    def _generator(self, genotype: Genotype) -> Generator:
        with torch.random.fork_rng():
            torch.manual_seed(self._job.seed)
            return Generator.from_genotype(self._job.space.name, genotype, self._job.inputs, self._job.image)

    def _export_anchor(self, path: Path) -> None:
        export_onnx(self._generator(self._job.stock), path, opset=self._bench.opset)

    def _anchor_seconds(self, path: Path) -> float:
        runners = {"anchor": self._bench.runner(path)}
        samples = measure_interleaved(runners, seconds=ANCHOR_S, probe=probe_for(self._job.target.threads))
        return summarize(samples["anchor"]).median.value

    def _fit(self, anchor_seconds: float) -> DeviceProfile:
        job, held_out = self._job, self._members[HELD_OUT]
        members = [*self._members[UNIFORM], *self._members[FAST]]
        if len(members) < LEAST_MEMBERS or len(held_out) < LEAST_HELD_OUT:
            raise NasError(
                f"{len(members)} members and {len(held_out)} held-out ones were measured, and {LEAST_MEMBERS} and "
                f"{LEAST_HELD_OUT} are the least to fit to and to judge by: give the same command again, it goes on"
            )
        predictor = Predictor.fit(job.space, job.inputs, job.image, members)
        facts = job.to_json()
        return DeviceProfile(
            schema=SCHEMA,
            space=SpaceKey(**facts["space"]),
            machine=facts["machine"],
            target=facts["target"],
            image=facts["image"],
            inputs=facts["inputs"],
            seed=job.seed,
            anchor=Anchor(genotype=dict(job.stock), seconds=anchor_seconds),
            members=len(members),
            prices={name: dict(prices) for name, prices in predictor.prices.items()},
            held_out=predictor.errors(held_out),
            macs=macs_errors(held_out),
        )


def _builds(wanted: Callable[[Genotype], bool], genotype: Genotype) -> bool:
    """Whether ``genotype`` is ``wanted``; one that the image does not allow is not."""
    try:
        return wanted(genotype)
    except SearchSpaceError:
        return False


def _half(ratio: Ratio) -> float:
    low, high = ratio.ci95
    return (high - low) / 2 / ratio.value


def _read(log: Path, assignment: Assignment) -> dict[str, dict[str, Any]]:
    """Return what ``log`` holds of ``assignment``, by genotype.

    Raises:
        FileError: a line is no JSON object.
        NasError: the measurements are of something else, or damaged.
    """
    if not log.is_file() or not (lines := read_log(log)):
        return {}
    settings = assignment.to_json()
    for name, now in settings.items():
        if lines[0].get(name) != now:
            raise NasError(
                f"{log} holds measurements with {name} {lines[0].get(name)}, and now it is {now}: remove the file, or "
                "write to another with --out"
            )
    return {row["id"]: _checked(row, log) for row in lines[1:] if isinstance(row.get("id"), str)}


def _checked(row: dict[str, Any], log: Path) -> dict[str, Any]:
    ratios, macs = row.get("ratios"), row.get("macs")
    if "error" in row or (isinstance(macs, int) and isinstance(ratios, dict) and _are_ratios(ratios)):
        return row
    raise NasError(f"{log}: the line of {row['id']} holds no ratios: remove the line, it is measured again")


def _are_ratios(ratios: dict[str, Any]) -> bool:
    return bool(ratios) and all(isinstance(one, float) and 0 < one < _MAX_RATIO for one in ratios.values())
