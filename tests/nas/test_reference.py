"""The reference: when its curve is flat, and that a killed training goes on as if it had not been."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.files import read_json, write_json
from nas import reference as module
from nas.context import Context
from nas.experiment import Experiment
from nas.families.base import Phase, Pictures, Teacher
from nas.families.gan import Gan, Options
from nas.folder import FolderError, RunFolder
from nas.progress import Silent
from nas.reference import OBSERVER_FILE, check_teacher, judge_plateau, train_reference
from search_spaces.space import ImageShape


def point(step: int, value: float, error: float = 0.1) -> dict[str, Any]:
    return {"step": step, "value": value, "standard_error": error, "complaint": None}


# plateau


def test_flat_is_a_last_quarter_that_gains_less_than_five_percent():
    """From 75 % on: 10.4 to 10.0 is 4 % of 10.0, and 10.6 to 10.0 is 6 %."""
    start = [point(25, 50), point(50, 20)]
    assert judge_plateau([*start, point(75, 10.4), point(100, 10.0)]) == {
        "plateau": True,
        "gain_last_quarter": pytest.approx(0.4),
    }
    assert judge_plateau([*start, point(75, 10.6), point(100, 10.0)])["plateau"] is False


def test_flat_is_also_a_gain_below_twice_the_error_of_the_difference():
    """Errors 3 and 4 make 5: a gain of 9.9 is within twice that, 10.1 is not."""
    assert judge_plateau([point(75, 19.9, 3), point(100, 10, 4)])["plateau"] is True
    assert judge_plateau([point(75, 20.1, 3), point(100, 10, 4)])["plateau"] is False


def test_the_quarter_is_counted_back_from_the_last_point():
    """Of 8 points the sixth lies at 75 %; what happened before does not count."""
    curve = [point(300 * n, value) for n, value in enumerate((90, 40, 30, 20, 15, 10.1, 10.0, 10.0), start=1)]
    assert judge_plateau(curve)["gain_last_quarter"] == pytest.approx(0.1)


def test_one_that_gets_worse_gains_nothing_and_one_point_alone_is_no_plateau():
    assert judge_plateau([point(75, 10), point(100, 12)]) == {"plateau": True, "gain_last_quarter": -2}
    assert judge_plateau([point(100, 5)]) == {"plateau": False, "gain_last_quarter": None}


# the curve over resumes


class FakeTrainer:
    """Counts steps; a step beyond ``dies_at`` is never finished."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.step, self.dies_at = 0, dies_at

    def run(self, until: int, on_step: Any) -> None:
        while self.step < until:
            if self.step == self.dies_at:
                raise KeyboardInterrupt
            self.step += 1
            on_step(self.step)

    def save(self, path: Path) -> None:
        write_json(path, self.step)

    def load(self, path: Path) -> None:
        self.step = read_json(path)


@pytest.fixture
def context(make_context, monkeypatch):
    """40 steps, scored at 10, 20, 30 and 40 (the score is the step), and 5 of the observer."""
    context = make_context(reference={"steps": 40, "observer": 5, "evaluations": 4})
    (context.folder.path / "reference").mkdir()
    monkeypatch.setattr(module, "_score", lambda context, trainer, step: point(step, 100 - step))
    return context


def curve_of(context, trainer: FakeTrainer) -> list[int]:
    return [one["step"] for one in module._train(context, trainer, Silent())]


@pytest.mark.parametrize("dies_at", [0, 5, 10, 15, 30, 35, 42])
def test_killed_at_any_step_the_curve_has_every_point_once(context, dies_at):
    with pytest.raises(KeyboardInterrupt):
        curve_of(context, FakeTrainer(dies_at))
    resumed = FakeTrainer()
    assert curve_of(context, resumed) == [10, 20, 30, 40]
    assert resumed.step == 45


@pytest.mark.parametrize("at", [10, 30, 40])
def test_killed_while_a_point_is_scored_it_is_scored_again(context, monkeypatch, at):
    """The checkpoint may already stand at the point's own step."""
    score = module._score

    def dies(context, trainer, step):
        trainer.save(context.folder.path / "reference" / "checkpoint.safetensors")
        if step == at:
            raise KeyboardInterrupt
        return score(context, trainer, step)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_score", dies)
        with pytest.raises(KeyboardInterrupt):
            curve_of(context, FakeTrainer())
    assert curve_of(context, FakeTrainer()) == [10, 20, 30, 40]


def test_a_curve_that_was_lost_still_ends_with_the_last_point(context):
    curve_of(context, FakeTrainer())
    (context.folder.path / "reference" / "curve.json").unlink()
    assert curve_of(context, FakeTrainer()) == [40]


# the training itself


