"""What could be taken instead: of scored files the fastest, the smallest and the best, all inside the budget."""

import pytest

from benchmarks.records import Ratio
from compress.quality import Difference, Score
from compress.task import Evaluation
from compress.variants import BEST, FASTEST, SMALLEST, Judged, choose, measured


def judged(folder, name, size, worse, inside=True, metric="fid"):
    """A file of ``size`` bytes, ``worse`` than the reference in the metric."""
    file = folder / f"{name}.onnx"
    file.write_bytes(bytes(size))
    value = 20 + worse
    found = Evaluation(
        {metric: Score(metric, "scripted", 100, (0,), value, 0.1)},
        {"reference": {metric: Difference(worse, (worse - 0.1, worse + 0.1))}},
    )
    return Judged(name, file, "int8", inside, found)


def roles(variants):
    return {one.name: one.roles for one in variants}


@pytest.fixture
def start(tmp_path):
    """The float file that all began with, of 500 bytes."""
    (tmp_path / "start.onnx").write_bytes(bytes(500))
    return tmp_path / "start.onnx"


def test_three_files_three_roles(tmp_path, start):
    """What is fastest was decided step by step; the smallest and the best are looked up among all that were scored."""
    kept, small = judged(tmp_path, "kept", 300, 0.5), judged(tmp_path, "small", 100, 0.9)
    good = judged(tmp_path, "good", 400, -0.2)
    found = choose([kept, small, good], kept.file, start)
    assert roles(found) == {"kept": (FASTEST,), "small": (SMALLEST,), "good": (BEST,)}
    assert [(one.bytes, one.difference.value) for one in found] == [(300, 0.5), (100, 0.9), (400, -0.2)]


def test_one_file_may_be_all_three(tmp_path, start):
    kept, other = judged(tmp_path, "kept", 100, -0.2), judged(tmp_path, "other", 200, 0.0)
    assert roles(choose([kept, other], kept.file, start)) == {"kept": (FASTEST, SMALLEST, BEST)}


def test_the_smallest_is_smaller_than_what_there_was(tmp_path, start):
    kept, large = judged(tmp_path, "kept", 600, 0.5), judged(tmp_path, "large", 500, 0.4)
    assert roles(choose([kept, large], kept.file, start)) == {"kept": (FASTEST,), "large": (BEST,)}


def test_outside_the_budget_nothing_is_offered(tmp_path, start):
    """The smallest and the best are outside; of nothing kept and nothing inside there is no variant at all."""
    kept, outside = judged(tmp_path, "kept", 300, 0.5), judged(tmp_path, "outside", 100, -1.0, inside=False)
    assert roles(choose([kept, outside], kept.file, start)) == {"kept": (FASTEST, SMALLEST, BEST)}
    assert choose([outside], start, start) == []
    assert choose([], start, start) == []


def test_where_more_is_better_the_best_has_most(tmp_path, start):
    """Accuracy: the larger difference wins."""
    high = judged(tmp_path, "high", 20, 0.1, metric="accuracy")
    low = judged(tmp_path, "low", 10, -0.1, metric="accuracy")
    assert roles(choose([high, low], low.file, start)) == {"low": (FASTEST, SMALLEST), "high": (BEST,)}


def test_a_file_that_was_scored_twice_counts_as_it_was_last(tmp_path, start):
    first, last = judged(tmp_path, "file", 10, -3.0), judged(tmp_path, "file", 10, 0.4)
    (found,) = choose([first, last], first.file, start)
    assert found.difference.value == 0.4


class Clock:
    """A bench that says how long files take by their names, and what it was asked."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, []

    def ratios(self, against, files, seconds):
        self.asked.append((against.name, sorted(path.name for path in files.values())))
        value = {name: self.seconds[path.name] / self.seconds[against.name] for name, path in files.items()}
        return {name: Ratio(one, (0.99 * one, 1.01 * one), 50) for name, one in value.items()}


def test_all_are_timed_in_turns_with_what_they_began_with(tmp_path, start):
    kept, good = judged(tmp_path, "kept", 100, 0.5), judged(tmp_path, "good", 400, -0.1)
    bench = Clock({"start.onnx": 4.0, "kept.onnx": 1.0, "good.onnx": 5.0})
    found = measured(choose([kept, good], kept.file, start), start, bench)
    assert bench.asked == [("start.onnx", ["good.onnx", "kept.onnx"])]
    assert {one.name: one.ratio.value for one in found} == pytest.approx({"kept": 0.25, "good": 1.25})
    assert {one["step"]: one["roles"] for one in (each.to_json() for each in found)} == {
        "kept": ["fastest", "smallest"],
        "good": ["best quality"],
    }


@pytest.mark.parametrize(("worse", "milliseconds", "offered"), [(0.1, 5.0, False), (0.1, 3.0, True), (-0.1, 5.0, True)])
def test_the_best_is_better_than_what_there_was_or_faster(tmp_path, start, worse, milliseconds, offered):
    """Four milliseconds and the reference's own pictures is what everybody has who does nothing."""
    best = judged(tmp_path, "best", 600, worse)
    found = measured(choose([best], start, start), start, Clock({"start.onnx": 4.0, "best.onnx": milliseconds}))
    assert [one.name for one in found] == ["best"] * offered


def test_nothing_to_time_is_not_timed(start):
    bench = Clock({})
    assert measured([], start, bench) == ()
    assert bench.asked == []
