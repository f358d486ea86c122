"""The planner, with scripted timings and scores on real generators: what is tried, kept, refused, and recorded."""

import copy
import json
import math
import sys
import types
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.records import Ratio, Target
from benchmarks.runtimes.onnx import generate, optimised_operators
from compress import integers, ledger, shares
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Generator
from compress.ledger import Ledger
from compress.measure import Bench
from compress.placement import Placement
from compress.planner import Recipe, run_recipe
from compress.quality import Budget, Difference, Score
from compress.quantize import quantize
from compress.running import run_module
from compress.task import Evaluation
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
IMAGE = ImageShape(1, 32, 32)
GENOTYPE = {
    "body": "conv", "rank": 0, "mapping": 0, "start": 8, "width": 32, "last": "shuffle4", "last_kernel": 3,
    "blocks": 1, "block": "plain", "kernel": 3,
    "norm": "batch", "activation": "relu", "output": "tanh",
}  # fmt: skip
REFERENCE, START = "reference", "00-start"


@dataclass(frozen=True)
class ScriptedBench(Bench):
    """Milliseconds by folder and file, e.g. {"01-prune-25": {"model.onnx": 2}}; exact to one percent."""

    script: dict = field(default_factory=dict)

    def ratios(self, against, files, seconds):
        def ratio(value):
            return Ratio(value, (0.99 * value, 1.01 * value), 50)

        return {name: ratio(self._cost(path) / self._cost(against)) for name, path in files.items()}

    def _cost(self, path):
        return self.script[path.parent.name][path.name]


@dataclass
class ScriptedTask:
    """FIDs by folder; differences are exact to 0.1. Recovery moves every weight a little."""

    script: dict
    inputs: tuple = Z
    asked: list = field(default_factory=list)
    recovered: list = field(default_factory=list)

    def evaluate(self, files):
        self.asked.append({name: path.parent.name for name, path in files.items()})
        values = {name: self.script[path.parent.name] for name, path in files.items()}
        return {name: Evaluation({"fid": score(value)}, differences(name, values)) for name, value in values.items()}

    def recover(self, generator, folder):
        self.recovered.append((generator, folder.name))
        module = copy.deepcopy(generator.module)
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(1.01)
        return replace(generator, module=module)


def score(value):
    return Score("fid", "scripted", 100, (0,), value, 0.1)


def differences(name, values):
    gaps = {other: values[name] - value for other, value in values.items() if other != name}
    return {other: {"fid": Difference(gap, (gap - 0.1, gap + 0.1))} for other, gap in gaps.items()}


def costs(fp32, int8=None):
    return {"model.onnx": fp32, "model.int8.onnx": int8 or 2 * fp32}


START_COSTS = costs(10)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator.from_genotype("decoder", GENOTYPE, Z, IMAGE)


@pytest.fixture
def compress(tmp_path, generator):
    """Run the planner on milliseconds and FIDs by folder; the start takes 10 ms (int8: 20) at FID 20, as the reference.

    Returns what was kept, the task, and the folder.
    """
    (tmp_path / REFERENCE).mkdir()
    export_onnx(generator, tmp_path / REFERENCE / "model.onnx")

    def run(milliseconds, fids, recipe=None, *, start=START_COSTS, one=generator, budget="fid<=+10%", heard=None):
        bench = ScriptedBench(Target(), Z, seed=(0, 9), calibration_seed=(0, 7), script={START: start, **milliseconds})
        task = ScriptedTask({REFERENCE: 20.0, START: 20.0, **fids})
        made = Ledger(
            task,
            bench,
            [Budget.parse(budget)],
            reference=tmp_path / REFERENCE / "model.onnx",
            folder=tmp_path / "compressed",
            on_step=(heard if heard is not None else []).append,
        )
        return run_recipe(made, one, recipe or Recipe()), task, tmp_path / "compressed"

    return run


PRUNED, TENSOR, CHANNEL = "01-prune-25", "02-quantize-per-tensor", "03-quantize-per-channel"
SLOWER = {TENSOR: costs(0, 12), CHANNEL: costs(0, 12)}
SAME = {PRUNED: 20.0, TENSOR: 20.0, CHANNEL: 20.0}


