"""The experiment: what a user asks for, validated, frozen, every default written out.

``Experiment.load("mnist.yaml", overrides=["search.trials=60"])`` reads the YAML file; ``to_yaml`` writes it back whole.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from benchmarks.inputs import InputSpec, load_specs
from nas.experiment_errors import ExperimentError, Location, Problem, Source, explain
from nas.experiment_file import read_experiment

if TYPE_CHECKING:
    from compress.quality import Budget

__all__ = [
    "CompressConfig",
    "DataConfig",
    "Experiment",
    "ExperimentError",
    "ExportConfig",
    "Named",
    "QualityConfig",
    "ReferenceConfig",
    "SearchConfig",
    "TargetConfig",
]

Options = TypeVar("Options", bound=BaseModel)

_SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # one plain folder name on every system
_MAX_STEPS = 100_000_000

Steps = Annotated[int, Field(ge=1, le=_MAX_STEPS)]
StepsOrNone = Annotated[int, Field(ge=0, le=_MAX_STEPS)]  # 0 = leave this part out
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the experiment: frozen, no unknown keys, no value quietly turned into another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class Named(Section):
    """A family or space by name, ``gan`` or ``{name: gan, batch_size: 64}``; its own model checks the other keys."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64, description="The name it is registered under")
    options: dict[str, Any] = Field(default_factory=dict, description="Its own settings, checked by itself")

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict) or set(value) == {"name", "options"}:
            return value
        options = {str(key): option for key, option in value.items() if key != "name"}
        return {"options": options, **{key: value[key] for key in ("name",) if key in value}}

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


class ArrayKeys(Section):
    """What the arrays of an npz file are called."""

    images: str = Field("images", min_length=1, max_length=200, description="The array of pictures, uint8")
    labels: str | None = Field(
        None, min_length=1, max_length=200, description="The array of labels; null = 'labels' if there is one"
    )
    classes: str | None = Field(
        None, min_length=1, max_length=200, description="The array of class names; null = 'classes' if there is one"
    )


def _as_the_pictures_are() -> Any:
    """Stand for a size or number of channels that a validator below takes from the pictures themselves."""
    return None


