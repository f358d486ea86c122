"""What a finished piece leaves in `docs/results/`: small, plain JSON, checked on reading like any file."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.files import FileError, read_json, write_text
from examples.studies.proof.layout import ProofError

MAX_BYTES = 2**18
REFERENCE, OURS, RANDOM = "reference", "ours", "random"
MAIN_FILE = f"{REFERENCE}/fp32"  # what quality is compared with

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=2000)]


class Strict(BaseModel):
    """Frozen; nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quality(Strict):
    """One metric of one file, and its paired difference to the reference's float file."""

    value: Finite
    standard_error: Finite
    difference: Finite
    ci95: tuple[Finite, Finite]


class Paired(Strict):
    """Our file minus another one, in one metric, on the same latents."""

    difference: Finite
    ci95: tuple[Finite, Finite]


class Latency(Strict):
    """Time of one file at one batch: of each process, time ÷ that of the reference's fastest file there."""

    median_ms: Positive
    ratios: tuple[Positive, ...] = Field(min_length=1, max_length=100)

    @property
    def ratio(self) -> float:
        """The geometric mean over processes."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))


class File(Strict):
    """A file that was timed and scored."""

    precision: str
    bytes: int
    params: int | None = None
    macs: int | None = None
    latency: dict[str, Latency]
    quality: dict[str, Quality]
    ours_minus_this: dict[str, Paired] = {}
    class_accuracy: tuple[Finite, ...] = ()
    missing_classes: tuple[str, ...] = ()


class Contender(Strict):
    """Who has files in the table, how they were made, and what was found out on the way."""

    files: dict[str, File]
    how: dict[str, Any] = {}
    training: dict[str, Any] | None = None
    note: Text = ""

    def fastest(self, batch: str) -> File:
        """Return the file that is fastest at ``batch``."""
        return min(self.files.values(), key=lambda file: file.latency[batch].ratio)


class Front(Strict):
    """What a search found, after its last rung: (time ÷ the reference's, score) of every member of its front."""

    sampler: str
    minutes: Positive
    proposals: int
    complete: int
    points: tuple[tuple[Positive, Finite], ...]


class PieceRecord(Strict):
    """One family and one seed."""

    schema_version: Literal[1] = 1
    family: str
    seed: int
    experiment: str  # digest of everything but seed and name
    commits: tuple[str, ...]
    commands: tuple[Text, ...]
    machine: dict[str, Any]
    threads: int
    load_while_timing: Finite
    budgets: tuple[str, ...]
    samples: int
    extractors: dict[str, str]  # by metric
    floor: dict[str, Finite]  # scores of other real pictures: what a perfect generator would get
    plateau: bool
    gain_last_quarter: Finite | None
    reference_steps: int
    genotype: dict[str, Any]
    steps_kept: tuple[Text, ...]
    contenders: dict[str, Contender]
    searches: dict[str, Front]
    seconds: dict[str, Finite]
    notes: tuple[Text, ...] = ()

    @property
    def name(self) -> str:
        """``gan-0``."""
        return f"{self.family}-{self.seed}"

    @property
    def batches(self) -> list[str]:
        """The batches that everything was timed at."""
        return list(self.reference.latency)

    @property
    def reference(self) -> File:
        """The reference's float file."""
        return self.contenders[REFERENCE].files["fp32"]

    @property
    def ours(self) -> File:
        """The file that our run shipped."""
        return self.contenders[OURS].files["shipped"]

    def file_of(self, who: str, batch: str) -> File | None:
        """Return what counts of ``who`` at ``batch``: what was shipped, or else the fastest; ``None`` without files."""
        files = self.contenders[who].files if who in self.contenders else {}
        if not files:
            return None
        return files.get("shipped") or self.contenders[who].fastest(batch)

    @model_validator(mode="after")
    def _whole(self) -> "PieceRecord":
        for who in (REFERENCE, OURS):
            if who not in self.contenders:
                raise ValueError(f"lacks the contender {who!r}")
        for name, file in self._files():
            if set(file.latency) != set(self.batches) or set(file.quality) != set(self.extractors):
                raise ValueError(f"{name} was not measured at the same batches or in the same metrics as the reference")
        return self

    def _files(self) -> Iterator[tuple[str, File]]:
        for who, contender in self.contenders.items():
            for name, file in contender.files.items():
                yield f"{who}/{name}", file


def write_piece(path: Path, record: PieceRecord) -> None:
    """Write ``record`` to ``path``: a line a field, numbers rounded to six digits."""
    fields = _rounded(record.model_dump(mode="json"))
    lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in fields.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_piece(path: Path) -> PieceRecord:
    """Return the piece in ``path``.

    Raises:
        ProofError: the file is no such record; says which field is wrong.
    """
    try:
        return PieceRecord.model_validate(read_json(path, MAX_BYTES))
    except FileError as error:
        raise ProofError(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the record"
        raise ProofError(f"{path}: {place}: {first['msg']}; delete the file to have the piece made again") from error


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
