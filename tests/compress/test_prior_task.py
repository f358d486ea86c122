import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from benchmarks.inputs import InputSpec
from compress import prior_task
from compress.errors import CompressError
from compress.export import export_onnx
from compress.prior_task import DISTANCE, PriorTask, as_measure, difference, distance_to
from compress.prune import prune
from compress.quality import Budget, Metric, Score, get_metric, missed_budgets, register_metric
from compress.running import run_module

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)


@pytest.fixture
def task(low16, low16_file):
    return PriorTask(Z, {DISTANCE: distance_to(low16_file)}, teacher=low16.module, rows=16, recover_s=0.5, batch=8)


@pytest.fixture
def worse(low16, tmp_path):
    """The same generator with weights a little off."""
    one = replace(low16, module=low16.build())
    one.module.load_state_dict(low16.module.state_dict())
    with torch.no_grad():
        for weight in one.module.parameters():
            weight.mul_(1.1)
    export_onnx(one, tmp_path / "worse.onnx")
    return tmp_path / "worse.onnx"


def test_a_file_is_at_no_distance_from_itself(task, low16_file, worse):
    found = task.evaluate({"reference": low16_file, "after": worse})
    assert found["reference"].primary.value == 0
    after = found["after"].primary
    assert after.value > 10 * after.standard_error > 0
    assert (after.metric, after.n) == ("distance", 16 * 8)
    gap = found["after"].differences["reference"]["distance"]
    assert gap.value == pytest.approx(after.value)
    budget = [Budget.parse(f"distance<={2 * after.value}")]
    against = found["after"].differences["reference"]
    assert not missed_budgets(budget, found["after"].scores, found["reference"].scores, against)


def test_oracle_intervals_are_students(rng):
    """The same as scipy's paired t-test."""
    one, other = rng.normal(size=(2, 8))
    low, high = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
    found = difference(one - other)
    assert (found.value, *found.ci95) == pytest.approx(((one - other).mean(), low, high), rel=1e-3)


def test_oracle_a_limit_is_judged_by_students_interval(task, low16_file, rng):
    """1.96 of the widened errors are the half width that scipy's t gives for eight draws."""
    values = iter(rng.normal(size=8))
    found = task.measuring({"fid": lambda *_: next(values)}).evaluate({"a": low16_file})["a"].primary
    drawn = np.random.default_rng(0).normal(size=8)
    half = scipy.stats.t.ppf(0.975, 7) * drawn.std(ddof=1) / math.sqrt(8)
    assert (found.value, 1.96 * found.standard_error) == pytest.approx((drawn.mean(), half), rel=1e-3)


def test_distance_is_a_share_of_half_of_the_range(low16_file, worse, latents):
    pictures = np.zeros((64, 1, 32, 32))
    one, other = (distance_to(low16_file, half)(pictures, latents) for half in (1.0, 127.5))
    assert other == pytest.approx(one / 127.5)


@pytest.mark.parametrize(("room", "times"), [(2**28, 2), (0, 4)])
def test_the_reference_draws_the_same_latents_once(low16_file, worse, monkeypatch, room, times):
    """And again where there is no room to keep its pictures."""
    drawn = []
    monkeypatch.setattr(prior_task, "KEPT_BYTES", room)
    own = prior_task.generate
    monkeypatch.setattr(prior_task, "generate", lambda path, rows: drawn.append(path) or own(path, rows))
    task = PriorTask(Z, {DISTANCE: distance_to(low16_file)}, rows=16, draws=2)
    values = [task.measuring(task.measures).evaluate({"a": worse})["a"].primary.value for _ in range(2)]
    assert (values[0], drawn.count(low16_file)) == (values[1], times)


def test_what_is_not_finite_is_unknown():
    assert math.isnan(difference(np.array([1.0, math.nan])).value)


def test_other_seeds_draw_other_pictures(task, worse, low16_file):
    one, other = (t.evaluate({"a": worse, "b": low16_file})["a"].primary for t in (task, task.with_seed(0, 6)))
    assert one.value != other.value
    assert other.seeds == (0, 6)