class DataConfig(Section):
    """The images to learn: an embedded set by name, a folder whose sub-folders are classes, or an array in a file.

    ``size`` and ``channels`` that are left out become the pictures' own where they lie in an array (28 pixels become
    32, see ``nas.data_folder.fit``), else 32 and 3 (mnist-5k has 1).
    """

    name: Literal["mnist-5k"] | None = Field(
        None, description="An embedded data set; your own pictures are written {folder: pictures/}"
    )
    folder: Path | None = Field(
        None, strict=False, description="A folder of pictures, sub-folders are classes; relative to the YAML file"
    )
    keys: ArrayKeys | None = Field(
        None, description="What the arrays in npz are called, e.g. {images: x_train, labels: y_train}"
    )
    npz: Path | None = Field(
        None, strict=False, description="A numpy file with arrays 'images' and 'labels'; relative to the YAML file"
    )
    labels: Path | None = Field(
        None, strict=False, description="The labels of idx; null = the file beside it that MNIST's naming gives"
    )
    idx: Path | None = Field(
        None, strict=False, description="A file of pictures in MNIST's format, .gz too; relative to the YAML file"
    )
    size: int = Field(
        default_factory=_as_the_pictures_are, ge=8, le=1024, description="Height and width of the images, in pixels"
    )
    channels: Literal[1, 3] = Field(
        default_factory=_as_the_pictures_are,
        description="1 = grey, 3 = RGB; left out: 1 for mnist-5k, 3 for a folder, an array's own",
    )
    limit: int | None = Field(None, ge=200, description="Use only that many images, for a quick try; null = all")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("folder", "npz", "labels", "idx")
    @classmethod
    def _beside_the_file(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        base = (info.context or {}).get("folder", Path())
        return Path(base, os.path.expanduser(path)).resolve()  # unlike Path's own, keeps a name like ~draft

    @field_validator("size", "channels", mode="before")
    @classmethod
    def _own(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        is_size = info.field_name == "size"
        default = 32 if is_size else 1 if info.data.get("folder") is None else 3
        if info.data.get("npz") is None and info.data.get("idx") is None:
            return default
        from nas.data_sources import default_size, own_layout

        layout = own_layout(info.data)
        if layout is None:  # `nas.checks.check` says why, with the line of the file
            return default
        return default_size(layout) if is_size else layout.channels

    @property
    def source(self) -> Literal["name", "folder", "npz", "idx"]:
        """The key that says where the pictures come from."""
        given = {"folder": self.folder, "npz": self.npz, "idx": self.idx}
        for key in ("folder", "npz", "idx"):
            if given[key] is not None:
                return key
        return "name"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(given is not None for given in (self.name, self.folder, self.npz, self.idx)) != 1:
            raise ValueError(
                "needs either 'name' (mnist-5k) or 'folder', 'npz' or 'idx' (your own pictures), and not both"
            )
        if (self.keys and not self.npz) or (self.labels and not self.idx):
            key, home = ("keys", "npz") if self.keys and not self.npz else ("labels", "idx")
            raise ValueError(f"has no use for '{key}' without '{home}': leave it out")
        if self.name == "mnist-5k" and (self.size, self.channels) != (32, 1):
            raise ValueError("is 32 pixels wide with 1 channel if it is mnist-5k: leave out 'size' and 'channels'")
        return self


class ReferenceConfig(Section):
    """The reference: teacher, and the "before" of every comparison.

    The family's stock generator, trained here; or the user's own: ``module``, ``weights`` and ``inputs``.
    """

    steps: Steps = Field(
        2400, description="Steps of its adversarial training; with your own module, of a discriminator beside it"
    )
    observer: Steps = Field(
        1000, description="Steps of the classifier that search.final_match compares pictures with; never scores any"
    )
    width: int = Field(64, ge=4, le=1024, description="Channels of its last hidden layer (ngf of a DCGAN)")
    evaluations: int = Field(8, ge=2, le=1000, description="Points on its curve of quality over steps")
    module: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        max_length=300,
        description="Your own generator, package.module:factory; its code runs only with --trust-code",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="What your factory is called with")
    weights: Path | None = Field(None, strict=False, description="Its weights, .safetensors; relative to the YAML file")
    inputs: tuple[dict[str, Any], ...] = Field(
        (),
        strict=False,
        max_length=16,
        description="What it takes, e.g. [{name: z, shape: [128]}]; dtype float32, prior {kind: normal} unless given",
    )

    @field_validator("weights")
    @classmethod
    def _beside_the_file(cls, weights: Path | None, info: ValidationInfo) -> Path | None:
        if weights is None:
            return None
        return Path((info.context or {}).get("folder", Path()), weights.expanduser()).resolve()

    @field_validator("inputs", mode="before")
    @classmethod
    def _with_defaults(cls, inputs: Any) -> Any:
        if not isinstance(inputs, list | tuple) or not all(isinstance(one, dict) for one in inputs):
            raise ValueError("must be a list like [{name: z, shape: [128]}]")
        return tuple({"dtype": "float32", "prior": {"kind": "normal"}, **one} for one in inputs)

    @field_validator("inputs")
    @classmethod
    def _named(cls, inputs: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple(spec.to_json() for spec in load_specs(json.dumps(inputs))) if inputs else ()

    @property
    def specs(self) -> "tuple[InputSpec, ...]":
        """The inputs of the user's own module; none without one."""
        return tuple(InputSpec.from_json(spec) for spec in self.inputs)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = {"module": self.module, "weights": self.weights, "inputs": self.inputs or None}
        missing = [key for key, value in given.items() if value is None]
        if missing and (len(missing) < 3 or self.arguments):
            raise ValueError(
                f"needs all of 'module', 'weights' and 'inputs' for a generator of your own; found no {missing[0]!r}"
            )
        return self

    @model_validator(mode="after")
    def _enough_steps(self) -> Self:
        if self.module is None and self.evaluations > self.steps:
            raise ValueError(f"needs at least one step a point: 'evaluations' must be at most 'steps' ({self.steps})")
        return self


class QualityConfig(Section):
    """How good a generator is, and how much of that may be lost."""

    budget: tuple[str, ...] = Field(
        ("fid<=+10%|+2",),
        strict=False,
        min_length=1,
        description="Allowed differences to the reference, e.g. fid<=+10%|+2: the loosest of those joined by | counts",
    )
    extractor: str = Field(
        "classifier",
        min_length=1,
        max_length=1000,
        description="Whose features measure quality: classifier, efficientnet-lite0, or your own file.onnx",
    )
    also: tuple[str, ...] = Field(
        (),
        strict=False,
        max_length=4,
        description="More extractors, for the final table only: nothing is decided by them",
    )
    samples: int = Field(5000, ge=50, le=1_000_000, description="Generated images per score")

    @field_validator("extractor")
    @classmethod
    def _named_or_beside_the_file(cls, value: str, info: ValidationInfo) -> str:
        if not value.lower().endswith(".onnx"):
            return value
        return str(Path((info.context or {}).get("folder", Path()), os.path.expanduser(value)).resolve())

    @field_validator("also")
    @classmethod
    def _others(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        found = tuple(cls._named_or_beside_the_file(value, info) for value in values)
        if len({*found, info.data.get("extractor")}) <= len(found):
            raise ValueError(
                "names each extractor once, and not that of quality.extractor, which is in the table anyway"
            )
        return found

    @field_validator("budget", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("must be text like 'fid<=+10%|+2', or a list of such texts")
        return texts

    @field_validator("budget")
    @classmethod
    def _parsed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from compress.quality import parse_budgets

        parse_budgets(value)
        return value

    @property
    def budgets(self) -> "tuple[Budget, ...]":
        """The budgets in the order written; the metric of the first is the metric of the search."""
        from compress.quality import parse_budgets

        return parse_budgets(self.budget)


class SearchConfig(Section):
    """How long to search, and how candidates are trained. Trials or minutes, whichever ends first."""

    trials: int = Field(24, ge=1, le=1_000_000, description="Candidates to train; proposals end at 20 times that")
    minutes: PositiveFloat = Field(5, le=1_000_000, description="Wall minutes of the search")
    rungs: tuple[Steps, ...] = Field(
        (1000, 3000), strict=False, min_length=1, max_length=20, description="Steps after which weak candidates stop"
    )
    finalists: int = Field(3, ge=1, le=1000, description="Members of the front that are trained to the end")
    final_distill: StepsOrNone = Field(4000, description="Steps a finalist is distilled from the reference, 0 = none")
    final_features: StepsOrNone = Field(
        1500, description="Further ones that compare the features of the reference's discriminator too, 0 = none"
    )
    final_adversarial: StepsOrNone = Field(600, description="Adversarial steps of a finalist after that, 0 = none")
    final_match: StepsOrNone = Field(
        400, description="Last ones that make its pictures, as a whole, like the real ones to an observer, 0 = none"
    )
    workers: int = Field(2, ge=1, le=1024, description="Single-threaded processes that train candidates")
    sampler: Literal["tpe", "nsga2", "random"] = Field("tpe", description="Who proposes genotypes")
    device: Path | None = Field(
        None,
        strict=False,
        description="What `leangen bench profile-device` wrote on this machine: what it predicts to be far too slow is "
        "not measured; null = predictions are learnt during the search; relative to the YAML file",
    )

    @field_validator("device")
    @classmethod
    def _beside_the_file(cls, device: Path | None, info: ValidationInfo) -> Path | None:
        if device is None:
            return None
        return Path((info.context or {}).get("folder", Path()), device.expanduser()).resolve()

    @field_validator("rungs")
    @classmethod
    def _increasing(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(rungs)):
            raise ValueError("must increase from rung to rung (steps are counted from the start)")
        return rungs


class TargetConfig(Section):
    """Where the generator will run, and how fast it must be there. Both limits are optional."""

    runtime: Literal["onnxruntime"] = Field("onnxruntime", description="The runtime that latency is measured in")
    device: Literal["cpu", "cuda"] = Field("cpu", description="The device that latency is measured on")
    threads: int = Field(1, ge=1, le=1024, description="Threads of one inference")
    batch: int = Field(1, ge=1, le=65536, description="Images per inference")
    min_speedup: PositiveFloat | None = Field(None, description="At least so many times faster than the reference")
    max_latency_ms: PositiveFloat | None = Field(None, description="At most so many milliseconds per inference")


class CompressConfig(Section):
    """What is tried on the winner; a step that does not help is refused."""

    prune: bool = Field(True, description="Try structured pruning with recovery")
    quantize: bool = Field(True, description="Try int8, last")
    prune_ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.25,), strict=False, min_length=1, max_length=20, description="Shares of channels to prune, in turn"
    )
    recover: StepsOrNone = Field(
        2500, description="Steps of distillation after a pruning, then fine-tuning as for finalists; 0 = neither"
    )


class ExportConfig(Section):
    """What is written for deployment."""

    tensorrt: Literal["auto", True, False] = Field(
        "auto", description="Build TensorRT plans: auto = if the package is installed, true = or else fail"
    )
    opset: int = Field(20, ge=18, le=23, description="ONNX operator set")


class Experiment(Section):
    """Everything a run needs to know. Equal experiments ask for the same, wherever they were written."""

    name: str = Field(
        "experiment",
        pattern=_SAFE_NAME,
        max_length=64,
        description="Names the run folder: letters, digits and . _ -; by default the file's stem",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Everything random follows from it")
    data: DataConfig = Field(description="mnist-5k, or {folder: pictures/, size: 32, channels: 3}")
    family: Named = Field(Named(name="gan"), description="How generators learn, e.g. gan")
    space: Named = Field(Named(name="decoder"), description="What may vary, e.g. decoder")
    reference: ReferenceConfig = Field(ReferenceConfig(), description="What all else is compared with")
    quality: QualityConfig = Field(default_factory=QualityConfig, description="Metric, extractor and budget")
    search: SearchConfig = Field(SearchConfig(), description="Effort of the search")
    target: TargetConfig = Field(TargetConfig(), description="Where it will run, and how fast it must be")
    compress: CompressConfig = Field(CompressConfig(), description="What is tried on the winner")
    export: ExportConfig = Field(ExportConfig(), description="What is written for deployment")

    _source: Source = PrivateAttr(default_factory=Source)

    @classmethod
    def load(cls, path: Path | str, overrides: Sequence[str] = ()) -> Self:
        """The experiment in the YAML file at ``path``.

        Args:
            path: At most 1 MiB of YAML. ``data.folder`` is taken relative to it; its stem is the default name.
            overrides: ``search.trials=60``: dotted key, ``=``, a YAML value. The last one of a key counts.

        Raises:
            ExperimentError: lists every mistake with its line, and what to do about it.
        """
        path = Path(path)
        names = {section: cls.model_fields[section].default.name for section in ("family", "space")}
        values, source = read_experiment(path, overrides, {"name": _name_from(path), **names})
        try:
            experiment = cls.model_validate(values, context={"folder": path.absolute().parent})
        except ValidationError as error:
            raise explain(error, cls, source) from None
        experiment._source = source
        return experiment

    def options(self, section: Literal["family", "space"], model: type[Options]) -> Options:
        """The options of ``family`` or ``space`` as that family's or space's own ``model``.

        Raises:
            ExperimentError: as ``load``; an unknown option names its nearest neighbour and its line.
        """
        named: Named = getattr(self, section)
        try:
            return model.model_validate(named.options)
        except ValidationError as error:
            raise explain(error, model, self._source, (section,)) from None

    def problem(self, location: Location, message: str) -> ExperimentError:
        """An error to raise about the value at ``location``, e.g. ``("family",)``, with the line it was written in."""
        return ExperimentError(self._source.path, [Problem(message, self._source.place(location))])

    def to_yaml(self) -> str:
        """The whole experiment as YAML, every default written out, paths absolute; ``load`` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def decisive(self) -> dict[str, Any]:
        """Every value that can change a result, as plain JSON: all but ``name`` and ``search.workers``."""
        return self.model_dump(mode="json", exclude={"name": True, "search": {"workers"}})

    def digest(self, *sections: str) -> str:
        """64 hex digits of what can change a result: all but ``name`` and ``search.workers``.

        Args:
            sections: Only these top-level keys, e.g. ``("seed", "data", "reference")`` for what a stage depends on.
        """
        values = self.decisive()
        unknown = set(sections) - set(values)
        assert not unknown, f"no such sections: {sorted(unknown)}"
        chosen = {key: values[key] for key in sections or values}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True, default=str).encode()).hexdigest()


def _name_from(path: Path) -> str:
    """The file's stem as a folder name: ``my digits.yaml`` -> ``my-digits``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "experiment"
