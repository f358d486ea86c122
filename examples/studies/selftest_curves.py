"""The files ``curve-load*.json`` that ``leangen bench selftest`` writes."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.files import read_json
from nas.errors import NasError

Share = tuple[float, float, float]  # of runs, and the ends of its 95 % interval


class Line(BaseModel):
    """One line of an operating curve, as ``benchmarks.selftest.operating_curve`` makes it."""

    model_config = ConfigDict(frozen=True)

    load: int
    size: str
    twin: str
    runs: int = Field(ge=1)
    verified: tuple[float, float, float] | None = None  # the twin's ratio by a long measurement, with its interval
    passed: Share = Field(alias="pass")
    regression: Share
    inconclusive: Share
    naive: Share
    median_seconds: float
    probe_share: float
    preempted: float


class Machine(BaseModel):
    """What a reader of a curve needs of the machine's fingerprint."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    cores: int
    onnxruntime: str


class Curve(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    catch: float
    budget_s: float
    load: int
    machine: Machine
    lines: tuple[Line, ...]


def read_curves(folder: Path) -> list[Curve]:
    """Return the curves in ``folder``, by load; none if there is no such folder.

    Raises:
        NasError: a file is not one that ``leangen bench selftest`` wrote.
    """
    curves = []
    for path in folder.glob("curve-load*.json"):
        try:
            curves.append(Curve.model_validate(read_json(path)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise NasError(f"{path}: {place}: {first['msg']}: write it with `leangen bench selftest`") from error
    return sorted(curves, key=lambda curve: curve.load)
