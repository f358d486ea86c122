"""Measuring members of a space: which ones, what is kept of them, and that nothing is measured twice."""

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.inputs import InputSpec
from benchmarks.records import Target
from nas.errors import NasError
from nas.outlines import operators_of
from nas.profiling import Assignment, Profiler
from nas.progress import Silent
from search_spaces import get_space
from search_spaces.space import Genotype, ImageShape

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
IMAGE = ImageShape(1, 32, 32)
SPACE = get_space("decoder")


def assignment(**changes: Any) -> Assignment:
    settings = {"members": 60, "held_out": 30, "seed": 0, "target": Target(), "image": IMAGE} | changes
    return Assignment(SPACE, (Z,), **settings)


class MadeUp(Profiler):
    """A machine whose times are a sum; ``stop_after`` measurements somebody presses Ctrl-C."""

    stop_after = 10_000

    def _measure(self, genotype: Genotype, anchor: Any) -> dict[str, Any]:
        if len(self._known) >= self.stop_after:
            raise KeyboardInterrupt
        operators = operators_of(SPACE, genotype, (Z,), self._job.image)
        macs = sum(one.macs for one in operators)
        return {"ratios": {"fp32": (len(operators) + macs / 5e4) / 1000, "int8": (len(operators) + macs / 1e5) / 900},
                "macs": macs}  # fmt: skip

    def _export_anchor(self, path: Any) -> None:
        """The machine is made up, and so has no file."""

    def _anchor_seconds(self, path: Any) -> float:
        return 0.001


def lines(path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_uniform_ones_are_held_out_and_half_of_the_members_are_fast(tmp_path):
    profiler = MadeUp(assignment(), tmp_path / "log.jsonl", Silent())
    profile = profiler.run(minutes=1)
    parts = {name: [one.fastest for one in part] for name, part in profiler._members.items()}
    assert {name: len(part) for name, part in parts.items()} == {"held out": 30, "uniform": 30, "fast": 30}
    assert max(parts["fast"]) < np.median(parts["uniform"])
    assert (profile.members, profile.held_out.members, profile.macs.members) == (60, 30, 30)
    assert profile.held_out.median < 0.1
    assert profile.held_out.spearman > 0.95
    assert profile.anchor.genotype == SPACE.named["dcgan64"]
    assert len({row["id"] for row in lines(tmp_path / "log.jsonl")[1:]}) == 90


def test_stopped_and_resumed_nothing_is_measured_twice_and_the_result_is_the_same(tmp_path):
    whole = MadeUp(assignment(), tmp_path / "whole.jsonl", Silent()).run(minutes=1)
    log = tmp_path / "parts.jsonl"
    for stop_after in (20, 75):
        stopped = MadeUp(assignment(), log, Silent())
        stopped.stop_after = stop_after
        with pytest.raises(KeyboardInterrupt):
            stopped.run(minutes=1)
        with log.open("a") as file:
            file.write('{"event": "member", "id": "torn')  # killed while it wrote
    assert MadeUp(assignment(), log, Silent()).run(minutes=1) == whole
    assert len({row["id"] for row in lines(log)[1:]}) == len(lines(log)) - 1 == 90


def test_more_members_go_on_from_fewer(tmp_path):
    log = tmp_path / "log.jsonl"
    MadeUp(assignment(members=40, held_out=20), log, Silent()).run(minutes=1)
    before = len(lines(log))
    assert MadeUp(assignment(members=50, held_out=20), log, Silent()).run(minutes=1).members == 50
    assert before < len(lines(log)) < before + 50


def test_minutes_end_it_and_too_little_says_how_to_go_on(tmp_path):
    clock = iter(range(0, 10_000, 10))
    profiler = MadeUp(assignment(), tmp_path / "log.jsonl", Silent(), clock=lambda: next(clock))
    with pytest.raises(NasError, match="give the same command again"):
        profiler.run(minutes=5)
    assert 20 <= len(lines(tmp_path / "log.jsonl")) <= 32


@pytest.mark.parametrize("changes", [{"seed": 1}, {"target": Target(batch=8)}, {"image": ImageShape(3, 32, 32)}])
def test_measurements_of_something_else_are_not_mixed_in(tmp_path, changes):
    log = tmp_path / "log.jsonl"
    MadeUp(assignment(), log, Silent()).run(minutes=1)
    with pytest.raises(NasError, match=f"holds measurements with {next(iter(changes))}"):
        MadeUp(assignment(**changes), log, Silent())


@pytest.mark.parametrize("ratios", [{}, {"fp32": 0.0}, {"fp32": "fast"}, {"fp32": 1e9}, None])
def test_a_damaged_measurement_is_named(tmp_path, ratios):
    log = tmp_path / "log.jsonl"
    MadeUp(assignment(members=40, held_out=20), log, Silent()).run(minutes=1)
    with log.open("a") as file:
        file.write(json.dumps({"event": "member", "id": "abcdefabcdef", "ratios": ratios, "macs": 1}) + "\n")
    with pytest.raises(NasError, match="abcdefabcdef holds no ratios"):
        MadeUp(assignment(), log, Silent())


def test_a_real_member_is_timed_against_the_stock(tmp_path):
    """The smallest of the space is faster than the stock DCGAN in any weather."""
    profiler = Profiler(assignment(), tmp_path / "log.jsonl", Silent())
    profiler._export_anchor(tmp_path / "anchor.onnx")
    genotype = SPACE.sample(np.random.default_rng(0), {"body": "mlp", "hidden": 64, "layers": 1})
    row = profiler._measure(genotype, tmp_path / "anchor.onnx")
    assert row["macs"] == 100 * 64 + 64 * 1024
    assert set(row["ratios"]) == {"fp32", "int8"}
    assert all(0 < ratio < 0.5 for ratio in row["ratios"].values())
