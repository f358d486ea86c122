"""The baseline is matched by a bisection over widths; here a formula stands for the clock."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.files import read_json, write_json
from benchmarks.records import Ratio
from nas import baseline
from nas.baseline import Baseline, match
from nas.errors import NasError
from nas.families.base import Phase
from nas.folder import RunFolder


def context(ratio: Callable[[float], float], path: Path = Path("run")) -> Any:
    """A context whose narrowed reference of ``factor`` takes ``ratio(factor)`` times as long as the shipped file.

    ``asked`` lists the factors that were timed.
    """
    asked: list[float] = []

    def timed(generator: Any, shipped: Path, seconds: float) -> Any:
        asked.append(generator.factor)
        return SimpleNamespace(ratio=SimpleNamespace(value=ratio(generator.factor)))

    def narrowed(factor: float, seed: int) -> Any:
        return SimpleNamespace(factor=factor, id=f"{factor}", origin=None)

    return SimpleNamespace(
        family=SimpleNamespace(narrowed=narrowed),
        bench=SimpleNamespace(time_untrained=timed),
        experiment=SimpleNamespace(seed=0),
        folder=RunFolder(path),
        asked=asked,
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
    assert found.ratio == 1.5
    assert 0.3 <= found.factor < 0.303


def test_a_width_that_was_tried_earlier_may_fit_better_than_the_last():
    """Not every narrower network is faster: 1.2 at 0.5, 1.4 at 0.25, 0.9 below; the first is nearest from above."""
    steps = {0.5: 1.2, 0.25: 1.4}
    found = match(context(lambda factor: steps.get(factor, 1.3 if factor > 0.25 else 0.9)), Path("model.onnx"))
    assert (found.factor, found.ratio) == (0.5, 1.2)


def test_where_even_the_widest_is_faster_the_widest_is_taken():
    found = match(context(lambda factor: 0.5), Path("model.onnx"))
    assert found.factor == pytest.approx(1, abs=0.01)


@pytest.fixture
def begin(tmp_path, monkeypatch, scripted):
    """Return a function that begins a baseline in ``tmp_path``; ``final`` are its ratios to the file that ships."""
    monkeypatch.setattr(baseline, "final_schedule", lambda _: (Phase("distill", 5),))
    monkeypatch.setattr(baseline, "train_job", lambda context, out, *_, **__: {"out": out.name})
    winner, shipped = tmp_path / "winner.onnx", tmp_path / "shipped.onnx"
    winner.write_bytes(b"winner")

    def do(ratio, *final: float, same=False):
        shipped.write_bytes(b"winner" if same else b"shipped")
        one = context(ratio, tmp_path)
        one.bench.variants = lambda generator, folder: {"fp32": folder / "model.onnx"}
        left = iter(final)
        one.bench.ratios = lambda *_: {"fp32": Ratio(value := next(left), (value, value), 20)}
        executor = scripted(lambda job: {})
        begun = Baseline(one, executor)
        begun.begin(winner)
        return begun, shipped, one, executor

    monkeypatch.setattr(baseline.Generator, "load", lambda folder: None)
    return do


def trained(executor: Any) -> list[str]:
    return [job["out"] for job in executor.jobs]


def test_where_compression_changed_nothing_much_the_first_training_stands(begin):
    """1.11 is in the window but for the noise of a second measurement."""
    one, shipped, _, executor = begin(lambda factor: 3 * factor, 1.11)
    record = one.finish(shipped)
    assert trained(executor) == ["0.34375"]
    assert record["ratio_to_shipped"]["value"] == 1.11
    assert record["match"] == {"factor": 0.34375, "id": "0.34375", "ratio": 1.03125, "fits": True}


@pytest.mark.parametrize("fits", [True, False])
def test_where_the_shipped_file_became_faster_it_is_matched_again(begin, fits):
    """Whether or not the first match was inside the window."""
    ratios = {"now": (lambda factor: 3 * factor) if fits else (lambda factor: 0.8 if factor < 0.3 else 1.5)}
    one, shipped, _, executor = begin(lambda factor: ratios["now"](factor), 1.9, 1.05)
    ratios["now"] = lambda factor: 4.2 * factor  # 2.1, 1.05
    record = one.finish(shipped)
    assert trained(executor)[1:] == ["0.25"]
    assert (record["factor"], record["match"]["fits"]) == (0.25, True)
    assert record["ratio_to_shipped"]["value"] == 1.05


def test_a_match_to_the_very_file_that_ships_is_not_repeated(begin):
    """Every width was tried against it already."""
    one, shipped, context, executor = begin(lambda factor: 0.8 if factor < 0.3 else 1.5, 1.5, same=True)
    count = len(context.asked)
    record = one.finish(shipped)
    assert (len(executor.jobs), len(context.asked)) == (1, count)
    assert (record["match"]["fits"], record["match"]["ratio"]) == (False, 1.5)


def test_a_resumed_stage_goes_on_with_the_same_widths(begin, tmp_path):
    """Another day's clock would choose others; both matches are kept, each under the file it was made to."""
    one, shipped, _, first = begin(lambda factor: 3 * factor, 1.9, 1.05)
    one._context.bench.time_untrained = lambda *_: SimpleNamespace(ratio=SimpleNamespace(value=1.02))
    one.finish(shipped)
    assert len(read_json(tmp_path / "baseline" / "match.json")) == 2
    resumed, shipped, context, second = begin(lambda factor: pytest.fail("timed"), 1.9, 1.05)
    record = resumed.finish(shipped)
    assert trained(second) == trained(first) == ["0.34375", "0.5"]
    assert context.asked == []
    assert record["match"]["ratio"] == 1.02


def test_a_kept_match_of_another_network_is_not_taken(begin, tmp_path):
    begin(lambda factor: 3 * factor)
    path = tmp_path / "baseline" / "match.json"
    write_json(path, {key: row | {"id": "other"} for key, row in read_json(path).items()})
    _, _, context, _ = begin(lambda factor: 3 * factor)
    assert context.asked


def test_a_training_that_fails_is_named(tmp_path: Path):
    failed: Future[dict[str, Any]] = Future()
    failed.set_result({"error": "TrainingError: diverged"})
    one = Baseline(context(lambda factor: 1.05, tmp_path), SimpleNamespace(workers=1))  # type: ignore[arg-type]
    one._future = failed
    with pytest.raises(NasError, match="the baseline could not be trained: TrainingError: diverged"):
        one.finish(Path("model.onnx"))


def test_what_the_baseline_leaves(tiny_run):
    record = read_json(tiny_run.folder / "baseline" / "record.json")
    assert 0 < record["factor"] < 1
    assert record["fastest"] in record["files"]
    assert all((tiny_run.folder / path).is_file() for path in record["files"].values())
    assert record["ratio_to_shipped"]["ci95"][0] <= record["ratio_to_shipped"]["value"]
    assert 1.0 <= baseline.WINDOW[0] < baseline.WINDOW[1] <= 1.1
    assert record["match"]["id"] == record["id"]
    assert record["match"] in read_json(tiny_run.folder / "baseline" / "match.json").values()