def test_everything_that_helps_is_kept_in_order(compress):
    """10 ms -> 6 pruned -> 3 per tensor -> 2 per channel: each against what was kept before."""
    found, task, folder = compress({PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 2)}, SAME)
    assert [step.name for step in found.steps] == ["prune 25%", "quantize per tensor", "quantize per channel"]
    assert [step.kept for step in found.steps] == [True, True, True]
    assert [step.ratio.value for step in found.steps] == pytest.approx([6 / 10, 3 / 6, 2 / 3])
    assert [edit.kind for edit in found.generator.edits] == ["prune", "quantize"]
    assert found.generator.edits[1].settings["per_channel"] is True
    assert found.generator.edits[1].settings["calibration_seed"] == [0, 7]
    assert (found.file, found.precision) == (folder / CHANNEL / "model.int8.onnx", "int8")
    (variant,) = [one for one in found.variants if "fastest" in one.roles]
    assert (variant.file, variant.name) == (found.file, "quantize per channel")
    assert variant.ratio.value == pytest.approx(2 / 10)
    assert task.asked == [
        {"reference": REFERENCE, "before": START, "after": PRUNED},
        {"reference": REFERENCE, "before": PRUNED, "after": TENSOR, "floats": PRUNED},
        {"reference": REFERENCE, "before": TENSOR, "after": CHANNEL, "floats": PRUNED},
    ]


def test_per_channel_has_to_beat_per_tensor(compress):
    """Both are faster than fp32; the second is not faster than the first."""
    found, _, folder = compress({PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 3)}, SAME)
    assert [step.kept for step in found.steps] == [True, True, False]
    assert found.generator.edits[-1].settings["per_channel"] is False
    assert found.file == folder / TENSOR / "model.int8.onnx"


IN_PART = "04-quantize-in-part"


def test_where_all_is_too_bad_a_part_is_integer(compress, monkeypatch):
    """Three products: FID 30 with none or one of them in float, 21 with two."""
    script = ScriptedTask.evaluate

    def by_products(self, files):
        for path in (path for path in files.values() if path.parent.name == IN_PART):
            operators = optimised_operators(path)
            integer = sum(operators.get((kind, "uint8"), 0) for kind in ("QGemm", "QLinearConv"))
            self.script[IN_PART] = 21.0 if integer == 1 else 30.0
        return script(self, files)

    monkeypatch.setattr(ScriptedTask, "evaluate", by_products)
    milliseconds = {PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 4), IN_PART: costs(0, 5)}
    found, _, folder = compress(milliseconds, {PRUNED: 20.0, TENSOR: 30.0, CHANNEL: 30.0})
    assert [step.kept for step in found.steps] == [True, False, False, True]
    told = found.steps[-1].settings
    assert (told["nodes"], len(told["exclude"])) == (3, 2)
    assert told["evaluations"] <= 2 * math.log2(told["nodes"]) + 4
    assert found.file == folder / IN_PART / "model.int8.onnx"
    assert found.generator.edits[-1].settings["exclude"] == told["exclude"]


def test_where_every_part_is_too_bad_none_is_integer(compress):
    fids = {PRUNED: 20.0, TENSOR: 30.0, CHANNEL: 30.0, IN_PART: 30.0}
    found, _, folder = compress({PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 4)}, fids)
    assert found.steps[-1].reason == "refused: already the least harmful node in int8 is outside fid<=+10%"
    assert (found.precision, found.file) == ("fp32", folder / PRUNED / "model.onnx")


def test_a_faster_way_is_tried_in_part_though_a_slower_one_was_kept(compress, monkeypatch):
    """Per tensor 5 ms is kept, per channel 2 ms is outside: a part of the latter takes 3 ms and is inside."""
    seen = []

    def placed(floats, out, *, settings, inputs, is_inside, until):
        seen.append((floats.parent.name, settings.per_channel))
        return Placement(quantize(floats, out, inputs=inputs, settings=settings), 3, 2)

    monkeypatch.setattr(integers, "place", placed)
    fids = {PRUNED: 20.0, TENSOR: 20.0, CHANNEL: 30.0, IN_PART: 21.0}
    milliseconds = {PRUNED: costs(6), TENSOR: costs(0, 5), CHANNEL: costs(0, 2), IN_PART: costs(0, 3)}
    found, _, _ = compress(milliseconds, fids)
    assert [step.kept for step in found.steps] == [True, True, False, True]
    assert seen == [(PRUNED, True)]
    assert found.steps[-1].ratio.value == pytest.approx(3 / 5)
    assert [edit.kind for edit in found.generator.edits] == ["prune", "quantize"]


