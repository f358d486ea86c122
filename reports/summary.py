"""The schema of ``summary.json``: what one run found, and nothing that can be computed from it.

A run writes this record after every stage, also when the answer is "no". What was not reached is null, so a summary
with nearly everything null is valid and can be shown. The tables in ``docs/summary.md`` are made from the
descriptions below (``python -m reports.schema docs/summary.md``).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import Field, JsonValue, ValidationError

from reports.finished import Baseline, Final, LatencyRow, Model, Parity, Quality, Roofline, TensorRT
from reports.records import Batch, Count, Estimate, IsoDate, Positive, Ratio, Record, RunFile, Score, Seconds
from reports.searched import Candidate, CurvePoint, Finalist, Knobs, SearchCounts

SCHEMA = 1
MAX_BYTES = 64 * 1024 * 1024  # a thousand candidates take about 1 MB
SHOWN_ERRORS = 5


class ReportError(RuntimeError):
    """Root of the errors of ``reports``."""


class SummaryError(ReportError, ValueError):
    """A summary breaks its schema; the message says rule, place and remedy."""


class Verdict(Record):
    """The answer to the experiment."""

    met: bool = Field(description="Every limit and the budget are met, on `held_out`.")
    missed: tuple[str, ...] = Field(
        default=(),
        description="Keys of the experiment that were missed, such as `quality.budget`, `target.max_latency_ms`.",
    )


class StageSeconds(Record):
    """Wall seconds of each stage, summed over resumes."""

    reference: Seconds | None = Field(default=None, description="Training and scoring the reference.")
    search: Seconds | None = Field(default=None, description="The search.")
    finalists: Seconds | None = Field(default=None, description="Training the finalists.")
    compress: Seconds | None = Field(
        default=None, description="Compression steps with their recovery, and the baseline beside them."
    )
    export: Seconds | None = Field(default=None, description="Export, parity, TensorRT, final measurement.")
    total: Seconds | None = Field(default=None, description="The whole run.")


class Step(Record):
    """One compression step."""

    name: str = Field(description="Such as `prune`, `quantize`.")
    kept: bool = Field(description="The step is part of what ships.")
    reason: str = Field(description="Why it was kept or refused.")
    ratio: Ratio | None = Field(default=None, description="Time with the step ÷ time before it.")
    difference: Estimate | None = Field(default=None, description="Quality with the step minus the reference's.")
    settings: Mapping[str, JsonValue] | None = Field(default=None, description="What was tried.")


class Variant(Record):
    """A file that compression found, and that could be taken instead of what ships."""

    roles: tuple[str, ...] = Field(
        description="Of `fastest` (what ships), `smallest` and `best quality` (both inside the budget)."
    )
    step: str = Field(description="The compression step that left it.")
    file: RunFile = Field(description="ONNX file, in the run folder.")
    precision: str = Field(description="Such as `int8`.")
    bytes: Count = Field(description="Size of the file.")
    quality: Score = Field(description="Its score when the step was judged.")
    difference: Estimate = Field(description="Minus the reference's, on the same inputs.")
    ratio: Ratio | None = Field(default=None, description="Time ÷ that of the float file that compression began with.")


class Target(Record):
    """Where the generator will run, and the limits it was given."""

    runtime: str = Field(default="onnxruntime", description="Runtime.")
    device: str = Field(default="cpu", description="Device.")
    threads: int = Field(default=1, ge=1, description="Threads.")
    batch: int = Field(default=1, ge=1, description="Images per call.")
    min_speedup: Positive | None = Field(default=None, description="Limit, against the reference's fastest own file.")
    max_latency_ms: Positive | None = Field(default=None, description="Limit, in milliseconds per call.")


class Command(Record):
    """A command that reproduces a part of the report."""

    what: str = Field(description="What it does.")
    command: str = Field(description="The command line.")


class Summary(Record):
    """One run."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this schema.")
    command: str = Field(description="The command line that made this run.")
    family: str = Field(description="How the generator learns: `gan`.")
    verdict: Verdict | None = Field(default=None, description="The answer; null while the run goes on.")
    seconds: StageSeconds | None = Field(default=None, description="Where the time went.")
    reference: Model | None = Field(default=None, description="The generator that all else is compared with.")
    baseline: Baseline | None = Field(default=None, description="The reference narrowed, without search.")
    final: Final | None = Field(default=None, description="What ships.")
    speedup: Mapping[Batch, Estimate] | None = Field(
        default=None, description="By batch: reference's fastest own file ÷ final."
    )
    speedup_vs_eager: Mapping[Batch, Estimate] | None = Field(
        default=None, description="By batch: reference in torch eager ÷ final."
    )
    steps: tuple[Step, ...] | None = Field(default=None, description="Compression steps, in the order tried.")
    variants: tuple[Variant, ...] | None = Field(
        default=None, description="Of all compression steps the fastest file, the smallest and the best one."
    )
    search: SearchCounts | None = Field(default=None, description="How the trials ended.")
    tensorrt: TensorRT | None = Field(default=None, description="TensorRT plans.")

    name: str | None = Field(default=None, description="Name of the experiment.")
    created: IsoDate | None = Field(default=None, description="ISO 8601 date of this file.")
    budget: str | None = Field(default=None, description="The quality budget as written, such as `fid<=+10%|+2`.")
    target: Target | None = Field(default=None, description="Where the generator will run.")
    machine: Mapping[str, JsonValue] | None = Field(default=None, description="Fingerprint of the machine.")
    floor: Score | None = Field(default=None, description="Real images scored against real ones: the best there is.")
    blank: Score | None = Field(default=None, description="Score of the blank image: not started.")
    allowed_seen: float | None = Field(default=None, description="Worst score on `seen` that the budget allows.")
    quality: Quality | None = Field(default=None, description="Every metric of everybody on `held_out`, by class too.")
    knobs: Knobs | None = Field(default=None, description="What each knob of the space did.")
    grid_columns: tuple[str, ...] | None = Field(default=None, description="Classes above the columns of the grids.")
    reference_seen: Score | None = Field(
        default=None,
        description="The reference scored like the candidates, on `seen`: the line in the picture of the search.",
    )
    curve: tuple[CurvePoint, ...] | None = Field(default=None, description="Learning curve of the reference.")
    candidates: tuple[Candidate, ...] | None = Field(default=None, description="Every trial.")
    finalists: tuple[Finalist, ...] | None = Field(default=None, description="Candidates trained to the end.")
    latency: tuple[LatencyRow, ...] | None = Field(default=None, description="The final latency table.")
    operators: Mapping[str, Mapping[str, Count]] | None = Field(
        default=None, description="By file: operators that ran, such as `Conv fp32`, with how many."
    )
    roofline: Roofline | None = Field(default=None, description="What limits the reference and what ships.")
    parity: tuple[Parity, ...] | None = Field(default=None, description="How close each file is to torch.")
    commands: tuple[Command, ...] = Field(default=(), description="How to reproduce it.")
    notes: tuple[str, ...] = Field(default=(), description="Honest remarks, printed in the report's first lines.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, every field present; ``parse`` takes it back."""
        return self.model_dump(mode="json", by_alias=True)


def parse(data: object, where: str = "summary") -> Summary:
    """The summary in ``data`` (what ``json.loads`` returned).

    Raises:
        SummaryError: not an object, a newer schema, or a field that breaks its rule; names the fields.
    """
    if not isinstance(data, Mapping):
        raise SummaryError(f"{where}: a summary is a JSON object, found {type(data).__name__}; give a summary.json")
    version = data.get("schema")
    if isinstance(version, int) and version > SCHEMA:
        raise SummaryError(
            f"{where}: this leangen reads schema {SCHEMA}, found {version}; "
            "it was written by a newer leangen: upgrade with `pip install --upgrade leangen`"
        )
    try:
        return Summary.model_validate(data)
    except ValidationError as error:
        raise SummaryError(_explain(error, where)) from None


def load(path: Path, max_bytes: int = MAX_BYTES) -> Summary:
    """The summary in the JSON file ``path``, of at most ``max_bytes`` bytes.

    Raises:
        SummaryError: too large, not UTF-8 JSON, or not a valid summary.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise SummaryError(f"{path}: a summary has at most {max_bytes} bytes, this file has more; give a summary.json")
    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SummaryError(
            f"{path}: a summary is UTF-8 JSON, found none ({error}); write it again with `leangen report RUN_FOLDER`"
        ) from None
    return parse(data, str(path))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _explain(error: ValidationError, where: str) -> str:
    """One line for each of the first few broken rules: place, rule, value found; then the remedy."""
    found = error.errors(include_url=False, include_context=False)
    lines = [
        f"  {'.'.join(map(str, item['loc'])) or 'summary'}: {item['msg']}, found {str(item['input'])[:80]!r}"
        for item in found[:SHOWN_ERRORS]
    ]
    more = [f"  and {len(found) - SHOWN_ERRORS} more"] if len(found) > SHOWN_ERRORS else []
    head = f"{where}: {len(found)} field(s) break the schema of docs/summary.md"
    return "\n".join([head, *lines, *more, "  write it again with `leangen report RUN_FOLDER`"])
