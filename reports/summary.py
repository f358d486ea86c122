"""The schema of ``summary.json``: what one run found, and nothing that can be computed from it.

A run writes this record after every stage, also when the answer is "no". What was not reached is null, so a summary
with nearly everything null is valid and can be shown. The tables in ``docs/summary.md`` are made from the
descriptions below (``python -m reports.schema docs/summary.md``).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

SCHEMA = 1
MAX_BYTES = 64 * 1024 * 1024  # a thousand candidates take about 1 MB
SHOWN_ERRORS = 5

Outcome = Literal["complete", "infeasible", "dominated", "failed", "duplicate"]
OUTCOMES: tuple[Outcome, ...] = ("complete", "dominated", "infeasible", "failed", "duplicate")


class ReportError(RuntimeError):
    """Root of the errors of ``reports``."""


class SummaryError(ReportError, ValueError):
    """A summary breaks its schema; the message says rule, place and remedy."""


def _check_interval(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval is [low, high] with low <= high, found [{interval[0]}, {interval[1]}]")
    return interval


def _check_date(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a date is written in ISO 8601 like 2026-11-20T12:00:00+00:00, found {text!r}") from None
    return text


def _check_relative(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or not text.isprintable():
        raise ValueError(f"a file is a path inside the run folder, with forward slashes and no '..', found {text!r}")
    return text


Interval = Annotated[tuple[float, float], AfterValidator(_check_interval)]
IsoDate = Annotated[str, AfterValidator(_check_date)]
RunFile = Annotated[str, Field(min_length=1, max_length=260), AfterValidator(_check_relative)]
Batch = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Genotype = Mapping[str, int | float | str | bool]


class Record(BaseModel):
    """Frozen; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Record):
    """A value with its interval."""

    value: float = Field(description="The estimate.")
    ci95: Interval = Field(description="Its 95 % interval, [low, high].")


class Ratio(Record):
    """Time of a generator ÷ time of the reference's fastest own file, in pairs: below 1 is faster."""

    value: Positive = Field(description="Median of the paired ratios.")
    ci95: Interval = Field(description="Its 95 % interval, [low, high].")
    precision: str | None = Field(default=None, description="The faster precision, which this ratio belongs to.")


class Score(Record):
    """A quality score, never a bare number."""

    metric: str = Field(description="Name of the metric, such as `fid`.")
    extractor: str = Field(description="Hash or name of the feature extractor.")
    n: Count = Field(description="Generated images that were scored.")
    seeds: tuple[int, ...] = Field(default=(), description="Seeds of the latents.")
    value: float = Field(description="The score.")
    standard_error: float | None = Field(default=None, ge=0, description="Its standard error.")


class Latency(Record):
    """Milliseconds per call of an object's fastest own file."""

    median: Positive = Field(description="Median, in milliseconds per call (a call makes `batch` images).")
    ci95: Interval = Field(description="95 % interval of the median.")
    p95: Positive = Field(description="95th percentile of the rounds in which the system did not take the core away.")
    precision: str | None = Field(default=None, description="Precision of the fastest file: `fp32`, `int8`.")


class Verdict(Record):
    """The answer to the experiment."""

    met: bool = Field(description="Every limit and the budget are met, on `held_out`.")
    missed: tuple[str, ...] = Field(default=(), description="Keys of the experiment that were missed, such as "
                                    "`quality.budget`, `target.max_latency_ms`.")


class StageSeconds(Record):
    """Wall seconds of each stage, summed over resumes."""

    reference: Seconds | None = Field(default=None, description="Training and scoring the reference.")
    search: Seconds | None = Field(default=None, description="The search.")
    finalists: Seconds | None = Field(default=None, description="Training the finalists.")
    compress: Seconds | None = Field(default=None, description="Compression steps with their recovery, and the "
                                    "baseline beside them.")
    export: Seconds | None = Field(default=None, description="Export, parity, TensorRT, final measurement.")
    total: Seconds | None = Field(default=None, description="The whole run.")


class Model(Record):
    """A finished generator: the reference."""

    id: str = Field(description="Hash of origin and edits.")
    plateau: bool | None = Field(default=None, description="Training had stopped to pay when it ended.")
    plateau_gain: float | None = Field(default=None, description="What the last quarter of the training still gained, "
                                       "in the metric's units (positive: better).")
    params: Count | None = Field(default=None, description="Trained numbers.")
    macs: Count | None = Field(default=None, description="Multiply-adds of one image, counted on the ONNX graph.")
    bytes: Count | None = Field(default=None, description="Size of its fastest own file.")
    quality: Score | None = Field(default=None, description="Metric of the first budget, on `held_out`: of the file "
                                  "that ships, of the baseline's fastest file, of the reference's float file.")
    scores: tuple[Score, ...] = Field(default=(), description="Further metrics, on `held_out`.")
    latency_ms: Mapping[Batch, Latency] | None = Field(default=None, description="By batch (1, 32 and `target.batch`): "
                                                       "its fastest own file at `target.threads`.")