def test_a_part_that_cannot_be_written_is_a_refused_step(compress, monkeypatch):
    def refuse(*_, **__):
        raise CompressError("no such kernel")

    monkeypatch.setattr(integers, "place", refuse)
    found, _, _ = compress(
        {PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 4)}, {PRUNED: 20.0, TENSOR: 30.0, CHANNEL: 30.0}
    )
    assert (found.steps[-1].reason, found.precision) == ("refused: no such kernel", "fp32")


def test_a_part_is_not_tried_where_int8_is_slower(compress):
    found, _, _ = compress({PRUNED: costs(6), **SLOWER}, {**SAME, TENSOR: 30.0, CHANNEL: 30.0})
    assert [step.name for step in found.steps] == ["prune 25%", "quantize per tensor", "quantize per channel"]


MOST = Recipe(prune_ratios=(0.75,), quantize=False, adapt=True, multiple=2)


def test_how_much_can_go_is_looked_for_by_bisection(compress):
    """Of 32 channels 8 may stay, 4 not. They used 0.05 and 5.05 of the budget, so the next try, 6, is near the first;
    then 7 in multiples of 2 are 8."""
    folders = "01-prune-75", "02-prune-88", "03-prune-79"
    milliseconds = {name: costs(cost) for name, cost in zip(folders, (6, 3, 5), strict=True)}
    found, task, _ = compress(milliseconds, dict(zip(folders, (20.0, 30.0, 30.0), strict=True)), MOST)
    assert [(step.name, step.kept) for step in found.steps] == [
        ("prune 75%", True), ("prune 88%", False), ("prune 79%", False), ("prune 77%", False),
    ]  # fmt: skip
    assert found.steps[-1].reason == "refused: these widths were tried before"
    assert found.file.parent.name == "01-prune-75"
    assert [len(one.edits) for one, _ in task.recovered] == [1] * 3, "each share is cut out of what was given"
    assert found.steps[0].settings == {"ratio": 0.75, "multiple": 2, "timed": "fp32"}


def test_widths_that_were_tried_are_not_tried_again(compress):
    """Of 32 channels in multiples of 16 any share leaves 16."""
    found, _, _ = compress({"01-prune-75": costs(6)}, {"01-prune-75": 30.0}, replace(MOST, multiple=16))
    assert found.steps[1].reason == "refused: these widths were tried before"


def test_no_share_is_begun_when_the_time_is_up(compress):
    found, task, _ = compress({}, {}, replace(MOST, prune_minutes=-1))
    assert (found.steps[0].reason, task.asked) == ("refused: no time is left", [])


AGAIN = "02-prune-25-recovered-again"


@pytest.mark.parametrize("fid", [22.0, 22.05])
def test_what_misses_by_less_than_its_error_recovers_once_more(compress, fid):
    """FID 22 [21.9, 22.1] where 22 is allowed; then it is 21. 22.05 is too much, whatever its error."""
    recipe = Recipe(quantize=False)
    found, task, folder = compress({PRUNED: costs(6), AGAIN: costs(6)}, {PRUNED: fid, AGAIN: 21.0}, recipe)
    if fid > 22:
        assert [step.name for step in found.steps] == ["prune 25%"]
        return
    assert [(step.name, step.kept) for step in found.steps] == [
        ("prune 25%", False), ("prune 25%, recovered again", True),
    ]  # fmt: skip
    assert found.file == folder / AGAIN / "model.onnx"
    assert task.recovered[1][0].module is not task.recovered[0][0].module
    assert found.generator.edits[0].kind == "prune"
    assert len(found.generator.edits) == 1


def test_it_recovers_no_third_time(compress):
    found, _, folder = compress(
        {PRUNED: costs(6), AGAIN: costs(6)}, {PRUNED: 22.0, AGAIN: 22.0}, Recipe(quantize=False)
    )
    assert [step.kept for step in found.steps] == [False, False]
    assert found.file == folder / START / "model.onnx"


def test_what_was_not_trained_does_not_recover_again(compress, monkeypatch):
    """A task may have nothing to recover with."""
    monkeypatch.setattr(ScriptedTask, "recover", lambda self, generator, folder: generator)
    found, _, _ = compress({PRUNED: costs(6)}, {PRUNED: 22.0}, Recipe(quantize=False))
    assert [step.name for step in found.steps] == ["prune 25%"]