def images() -> torch.Tensor:
    return torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def make_trainer(make_context, schedule: tuple[Phase, ...], teacher: Teacher | None = None):
    stock = make_context(reference={"width": 8}).experiment.reference
    options = Options(latent=8, batch_size=8, discriminator_width=8, finetune_warm_up=2)
    family = Gan(options, stock, ImageShape(1, 16, 16))
    module = family.reference(seed=3).module
    return family, family.trainer(
        module,
        schedule,
        data=Pictures(images(), torch.zeros(len(images()), dtype=torch.int64)),
        teacher=teacher,
        seed=3,
    )


def weights(trainer) -> dict[str, torch.Tensor]:
    return {**{f"s.{k}": v for k, v in trainer.student.state_dict().items()}, **trainer.average.state_dict()}


def assert_equal(a, b) -> None:
    assert a.step == b.step
    found, wanted = weights(a), weights(b)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_two_halves_with_a_checkpoint_between_are_the_whole(make_context, tmp_path):
    """Adversarial training: the same weights to the bit, resumed twice or not at all."""
    schedule = (Phase("adversarial", 12),)
    _, straight = make_trainer(make_context, schedule)
    straight.run(12)
    for begin, end in ((0, 4), (4, 7), (7, 12)):
        _, part = make_trainer(make_context, schedule)
        if begin:
            part.load(tmp_path / "checkpoint.safetensors")
        assert part.step == begin
        part.run(end)
        part.save(tmp_path / "checkpoint.safetensors")
    assert_equal(part, straight)


def test_a_student_resumed_in_any_phase_is_the_one_that_was_not(make_context, tmp_path):
    """Distilled for 6 steps, fine-tuned for 6, of which the first two only warm the discriminator up."""
    from nas.bank import Bank

    family, reference = make_trainer(make_context, (Phase("adversarial", 2),))
    reference.run(2)
    reference.keep(tmp_path)
    from benchmarks.inputs import draw_inputs

    inputs = draw_inputs(family.inputs, 32, (3, 14))
    bank = Bank(inputs, images()[:32].numpy().astype("f2"))
    teacher, schedule = Teacher(bank, tmp_path), (Phase("distill", 6), Phase("finetune", 6))
    _, straight = make_trainer(make_context, schedule, teacher)
    straight.run(12)
    _, part = make_trainer(make_context, schedule, teacher)
    for end in (3, 6, 7, 10, 12):
        part.run(end)
        part.save(tmp_path / "checkpoint.safetensors")
        _, part = make_trainer(make_context, schedule, teacher)
        part.load(tmp_path / "checkpoint.safetensors")
    assert_equal(part, straight)


# the real one


def test_the_checkpoint_outlives_everything_but_the_record(context, monkeypatch):
    """Killed between the last step and the record, no step is trained again."""
    checkpoint = context.folder.path / "reference" / "checkpoint.safetensors"
    checkpoint.write_bytes(b"")

    def finish(stage, record):
        assert checkpoint.is_file()
        return record

    monkeypatch.setattr(type(context.folder), "finish", lambda self, stage, record: finish(stage, record))
    monkeypatch.setattr(module, "_train", lambda *_: [point(30, 5), point(40, 5)])
    monkeypatch.setattr(module, "_measure_files", lambda *_: {"files": {"fp32": "x"}})
    monkeypatch.setattr(module, "_write_bank", lambda *_: None)
    monkeypatch.setattr(module, "_seen_score", lambda *_: {})
    record = train_reference(_with_images(context), Silent())
    assert record["plateau"] is True
    assert not checkpoint.exists()


def _with_images(context):
    context.__dict__["data"] = Pictures(images(), torch.zeros(len(images()), dtype=torch.int64))
    return context


def test_what_the_reference_leaves(tiny_run):
    folder = tiny_run.folder / "reference"
    record = read_json(folder / "record.json")
    assert [one["step"] for one in record["curve"]] == [20, 40, 60]
    assert (record["quality_seen"]["n"], record["quality_seen"]["seeds"]) == (400, [0, 3])
    assert set(record["files"]) == {"fp32", "int8"}
    assert record["fastest"] in record["files"]
    names = {"weights.safetensors", "discriminator.safetensors", "bank.npy", "model.onnx", "model.int8.onnx"}
    assert names <= {path.name for path in folder.iterdir()}
    assert not (folder / "checkpoint.safetensors").exists()


# what students learn from


def test_a_reference_without_an_observer_is_refused_before_anything_learns_from_it(tiny_run, tmp_path):
    """Earlier versions trained none; with final_match 0 none is needed."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    (tmp_path / "run" / "reference" / OBSERVER_FILE).unlink()
    with pytest.raises(FolderError, match=r"has no observer.safetensors.*search.final_match to 0, or delete"):
        check_teacher(Context.of_folder(tmp_path / "run"))
    check_teacher(Context.of_folder(tiny_run.folder))
    experiment = Experiment.load(tmp_path / "run" / "experiment.yaml", ["search.final_match=0"])
    check_teacher(Context.build(experiment, RunFolder(tmp_path / "run")))
