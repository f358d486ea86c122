"""``device.json``: what one machine told of the latency of one space, to be read by whoever may not trust it."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from benchmarks.files import read_json, write_json
from benchmarks.fingerprint import Fingerprint
from benchmarks.inputs import InputSpec
from benchmarks.records import Target
from nas.errors import NasError
from nas.predictor import Errors, Predictor
from search_spaces.space import ImageShape, SearchSpace

SCHEMA = 1
MAX_PROFILE_BYTES = 4 * 2**20
REMEDY = "make a new one: leangen bench profile-device"

Name = Annotated[str, Field(min_length=1, max_length=100)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ProfileError(NasError):
    """A device profile that cannot be read, or that is of something else."""


_ERRORS = TypeAdapter(Errors)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SpaceKey(_Part):
    """Which space, and a hash of its knobs."""

    name: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Anchor(_Part):
    """What all members were timed against: an fp32 file, and its own median seconds, which drift with the machine."""

    genotype: dict[Name, int | float | str | bool] = Field(max_length=1000)
    seconds: Positive


class DeviceProfile(_Part):
    """A latency predictor with what it was fitted to, and how far it was off."""

    schema_number: int = Field(alias="schema")
    space: SpaceKey
    machine: dict[Name, Any] = Field(max_length=100)
    target: dict[Name, str | int] = Field(max_length=20)
    image: tuple[int, int, int] = Field(strict=False)
    inputs: list[dict[str, Any]] = Field(min_length=1, max_length=16)
    seed: int = Field(ge=0)
    anchor: Anchor
    members: int = Field(ge=1)
    prices: dict[Name, dict[Name, Positive]] = Field(min_length=1, max_length=8)
    held_out: Errors
    macs: Errors

    @model_validator(mode="before")
    @classmethod
    def _known_schema(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"this version of leangen reads schema {SCHEMA}, found {str(found)[:40]}")
        return value

    @field_validator("prices")
    @classmethod
    def _few(cls, prices: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        if any(not terms or len(terms) > 10_000 for terms in prices.values()):
            raise ValueError("each precision has 1 to 10,000 prices")
        return prices

    @field_validator("held_out", "macs", mode="before")
    @classmethod
    def _errors(cls, value: Any) -> Errors:
        return _ERRORS.validate_python(value)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The profile in the file ``path``.

        Raises:
            FileError: it is missing, larger than 4 MiB, or no JSON.
            ProfileError: it is no profile, or one of another schema.
        """
        try:
            return cls.model_validate(read_json(path, MAX_PROFILE_BYTES))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "device profile"
            raise ProfileError(f"{path}: {place}: {first['msg']}; {REMEDY}") from error

    def write(self, path: Path) -> None:
        """Write it to ``path``, whole or not at all."""
        write_json(path, self.model_dump(mode="json", by_alias=True))

    def predictor(
        self, space: SearchSpace, inputs: tuple[InputSpec, ...], image: ImageShape, target: Target
    ) -> Predictor:
        """Return its predictor, for a search of exactly what was profiled.

        Raises:
            ProfileError: the space, the inputs, the image or the target is another; the message says which.
        """
        runs = target.to_json()
        wanted: dict[str, tuple[object, object]] = {
            "space": (self.space.name, space.name),
            "definition of the space": (self.space.sha256, space_hash(space)),
            "image": (list(self.image), [image.channels, image.height, image.width]),
            "inputs": ([_shape(one) for one in self.inputs], [_shape(spec.to_json()) for spec in inputs]),
            **{key: (self.target.get(key), runs[key]) for key in ("runtime", "device", "threads", "batch")},
        }
        for name, (found, needed) in wanted.items():
            if found != needed:
                raise ProfileError(f"the {name} was {_short(found)} and now is {_short(needed)}; {REMEDY}")
        return Predictor(space, inputs, image, self.prices)

    def differences(self, here: Fingerprint) -> tuple[str, ...]:
        """Return a few words for every field of the machine that is another here: order may hold, numbers will not."""
        now = here.to_json()
        return tuple(
            f"{name} was {_short(self.machine.get(name))} and is {_short(now.get(name))}"
            for name in now
            if self.machine.get(name) != now.get(name)
        )


def space_hash(space: SearchSpace) -> str:
    """Return 64 hex digits of the names, values and conditions of the knobs of ``space``."""
    knobs = [{key: one[key] for key in ("knob", "values", "when")} for one in space.to_json()["knobs"]]
    text = json.dumps({"space": space.name, "knobs": knobs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(name: str, errors: Errors) -> str:
    """``predictor  median error 6.1 %  Spearman 0.989, in the fastest quarter 0.94``."""
    return (
        f"{name:<10} median error {errors.median:.1%}, Spearman {errors.spearman:.3f}, "
        f"in the fastest quarter {errors.spearman_fastest:.3f}"
    )


def _shape(spec: dict[str, Any]) -> tuple[object, ...]:
    """What of an input decides the time it takes: all but what its values are drawn from."""
    return spec.get("name"), str(spec.get("shape")).strip("()[],"), spec.get("dtype")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