def test_what_is_not_faster_does_not_recover_again(compress):
    found, _, _ = compress({PRUNED: costs(11)}, {PRUNED: 22.0}, Recipe(quantize=False))
    assert [step.name for step in found.steps] == ["prune 25%"]


def test_what_the_runtime_likes_is_measured_where_no_multiple_is_given(compress, monkeypatch):
    seen = []

    def liked(generator, groups, share, inputs, bench, seconds):
        seen.append((share, bench.precisions))
        return 4

    monkeypatch.setattr(shares, "liked_multiple", liked)
    found, _, folder = compress({PRUNED: costs(6)}, {PRUNED: 20.0}, Recipe(quantize=False, multiple=None))
    assert found.steps[0].settings["multiple"] == 4
    assert seen == [(0.25, ("fp32",))]
    compress({PRUNED: costs(6)}, {PRUNED: 20.0}, Recipe(quantize=False, multiple=None))
    assert len(seen) == 1, "the same call finds it in the folder, and its recoveries, whatever the clock says now"
    for damaged in ("", "[1, 2]", '{"x": '):
        (folder / "multiples.json").write_text(damaged)
        compress({PRUNED: costs(6)}, {PRUNED: 20.0}, Recipe(quantize=False, multiple=None))
    assert len(seen) == 4, "what cannot be read is measured again"


def test_per_channel_is_tried_where_per_tensor_was_refused(compress):
    """For its quality: per tensor is outside the budget, per channel inside; per tensor in part is no better."""
    fids = {PRUNED: 20.0, TENSOR: 30.0, CHANNEL: 20.0, IN_PART: 30.0}
    found, task, _ = compress({PRUNED: costs(6), TENSOR: costs(0, 3), CHANNEL: costs(0, 4)}, fids)
    assert [step.kept for step in found.steps] == [True, False, True, False]
    assert task.asked[2]["before"] == PRUNED
    assert [edit.kind for edit in found.generator.edits] == ["prune", "quantize"]


def test_what_is_faster_but_outside_the_budget_is_refused(compress):
    """FID 23 against 20, and +10 % allowed: the cause names measurement and limit; the start ships."""
    found, _, folder = compress({PRUNED: costs(6), **SLOWER}, {**SAME, PRUNED: 23.0})
    assert [step.kept for step in found.steps] == [False, False, False]
    assert found.steps[0].reason == (
        "refused: fid 23 (+3 [+2.9, +3.1] against the reference) is outside fid<=+10% (limit 22)"
    )
    assert (found.file, found.precision) == (folder / START / "model.onnx", "fp32")
    assert found.generator.edits == ()


def test_a_slower_step_is_refused_with_its_cause(compress):
    found, _, _ = compress({PRUNED: costs(6), TENSOR: costs(0, 9), CHANNEL: costs(0, 12)}, SAME)
    assert [step.kept for step in found.steps] == [True, False, False]
    assert found.steps[1].reason == "refused: 1.50x slower [1.48, 1.52]"
    assert found.precision == "fp32"


def test_what_stays_in_float_is_named(compress):
    """Transposed convolutions have no int8 kernel, and the report says so."""
    torch.manual_seed(0)
    genotype = {
        **GENOTYPE, "start": 4, "width": 16, "width2": 8, "width3": 8, "early": "transposed", "last": "transposed",
        "blocks": 0, "blocks2": 0, "blocks3": 0,
    }  # fmt: skip
    dcgan = Generator.from_genotype("decoder", genotype, Z, IMAGE)
    folders = "01-quantize-per-tensor", "02-quantize-per-tensor-unfolded", "03-quantize-per-channel-unfolded"
    found, _, _ = compress(
        {name: costs(0, cost) for name, cost in zip(folders, (15, 4, 5), strict=True)},
        dict.fromkeys(folders, 20.0),
        Recipe(prune_ratios=()),
        one=dcgan,
    )
    assert found.steps[0].reason.endswith("3 ConvTranspose stay in fp32")
    assert found.steps[0].settings["operators"]["ConvTranspose"] == 3
    assert [step.kept for step in found.steps] == [False, True, False]
    assert found.generator.edits[-1].settings["unfold"] is True
    assert set(found.steps[1].settings["operators"]) >= {"QLinearConv"}


