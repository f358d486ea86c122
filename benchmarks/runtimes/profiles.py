"""onnxruntime's own record of which operators ran and how long each took."""

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks.files import read_json

MAX_PROFILE_BYTES = 2**30

_DTYPES = {"float": "float32", "double": "float64"}  # by onnxruntime's names


class Profile:
    """The profile of one session. Its file lies in a folder of its own that goes with this object.

    Its life: ``prefix`` is given to the session's options; the session runs; the first question for events, seconds or
    counts ends the profile, and later calls are not in it.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="leangen-profile-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._folder = Path(folder)
        self._events: list[Any] | None = None

    @property
    def prefix(self) -> str:
        """What the path of the session's profile begins with."""
        return str(self._folder / "profile")

    def operator_seconds(self, session: ort.InferenceSession) -> dict[tuple[str, str], float]:
        """Seconds by (operator, dtype), ``{("Conv", "float32"): 0.01}``, over all calls of ``session``."""
        seconds: Counter[tuple[str, str]] = Counter()
        for event in self.kernel_events(session):
            seconds[_operator(event)] += event["dur"] * 1e-6
        return dict(seconds)

    def operator_counts(self, session: ort.InferenceSession) -> dict[tuple[str, str], int]:
        """Nodes by (operator, dtype) in the graph that really runs."""
        nodes = {(event["args"].get("node_index"), event["name"]): event for event in self.kernel_events(session)}
        return dict(Counter(_operator(event) for event in nodes.values()))

    def kernel_events(self, session: ort.InferenceSession) -> list[Any]:
        """One event for every node that a call of ``session`` ran, in order."""
        if self._events is None:
            events = read_json(Path(session.end_profiling()), max_bytes=MAX_PROFILE_BYTES)
            self._events = [event for event in events if event.get("name", "").endswith("_kernel_time")]
        return self._events


def _operator(event: Mapping[str, Any]) -> tuple[str, str]:
    """(operator, dtype of its first input, or of its first output if it has none) of one profile event."""
    tensors = event["args"].get("input_type_shape") or event["args"].get("output_type_shape") or [{}]
    dtype = next(iter(tensors[0]), "none")
    return event["args"]["op_name"], _DTYPES.get(dtype, dtype)
