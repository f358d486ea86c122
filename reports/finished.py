"""What the summary holds of finished generators: size, quality, latency, parity, TensorRT."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from reports.records import (
    Batch,
    Count,
    Estimate,
    Interval,
    Latency,
    Percent,
    Positive,
    Ratio,
    Record,
    RunFile,
    Score,
    Seconds,
    Who,
)

Limit = Literal["compute", "memory", "kernel", "start", "unknown"]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,15}$")]


class Model(Record):
    """A finished generator: the reference."""

    id: str = Field(description="Hash of origin and edits.")
    plateau: bool | None = Field(default=None, description="Training had stopped to pay when it ended.")
    plateau_gain: float | None = Field(
        default=None,
        description="What the last quarter of the training still gained, in the metric's units (positive: better).",
    )
    params: Count | None = Field(default=None, description="Trained numbers.")
    macs: Count | None = Field(default=None, description="Multiply-adds of one image, counted on the ONNX graph.")
    bytes: Count | None = Field(default=None, description="Size of its fastest own file.")
    quality: Score | None = Field(
        default=None,
        description="Metric of the first budget, on `held_out`: of the file "
        "that ships, of the baseline's fastest file, of the reference's float file.",
    )
    scores: tuple[Score, ...] = Field(default=(), description="Further metrics, on `held_out`.")
    latency_ms: Mapping[Batch, Latency] | None = Field(
        default=None, description="By batch (1, 32 and `target.batch`): its fastest own file at `target.threads`."
    )


class Baseline(Model):
    """The reference simply narrowed to the shipped file's latency, without search."""

    artifact: RunFile | None = Field(default=None, description="Its fastest file, from the run folder.")


class Final(Baseline):
    """What ships."""

    quality_difference: Estimate | None = Field(default=None, description="Quality minus the reference's, paired.")
    baseline_difference: Estimate | None = Field(default=None, description="Quality minus the baseline's, paired.")


class LatencyRow(Record):
    """One line of the final latency table: all lines were measured in one process, workers at rest."""

    who: Who = Field(description="Whose file.")
    artifact: RunFile | None = Field(default=None, description="The file, from the run folder; null for torch eager.")
    precision: str = Field(description="`fp32`, `int8`.")
    runtime: str = Field(description="`onnxruntime` or `torch eager`.")
    batch: int = Field(ge=1, description="Images per call.")
    threads: int = Field(ge=1, description="Threads.")
    median_ms: Positive = Field(description="Median, milliseconds per call.")
    ci95_ms: Interval = Field(description="95 % interval of the median.")
    p95_ms: Positive = Field(description="95th percentile, likewise of un-preempted rounds.")
    quantiles_ms: Mapping[Percent, Positive] | None = Field(
        default=None, description='By percent (`"1"` to `"99"`): quantiles of the same rounds as the median.'
    )
    peak_mib: Positive | None = Field(default=None, description="Peak memory of a process that runs only this, in MiB.")
    ratio: Ratio | None = Field(default=None, description="To the reference's fastest file at this batch.")


class RooflineOperator(Record):
    """All nodes of one operator and data type of a file, in one call."""

    operator: str = Field(description="As onnxruntime runs it.")
    dtype: str = Field(description="Of its arithmetic: `float32`, `int8`.")
    int8: bool = Field(description="It computes on 8-bit numbers.")
    nodes: Count = Field(description="How many there are.")
    ms: Seconds = Field(description="Milliseconds of a call: a share of the file's, by the profiler.")
    share: float = Field(ge=0, description="Of the time of a call.")
    macs: Count | None = Field(default=None, description="Multiply-adds; null if they cannot be counted.")
    bytes: Count | None = Field(default=None, description="Weights and activations, read and written.")
    gmacs_per_second: float | None = Field(default=None, ge=0, description="Billions of multiply-adds a second.")
    fraction: float | None = Field(default=None, ge=0, description="Of the rate that the machine's roofs allow.")
    limit: Limit = Field(
        description="What limits it: arithmetic (`compute`), bandwidth (`memory`), its own `kernel`, that it has to be "
        "started (`start`), or `unknown`."
    )


