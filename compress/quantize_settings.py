"""What a quantization is: the settings that the last edit of a generator records, and that do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from compress.edits import Edit
from compress.errors import CompressError

QuantizeTarget = Literal["onnxruntime", "tensorrt"]
Calibration = Literal["minmax", "percentile", "entropy"]


@dataclass(frozen=True)
class QuantizeSettings:
    """How a float graph becomes an integer one.

    Args:
        per_channel: One scale per output channel of the weights; else one per tensor, which is faster at batch 1 and
            usually as good.
        target: The runtime that the file is for.
        exclude: Names of nodes to leave in float.
        unfold: Write transposed convolutions as convolutions first, see ``subpixel.unfold_transposed``.
        calibration: How ranges of activations are found: the extremes, the 99.99 % in the middle, or the range whose
            histogram loses least information (onnxruntime's).

    Raises:
        CompressError: an unknown target or calibration.
    """

    per_channel: bool = False
    target: QuantizeTarget = "onnxruntime"
    exclude: tuple[str, ...] = ()
    unfold: bool = False
    calibration: Calibration = "minmax"

    def __post_init__(self) -> None:
        if self.target not in get_args(QuantizeTarget):
            raise CompressError(
                f"Files are quantized for {' or '.join(get_args(QuantizeTarget))}, found {self.target!r}. "
                "Choose one of them."
            )
        if self.calibration not in get_args(Calibration):
            raise CompressError(
                f"Ranges are calibrated by {', '.join(get_args(Calibration))}, found {self.calibration!r}. "
                "Choose one of them."
            )

    @property
    def name(self) -> str:
        """How a report calls it, e.g. ``per channel, unfolded, percentile, 2 nodes in float``."""
        parts = ["per channel" if self.per_channel else "per tensor"]
        parts += ["unfolded"] * self.unfold
        parts += [self.calibration] * (self.calibration != "minmax")
        count = len(self.exclude)
        parts += [f"{count} {'node' if count == 1 else 'nodes'} in float"] * bool(count)
        return ", ".join(parts)

    def edit(self, calibration_seed: int | Sequence[int], rows: int) -> Edit:
        """Return the edit that records it; ``rows`` inputs were drawn with ``calibration_seed``."""
        seed = calibration_seed if isinstance(calibration_seed, int) else list(calibration_seed)
        return Edit("quantize", {**self.to_json(), "calibration_seed": seed, "calibration_rows": rows})

    @classmethod
    def of_edit(cls, edit: Edit) -> QuantizeSettings:
        """Return the settings of an edit of the kind "quantize"; those of its time had fewer fields."""
        known = edit.settings
        return cls(
            per_channel=known["per_channel"],
            target=known["target"],
            exclude=tuple(known["exclude"]),
            unfold=known.get("unfold", False),
            calibration=known.get("calibration", "minmax"),
        )

    def to_json(self) -> Mapping[str, Any]:
        """Return plain JSON types; what is as usual is left out, so that ids of older edits stay."""
        kept: dict[str, Any] = {
            "target": self.target,
            "per_channel": self.per_channel,
            "exclude": list(self.exclude),
        }
        kept |= {"unfold": True} if self.unfold else {}
        return kept | ({"calibration": self.calibration} if self.calibration != "minmax" else {})
