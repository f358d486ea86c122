"""The baseline is matched by a bisection over widths; here a formula stands for the clock."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.files import read_json
from nas import baseline
from nas.baseline import Baseline, match
from nas.errors import NasError


def context(ratio: Callable[[float], float]) -> Any:
    """A context whose narrowed reference of ``factor`` takes ``ratio(factor)`` times as long as the shipped file."""

    def timed(generator: Any, shipped: Path, seconds: float) -> Any:
        return SimpleNamespace(ratio=SimpleNamespace(value=ratio(generator.factor)))

    return SimpleNamespace(
        family=SimpleNamespace(narrowed=lambda factor, seed: SimpleNamespace(factor=factor, id=f"{factor}")),
        bench=SimpleNamespace(time_untrained=timed),
        experiment=SimpleNamespace(seed=0),
        folder=SimpleNamespace(path=Path("run")),
    )


def test_bisection_ends_inside_the_window():
    """Three times the factor: 1.5, 0.75, 1.125, 0.9375, 1.03 at 0.34375."""
    found = match(context(lambda factor: 3 * factor), Path("model.onnx"))
    assert found.factor == 0.34375
    assert found.fits


def test_where_no_width_fits_the_fastest_that_is_no_faster_is_taken():
    """A staircase from 0.8 to 1.5: nothing lies between, and 0.8 would be a baseline that is faster than the result."""
    found = match(context(lambda factor: 0.8 if factor < 0.3 else 1.5), Path("model.onnx"))
    assert not found.fits
    assert found.timing.ratio.value == 1.5
    assert 0.3 <= found.factor < 0.303


def test_where_even_the_widest_is_faster_the_widest_is_taken():
    found = match(context(lambda factor: 0.5), Path("model.onnx"))
    assert found.factor == pytest.approx(1, abs=0.01)


def test_a_training_that_fails_is_named():
    failed: Future[dict[str, Any]] = Future()
    failed.set_result({"error": "TrainingError: diverged"})
    one = Baseline(context(lambda factor: 1.05), SimpleNamespace(workers=1))  # type: ignore[arg-type]
    one._future = failed
    with pytest.raises(NasError, match="the baseline could not be trained: TrainingError: diverged"):
        one.finish(Path("model.onnx"))


def test_what_the_baseline_leaves(tiny_run):
    record = read_json(tiny_run.folder / "baseline" / "record.json")
    assert 0 < record["factor"] < 1
    assert record["fastest"] in record["files"]
    assert all((tiny_run.folder / path).is_file() for path in record["files"].values())
    assert record["ratio_to_shipped"]["ci95"][0] <= record["ratio_to_shipped"]["value"]
    assert baseline.WINDOW == (1.0, 1.1)