class RooflineFile(Record):
    """What limits one file at `target.batch`."""

    who: Who = Field(description="Whose file: the reference's fastest, or what ships.")
    artifact: RunFile = Field(description="The file, from the run folder.")
    batch: int = Field(ge=1, description="Images per call.")
    median_ms: Positive = Field(description="Median, milliseconds per call, without the profiler.")
    overhead_ms: Seconds = Field(description="Of them outside the operators.")
    macs: Count | None = Field(default=None, description="Multiply-adds of a call; null if some cannot be counted.")
    bytes: Count | None = Field(default=None, description="Weights and activations, read and written.")
    bound: Literal["compute", "memory"] | None = Field(default=None, description="The lower roof.")
    fraction: float | None = Field(default=None, ge=0, description="Of the rate that the machine's roofs allow.")
    operators: tuple[RooflineOperator, ...] = Field(description="The longest first.")
    remarks: tuple[str, ...] = Field(default=(), description="The same in sentences.")


class Roofline(Record):
    """What this machine can do in onnxruntime, and what limits the files on it."""

    threads: int = Field(ge=1, description="Threads.")
    macs_per_second: Mapping[str, Estimate] = Field(default={}, description="Peak by data type.")
    bytes_per_second: Mapping[Size, Estimate] = Field(default={}, description="Bandwidth by bytes of the arrays.")
    files: tuple[RooflineFile, ...] = Field(default=(), description="Of the reference and of what ships.")
    reason: str | None = Field(default=None, description="Why it was not measured.")


class Parity(Record):
    """How far a file's images lie from torch's."""

    artifact: RunFile = Field(description="The file, from the run folder.")
    max_abs: float = Field(ge=0, description="Largest difference of one pixel, images in [-1, 1].")
    psnr_db: float | None = Field(default=None, description="Peak signal-to-noise ratio; null if equal to the bit.")
    n: Count = Field(description="Latents compared.")
    worst_input_seed: int | None = Field(
        default=None,
        description="The experiment's seed; the latents are "
        "those of its parity stream (`nas.seeds`), not those of `--seed`.",
    )
    worst_input_index: Count | None = Field(default=None, description="Index of the worst one among them.")


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


class ClassScore(Record):
    """How well one class comes out."""

    name: str = Field(description="Name of the class.")
    accuracy: float | None = Field(
        default=None, ge=0, le=1, description="Share of its images that a classifier takes for it."
    )
    accuracy_error: float | None = Field(default=None, ge=0, description="Its standard error.")
    fid: float | None = Field(default=None, description="Distance to the real images of this class.")
    fid_error: float | None = Field(default=None, ge=0, description="Its standard error.")
    n: Count | None = Field(default=None, description="Generated images of it.")


class Classes(Record):
    """One generator's classes."""

    rows: tuple[ClassScore, ...] = Field(description="Every class asked for.")
    missing: tuple[str, ...] = Field(default=(), description="Classes that hardly ever come out when asked for.")
    ceiling: float | None = Field(default=None, description="Accuracy of the same classifier on real images.")


class Neighbours(Record):
    """How far generated images lie from their nearest training image, in features: near 0 would be copies."""

    n: Count = Field(description="Generated images.")
    median_distance: float = Field(ge=0, description="Median distance of generated images to the nearest of `seen`.")
    median_distance_held_out: float | None = Field(
        default=None, ge=0, description="The same of real images of `held_out`: what images that are no copies have."
    )


class Quality(Record):
    """Everybody's quality on `held_out`, in full."""

    metrics: Mapping[Who, Mapping[str, Score]] = Field(default={}, description="By who and metric.")
    differences: Mapping[Who, Mapping[Who, Mapping[str, Estimate]]] = Field(
        default={}, description="By who, to whom, and metric: paired."
    )
    also: Mapping[Who, tuple[Score, ...]] = Field(default={}, description="By other extractors.")
    classes: Mapping[Who, Classes] = Field(default={}, description="By who, where classes are asked for.")
    neighbours: Neighbours | None = Field(default=None, description="Whether training images were learned by heart.")
