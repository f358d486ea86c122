"""The space ``class_decoder``: the space ``decoder`` for images with a class, and where and how the class enters.

The class is the one input that is a scalar integer drawn from ``{"kind": "integers", "low": 0, "high": K - 1}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.decoder import BLOCKS, DCGAN64, EARLY_STAGES, FUNCTIONS, MLP, NORM, STAGES, STEM, stock_plan
from search_spaces.outline import Operator, outline_conv, outline_mlp
from search_spaces.plans import ClassPlan, check_vectors, conv_plan, mlp_plan
from search_spaces.space import Choice, Condition, Genotype, ImageShape, SearchSpace, SearchSpaceError

if TYPE_CHECKING:  # torch is imported once something is built
    from torch import nn

    from benchmarks.inputs import InputSpec
    from search_spaces.network import Decoder

MAX_CLASSES = 10_000
STOCK_EMBEDDING = 32

_EMBEDDED = ("latent", "latent_norm")
_NORMED = ("norm", "latent_norm")


def build_class_decoder(genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> nn.Module:
    """The generator of a canonical ``genotype``; see ``CLASS_DECODER``.

    Raises:
        SearchSpaceError: the inputs are not real-valued vectors and one class, or the image is not one this genotype
            can reach.
    """
    from search_spaces import assembly

    classes = _class_plan(genotype, *_label_of(inputs))
    if genotype["body"] == "mlp":
        return assembly.build_mlp(mlp_plan(genotype, image), inputs, image, classes)
    return assembly.build_conv(conv_plan(genotype, image), inputs, image, classes)


def outline_class_decoder(genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> tuple[Operator, ...]:
    """What ``build_class_decoder`` would compute; raises as it does."""
    classes = _class_plan(genotype, *_label_of(inputs))
    if genotype["body"] == "mlp":
        return outline_mlp(mlp_plan(genotype, image), inputs, image, classes)
    return outline_conv(conv_plan(genotype, image), inputs, image, classes)


def conditional_dcgan(widths: Sequence[int], inputs: Sequence[Any], image: Any) -> Decoder:
    """A DCGAN generator of any widths that draws classes: the reference of a conditional family.

    Each class appends 32 learnt numbers to the latents, and every norm has a scale and a shift per class, as the
    conditional generators of Miyato and Koyama 2018 (arXiv:1802.05637) do in theirs.

    Args:
        widths: Channels of the maps before each transposed convolution; ``(256, 128, 64)`` at 32 pixels is the stock.
        inputs: ``InputSpec``s or their JSON objects: vectors and one class.
        image: ``ImageShape``, its JSON object, or ``[channels, height, width]``; square, side = start * 2^len(widths).

    Raises:
        SearchSpaceError: as ``search_spaces.decoder.dcgan``, and where the inputs are not vectors and one class.
    """
    from benchmarks.inputs import InputSpec
    from search_spaces import assembly

    image = ImageShape.from_json(image)
    specs = tuple(spec if isinstance(spec, InputSpec) else InputSpec.from_json(spec) for spec in inputs)
    label, count = _label_of(specs)
    classes = ClassPlan(label, count, embedding=STOCK_EMBEDDING, stem=True, blocks=True, stages=True)
    return assembly.build_conv(stock_plan(widths, image), specs, image, classes)


def _class_plan(genotype: Genotype, label: str, classes: int) -> ClassPlan:
    knobs: dict[str, Any] = dict(genotype)
    return ClassPlan(
        label=label,
        classes=classes,
        embedding=knobs.get("embedding", 0),
        shift=knobs["class_into"] == "stem",
        stem=knobs["class_into"] in _NORMED,
        blocks=knobs.get("class_blocks", False),
        stages=knobs.get("class_stages", False),
    )


def _label_of(inputs: Sequence[InputSpec]) -> tuple[str, int]:
    """Name of the one input that holds the class, and how many classes there are; all others are vectors.

    Raises:
        SearchSpaceError: there is none or more than one, or its labels do not count from 0 to at most 9,999.
    """
    labels = [spec for spec in inputs if spec.dtype in ("int32", "int64") and not spec.shape]
    if len(labels) != 1:
        raise SearchSpaceError(
            "space 'class_decoder' takes one label (int64, shape (), an integers prior from 0), found "
            f"{[spec.name for spec in labels]} among {[spec.name for spec in inputs]}; add or remove one"
        )
    label = labels[0]
    check_vectors("class_decoder", [spec for spec in inputs if spec is not label])
    prior = label.prior
    if prior["kind"] != "integers" or prior["low"] != 0:
        raise SearchSpaceError(
            f"labels are drawn from an integers prior that starts at 0, found {dict(prior)} for {label.name!r}; "
            'write {"kind": "integers", "low": 0, "high": classes - 1}'
        )
    classes = int(prior["high"]) + 1
    if classes > MAX_CLASSES:
        raise SearchSpaceError(
            f"there are at most {MAX_CLASSES} classes, found {classes} for {label.name!r}; group them"
        )
    if any(spec.name == label.name for spec in inputs if spec is not label):
        raise SearchSpaceError(f"every input has a name of its own, found {label.name!r} twice; rename one")
    return label.name, classes


_HIDDEN_STAGES: Condition = {**MLP, "layers": (2, 3), "class_into": _NORMED}

CLASS_DECODER = SearchSpace(
    name="class_decoder",
    description="latent vectors and a class -> square images: the space decoder, and where and how the class enters",
    knobs={
        **STEM,
        **STAGES,
        **BLOCKS,
        "class_into": Choice(
            ("latent", "stem", "norm", "latent_norm"),
            why="latent: numbers per class appended to the latents; stem: a bias per class for the stem's features; "
            "norm: batch norm with a scale and a shift per class, behind the stem at least (arXiv:1707.00683)",
        ),
        "embedding": Choice(
            (4, 8, 16, 32), unit="numbers", when={"class_into": _EMBEDDED}, why="appended to the latents by each class"
        ),
        "class_blocks": Choice(
            (False, True),
            when={"blocks": (1, 2, 3, 4), "class_into": _NORMED},
            why="whether the norms of the blocks at the first resolution have them too",
        ),
        "class_stages": Choice(
            (False, True),
            when=(*({**condition, "class_into": _NORMED} for condition in EARLY_STAGES), _HIDDEN_STAGES),
            why="whether all norms behind those have them too; each costs four nodes",
        ),
        "norm": Choice(NORM.values, when={"body": ("conv",), "class_into": ("latent", "stem")}, why=f"{NORM.why}"),
        **FUNCTIONS,
    },
    build=build_class_decoder,
    outline=outline_class_decoder,
    named={
        "conditional_dcgan64": {
            **DCGAN64,
            "class_into": "latent_norm",
            "embedding": STOCK_EMBEDDING,
            "class_stages": True,
        },
    },
)