def test_better_quality_keeps_a_step_that_is_not_slower(compress):
    """FID 15 after 20, ratio 1.00 [0.99, 1.01]."""
    found, _, _ = compress({PRUNED: costs(10), **SLOWER}, {**SAME, PRUNED: 15.0})
    assert found.steps[0].reason.startswith("kept: fid -5 [-5.1, -4.9] against the step before")


@pytest.mark.parametrize("fid", [math.nan, math.inf])
def test_a_step_without_a_score_is_refused(compress, fid):
    found, _, _ = compress({PRUNED: costs(1), **SLOWER}, {**SAME, PRUNED: fid})
    assert not found.steps[0].kept


def test_losses_do_not_add_up_unseen(compress):
    """+1.5 and +1.5: each would pass against the step before, the second does not against the reference."""
    recipe = Recipe(prune_ratios=(0.25, 0.5), quantize=False)
    found, _, _ = compress({PRUNED: costs(6), "02-prune-50": costs(3)}, {PRUNED: 21.5, "02-prune-50": 23.0}, recipe)
    assert [step.kept for step in found.steps] == [True, False]


def test_the_faster_variants_of_both_sides_are_compared(compress):
    """int8 comes last and decides: fp32 goes from 10 to 9, but int8, which will ship, from 5 to 6."""
    found, _, _ = compress({PRUNED: costs(9, 6), **SLOWER}, SAME, start=costs(10, 5))
    assert not found.steps[0].kept
    assert found.steps[0].ratio.value == pytest.approx(6 / 5)
    assert found.steps[0].settings == {"ratio": 0.25, "multiple": 8, "timed": "int8"}


def test_without_quantization_no_int8_file_decides(compress):
    """The same, but int8 will not ship: 10 ms to 9 in float counts, and nothing else is written."""
    recipe = Recipe(quantize=False)
    found, _, folder = compress({PRUNED: costs(9, 12)}, SAME, recipe, start=costs(10, 5))
    assert found.steps[0].kept
    assert found.steps[0].ratio.value == pytest.approx(9 / 10)
    assert found.steps[0].settings == {"ratio": 0.25, "multiple": 8, "timed": "fp32"}
    assert not list(folder.rglob("*int8*"))


def test_every_share_begins_with_what_was_kept(compress, generator):
    """25 % of 32 leaves 24; then 50 % of those leaves 16 (halves up)."""
    recipe = Recipe(prune_ratios=(0.25, 0.5), quantize=False)
    found, task, _ = compress({PRUNED: costs(6), "02-prune-50": costs(3)}, {PRUNED: 20.0, "02-prune-50": 20.0}, recipe)
    assert [{group.size for group in one.module.channel_groups()} for one, _ in task.recovered] == [{24}, {16}]
    assert [edit.kind for edit in found.generator.edits] == ["prune", "prune"]
    assert {group.size for group in generator.module.channel_groups()} == {32}, "the one given stays as it is"


def test_what_is_kept_was_recovered(compress):
    found, task, _ = compress({PRUNED: costs(6), **SLOWER}, SAME)
    ((pruned, folder),) = task.recovered
    assert folder == PRUNED
    before, after = (next(one.module.parameters()) for one in (pruned, found.generator))
    torch.testing.assert_close(after, 1.01 * before)


@pytest.mark.parametrize("quantized", [True, False])
def test_what_is_kept_can_be_loaded_again(compress, tmp_path, quantized):
    """From what ``save`` wrote, and from the step's own folder; both draw what the exported file draws."""
    found, _, folder = compress({PRUNED: costs(6), **SLOWER, TENSOR: costs(0, 3 if quantized else 9)}, SAME)
    found.generator.save(tmp_path / "kept")
    assert found.precision == ("int8" if quantized else "fp32")
    latents = draw_inputs(Z, 32, 3)
    wanted = generate(folder / PRUNED / "model.onnx", latents)
    for place in (tmp_path / "kept", folder / PRUNED):
        again = Generator.load(place)
        export_onnx(again, tmp_path / "again.onnx")
        np.testing.assert_array_equal(generate(tmp_path / "again.onnx", latents), wanted)
        np.testing.assert_allclose(run_module(again.module, latents), wanted, atol=1e-5)
    assert Generator.load(tmp_path / "kept").id == found.generator.id
    assert np.abs(generate(found.file, latents) - wanted).mean() < 0.05


