"""What every record of the summary is made of: types that check themselves, the base, and values with intervals."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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
Percent = Annotated[str, Field(pattern=r"^[1-9][0-9]?$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Genotype = Mapping[str, int | float | str | bool]


Who = Literal["reference", "baseline", "final"]


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


class Spread(Record):
    """Quartiles of a handful of values."""

    low: float = Field(description="25th percentile.")
    median: float = Field(description="Median.")
    high: float = Field(description="75th percentile.")


class Latency(Record):
    """Milliseconds per call of an object's fastest own file."""

    median: Positive = Field(description="Median, in milliseconds per call (a call makes `batch` images).")
    ci95: Interval = Field(description="95 % interval of the median.")
    p95: Positive = Field(description="95th percentile of the rounds in which the system did not take the core away.")
    precision: str | None = Field(default=None, description="Precision of the fastest file: `fp32`, `int8`.")