def test_a_file_that_is_written_again_is_judged_again(task, worse, low16_file):
    before = task.evaluate({"a": worse})["a"].primary.value
    worse.write_bytes(low16_file.read_bytes())
    assert task.evaluate({"a": worse})["a"].primary.value == 0 < before


def test_functions_get_pictures_and_inputs_if_they_ask(task, low16_file):
    def brightness(pictures):
        return pictures.mean()

    def rows(pictures, inputs):
        return len(inputs["z"]) + len(pictures)

    found = task.measuring({"fid": as_measure(brightness), "kid": as_measure(rows)}).evaluate({"a": low16_file})
    assert found["a"].primary.metric == "fid"
    assert -1 <= found["a"].primary.value <= 1
    assert (found["a"].scores["kid"].value, found["a"].scores["kid"].standard_error) == (32, 0)


def test_a_function_that_fails_is_named(task, low16_file):
    def broken(pictures):
        return pictures[0, 0, 0, 99]

    with pytest.raises(CompressError, match=r"measures fid failed on pictures \(16, 1, 32, 32\): IndexError"):
        task.measuring({"fid": as_measure(broken)}).evaluate({"a": low16_file})


def test_recovery_brings_a_pruned_generator_nearer(task, low16, latents, tmp_path):
    pruned = prune(low16, 0.5, inputs=latents)
    before = {name: value.clone() for name, value in low16.module.state_dict().items()}
    wanted = run_module(low16.module, latents)
    harmed = np.mean((run_module(pruned.module, latents) - wanted) ** 2)
    recovered = replace(task, recover_s=4.0).recover(pruned, tmp_path)
    assert np.mean((run_module(recovered.module, latents) - wanted) ** 2) < 0.8 * harmed
    assert recovered.id == pruned.id
    for name, value in low16.module.state_dict().items():
        torch.testing.assert_close(value, before[name], msg="the teacher stays as it is")


def test_without_a_teacher_nothing_is_recovered(task, low16, tmp_path):
    with pytest.raises(CompressError, match="no module to learn from"):
        replace(task, teacher=None).recover(low16, tmp_path)


@pytest.mark.parametrize("draws", [1, 17])
def test_draws_are_two_to_sixteen(task, draws):
    with pytest.raises(CompressError, match="2 to 16"):
        replace(task, draws=draws)


def test_a_metric_of_ones_own_declares_its_direction():
    register_metric(Metric("sharpness", "higher"))
    register_metric(Metric("sharpness", "higher"))
    assert get_metric("sharpness").direction == "higher"
    with pytest.raises(CompressError, match="written >="):
        Budget.parse("sharpness<=+5%")
    for metric, says in (
        (Metric("sharpness", "lower"), "already"),
        (Metric("fid", "higher"), "already"),
        (Metric("Sharp", "higher"), "lower-case"),
        (Metric("sharp", "up"), "Say which"),
    ):
        with pytest.raises(CompressError, match=says):
            register_metric(metric)


@pytest.mark.parametrize(
    ("text", "values", "kept"),
    [
        ("fid<=+5%", (20.0, 80.0), False),  # two well-known tools accept this: they assume that more is better
        ("fid<=+5%", (20.0, 5.0), True),
        ("fid<=+5%", (20.0, 20.9), True),
        ("accuracy>=-1pt", (0.9, 0.5), False),
        ("accuracy>=-1pt", (0.5, 0.9), True),
    ],
)
def test_a_collapse_is_never_an_improvement(text, values, kept):
    budget = Budget.parse(text)
    before, after = values
    scores = [{budget.metric.name: Score(budget.metric.name, "x", 100, (0,), value, 0.0)} for value in (after, before)]
    gap = {budget.metric.name: difference(np.full(8, after - before))}
    assert bool(missed_budgets([budget], *scores, gap)) is not kept