def test_steps_are_told_and_written_as_they_are_decided(compress):
    heard = []
    found, _, folder = compress({PRUNED: costs(6), **SLOWER}, SAME, heard=heard)
    assert heard == list(found.steps)
    for name, step in zip((PRUNED, TENSOR, CHANNEL), found.steps, strict=True):
        assert json.loads((folder / name / "record.json").read_text()) == step.to_json()


class Strange(nn.Module):
    """A stranger's generator: it says nothing of its channels, and a fixed size in forward() keeps them all."""

    def __init__(self, inputs):
        super().__init__()
        self.head, self.body = nn.Linear(16, 64), nn.Sequential(nn.ReLU(), nn.Linear(64, 1024), nn.Tanh())
        self.inputs = Z

    def forward(self, z):
        return self.body(self.head(z).reshape(-1, 64)).reshape(-1, 1, 32, 32)


def strange(inputs):
    return Strange(inputs)


def test_without_channel_groups_quantization_is_still_tried(compress, monkeypatch):
    """Pruning is refused with the reason and makes no folder."""
    module = types.ModuleType("strangers_module")
    monkeypatch.setattr(module, "strange", strange, raising=False)
    monkeypatch.setitem(sys.modules, "strangers_module", module)
    one = Generator.from_factory("strangers_module:strange", {}, Z, trust_code=True)
    tensor, channel = "01-quantize-per-tensor", "02-quantize-per-channel"
    found, task, folder = compress({tensor: costs(0, 5), channel: costs(0, 9)}, {tensor: 20.0, channel: 20.0}, one=one)
    assert found.steps[0].reason.startswith("refused: Strange declares no channel groups")
    assert found.steps[0].to_json()["ratio"] is None
    assert [step.kept for step in found.steps] == [False, True, False]
    assert task.recovered == []
    assert sorted(path.name for path in folder.iterdir()) == [START, tensor, channel]


def test_too_small_a_share_is_refused_and_says_why(compress):
    found, _, _ = compress({}, {}, Recipe(prune_ratios=(0.05,), quantize=False))
    assert found.steps[0].reason.startswith("refused: Removing 5% in multiples of 8 leaves every width as it is")


def test_what_cannot_be_quantized_is_a_refused_step(compress, monkeypatch):
    """The pruned generator that was kept before is not lost by it."""

    def refuse(*_, **__):
        raise CompressError("onnxruntime cannot quantize it: no such kernel")

    monkeypatch.setattr(integers, "quantize", refuse)
    found, _, folder = compress({PRUNED: costs(6)}, SAME)
    assert [step.kept for step in found.steps] == [True, False, False]
    assert found.steps[1].reason == "refused: onnxruntime cannot quantize it: no such kernel"
    assert found.steps[2].settings["per_channel"] is True
    assert json.loads((folder / TENSOR / "record.json").read_text())["kept"] is False
    assert found.file == folder / PRUNED / "model.onnx"


def test_a_recipe_of_nothing_ships_the_start(compress, generator):
    found, task, folder = compress({}, {}, Recipe(prune_ratios=(), quantize=False))
    assert (found.steps, found.file, task.asked) == ((), folder / START / "model.onnx", [])
    assert Generator.load(folder / START).id == generator.id


def test_with_a_real_clock(tmp_path, generator, monkeypatch):
    """Scores that never object, and files that are really timed: pruning half of the channels is faster."""
    monkeypatch.setattr(ledger, "STEP_S", 0.2)
    wide = Generator.from_genotype("decoder", {**GENOTYPE, "width": 128}, Z, IMAGE)
    export_onnx(wide, tmp_path / "model.onnx")
    task = ScriptedTask(dict.fromkeys((tmp_path.name, START, "01-prune-50", TENSOR, CHANNEL), 20.0))
    bench = Bench(Target(), Z, seed=(0, 9), calibration_seed=(0, 7))
    made = Ledger(task, bench, [Budget.parse("fid<=+2")], reference=tmp_path / "model.onnx", folder=tmp_path / "out")
    found = run_recipe(made, wide, Recipe((0.5,)))
    assert found.steps[0].kept, found.steps[0].reason
    assert found.steps[0].ratio.value < 0.8
    assert len(found.steps) == 3
    assert found.file.is_file()