class Baseline(Model):
    """The reference simply narrowed to the shipped file's latency, without search."""

    artifact: RunFile | None = Field(default=None, description="Its fastest file, from the run folder.")


class Final(Baseline):
    """What ships."""

    quality_difference: Estimate | None = Field(default=None, description="Quality minus the reference's, paired.")
    baseline_difference: Estimate | None = Field(default=None, description="Quality minus the baseline's, paired.")


class Step(Record):
    """One compression step."""

    name: str = Field(description="Such as `prune`, `quantize`.")
    kept: bool = Field(description="The step is part of what ships.")
    reason: str = Field(description="Why it was kept or refused.")
    ratio: Ratio | None = Field(default=None, description="Time with the step ÷ time before it.")
    difference: Estimate | None = Field(default=None, description="Quality with the step minus the reference's.")
    settings: Mapping[str, JsonValue] | None = Field(default=None, description="What was tried.")


class SearchCounts(Record):
    """How the trials ended."""

    trials: Count = Field(description="complete + infeasible + dominated + failed + duplicate.")
    complete: Count = Field(description="Reached the last rung.")
    infeasible: Count = Field(description="Over the latency limit: not trained.")
    dominated: Count = Field(description="Stopped at a rung, or outcomputed and never trained.")
    failed: Count = Field(description="Ended with an error, which is kept.")
    duplicate: Count = Field(description="Proposed again, not evaluated again.")
    space_size: Count | None = Field(default=None, description="Genotypes of the space, counted exactly.")

    @model_validator(mode="after")
    def _adds_up(self) -> "SearchCounts":
        total = self.complete + self.infeasible + self.dominated + self.failed + self.duplicate
        if self.trials != total:
            raise ValueError(f"trials is the sum of the five outcomes ({total}), found {self.trials}")
        return self


class Plan(Record):
    """A TensorRT plan."""

    file: RunFile = Field(description="From the run folder.")
    bytes: Count = Field(description="Its size.")
    backend: str | None = Field(default=None, description="`tensorrt` or `tensorrt_rtx`.")
    version: str | None = Field(default=None, description="Version of the backend.")
    compute_capabilities: tuple[str, ...] = Field(default=(), description="GPUs it was built for.")


class TensorRT(Record):
    """What became of TensorRT."""

    built: bool = Field(description="At least one plan was built.")
    plans: Mapping[str, Plan | None] | None = Field(default=None, description="By precision of the source file.")
    latency_ms: Mapping[Batch, Latency] | None = Field(default=None, description="Null where there is no GPU.")
    reason: str | None = Field(default=None, description="Why it was not built, or not timed.")


class Target(Record):
    """Where the generator will run, and the limits it was given."""

    runtime: str = Field(default="onnxruntime", description="Runtime.")
    device: str = Field(default="cpu", description="Device.")
    threads: int = Field(default=1, ge=1, description="Threads.")
    batch: int = Field(default=1, ge=1, description="Images per call.")
    min_speedup: Positive | None = Field(default=None, description="Limit, against the reference's fastest own file.")
    max_latency_ms: Positive | None = Field(default=None, description="Limit, in milliseconds per call.")


class CurvePoint(Record):
    """One score of the reference while it learned."""

    step: Count = Field(description="Optimizer steps so far.")
    cpu_seconds: Seconds | None = Field(default=None, description="Process CPU-seconds so far.")
    value: float = Field(description="The score then.")
    standard_error: float | None = Field(default=None, ge=0, description="Its standard error.")


class Candidate(Record):
    """One trial of the search."""

    id: str = Field(description="Hash of space and genotype.")
    genotype: Genotype = Field(description="The setting of every active knob.")
    outcome: Outcome = Field(description="How the trial ended.")
    ratio: Ratio | None = Field(default=None, description="Measured on the exported, untrained candidate.")
    quality: Score | None = Field(default=None, description="At its last rung, on `seen`.")
    rung: Count | None = Field(default=None, description="The last rung it finished.")
    seconds: Seconds = Field(default=0.0, description="Wall seconds spent on it.")
    finalist: bool = Field(default=False, description="It was trained to the end.")
    promising: bool = Field(default=False, description="It is on the front and near enough to the budget.")
    error: str | None = Field(default=None, description="What went wrong, if it failed.")


class Finalist(Record):
    """A candidate trained to the end."""

    id: str = Field(description="The candidate's id.")
    genotype: Genotype = Field(description="Its genotype.")
    inside: bool | None = Field(default=None, description="Inside the budget on `seen`.")
    quality: Score | None = Field(default=None, description="On `seen`, with latents that the rungs did not use.")
    difference: Estimate | None = Field(default=None, description="Quality minus the reference's, paired.")
    ratio: Ratio | None = Field(default=None, description="To the reference's fastest own file.")
    winner: bool = Field(default=False, description="This one was chosen.")
    note: str | None = Field(default=None, description="What happened to it.")


class LatencyRow(Record):
    """One line of the final latency table: all lines were measured in one process, workers at rest."""

    who: Literal["reference", "baseline", "final"] = Field(description="Whose file.")
    artifact: RunFile | None = Field(default=None, description="The file, from the run folder; null for torch eager.")
    precision: str = Field(description="`fp32`, `int8`.")
    runtime: str = Field(description="`onnxruntime` or `torch eager`.")
    batch: int = Field(ge=1, description="Images per call.")
    threads: int = Field(ge=1, description="Threads.")
    median_ms: Positive = Field(description="Median, milliseconds per call.")
    ci95_ms: Interval = Field(description="95 % interval of the median.")
    p95_ms: Positive = Field(description="95th percentile, likewise of un-preempted rounds.")
    peak_mib: Positive | None = Field(default=None, description="Peak memory of a process that runs only this, in MiB.")
    ratio: Ratio | None = Field(default=None, description="To the reference's fastest file at this batch.")


class Parity(Record):
    """How far a file's images lie from torch's."""

    artifact: RunFile = Field(description="The file, from the run folder.")
    max_abs: float = Field(ge=0, description="Largest difference of one pixel, images in [-1, 1].")
    psnr_db: float | None = Field(default=None, description="Peak signal-to-noise ratio; null if equal to the bit.")
    n: Count = Field(description="Latents compared.")
    worst_input_seed: int | None = Field(default=None, description="The experiment's seed; the latents are "
                                         "those of its parity stream (`nas.seeds`), not those of `--seed`.")
    worst_input_index: Count | None = Field(default=None, description="Index of the worst one among them.")


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
    speedup: Mapping[Batch, Estimate] | None = Field(default=None, description="By batch: reference's fastest own file "
                                                     "÷ final.")
    speedup_vs_eager: Mapping[Batch, Estimate] | None = Field(default=None, description="By batch: reference in torch "
                                                              "eager ÷ final.")
    steps: tuple[Step, ...] | None = Field(default=None, description="Compression steps, in the order tried.")
    search: SearchCounts | None = Field(default=None, description="How the trials ended.")
    tensorrt: TensorRT | None = Field(default=None, description="TensorRT plans.")

    name: str | None = Field(default=None, description="Name of the experiment.")
    created: IsoDate | None = Field(default=None, description="ISO 8601 date of this file.")
    budget: str | None = Field(default=None, description="The quality budget as written, such as `fid<=+10%|+2`.")
    target: Target | None = Field(default=None, description="Where the generator will run.")
    machine: Mapping[str, JsonValue] | None = Field(default=None, description="Fingerprint of the machine.")
    floor: Score | None = Field(default=None, description="Real images scored against real ones: the best there is.")
    blank: Score | None = Field(default=None, description="Score of the blank image: not started.")
    reference_seen: Score | None = Field(default=None, description="The reference scored like the candidates, on "
                                         "`seen`: the line in the picture of the search.")
    curve: tuple[CurvePoint, ...] | None = Field(default=None, description="Learning curve of the reference.")
    candidates: tuple[Candidate, ...] | None = Field(default=None, description="Every trial.")
    finalists: tuple[Finalist, ...] | None = Field(default=None, description="Candidates trained to the end.")
    latency: tuple[LatencyRow, ...] | None = Field(default=None, description="The final latency table.")
    operators: Mapping[str, Mapping[str, Count]] | None = Field(
        default=None, description="By file: operators that ran, such as `Conv fp32`, with how many.")
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
        raise SummaryError(f"{where}: this leangen reads schema {SCHEMA}, found {version}; "
                           "it was written by a newer leangen: upgrade with `pip install --upgrade leangen`")
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
        raise SummaryError(f"{path}: a summary is UTF-8 JSON, found none ({error}); "
                           "write it again with `leangen report RUN_FOLDER`") from None
    return parse(data, str(path))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _explain(error: ValidationError, where: str) -> str:
    """One line for each of the first few broken rules: place, rule, value found; then the remedy."""
    found = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join(map(str, item['loc'])) or 'summary'}: {item['msg']}, found {str(item['input'])[:80]!r}"
             for item in found[:SHOWN_ERRORS]]
    more = [f"  and {len(found) - SHOWN_ERRORS} more"] if len(found) > SHOWN_ERRORS else []
    head = f"{where}: {len(found)} field(s) break the schema of docs/summary.md"
    return "\n".join([head, *lines, *more, "  write it again with `leangen report RUN_FOLDER`"])
