"""Recovery that is cut short goes on: to the same weights, and without doing anything twice."""

import json

import pytest
import torch
from torch import nn

from compress import recovery
from compress.checkpoint import CheckpointError
from compress.errors import CompressError
from compress.recovery import recover
from tests.compress.conftest import Z, make_generator

STEPS = 6


class Teacher(nn.Module):
    """Draws what its module draws, counts the calls, and fails at one of them."""

    def __init__(self, module, fails_at=None):
        super().__init__()
        self.module, self.fails_at, self.calls = module, fails_at, 0

    def forward(self, z):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        return self.module(z=z)


@pytest.fixture
def learn(tmp_path, monkeypatch):
    """Recover the same student in ``tmp_path``; checkpoints after every step, six steps however fast they are."""
    monkeypatch.setattr(recovery, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(recovery, "_MAX_STEPS", STEPS)
    source = make_generator().module

    def run(keep="keep", fails_at=None, seed=1):
        student = make_generator(width=24)
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in student.module.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
        teacher = Teacher(source, fails_at)
        folder = tmp_path / keep if keep else None
        options = {"inputs": Z, "seconds": 1e6, "batch": 4, "seed": (0,)}
        return recover(student, teacher, keep=folder, **options), teacher.calls

    return run


def weights(generator):
    return generator.module.state_dict()


TRIAL = 4  # steps that are timed beforehand, on a copy


def test_it_goes_on_where_it_was_cut(learn):
    """Cut at the fourth step and gone on with: the weights of one that was not, to the last bit; two steps fewer."""
    whole, calls = learn("whole")
    assert calls == TRIAL + STEPS
    with pytest.raises(KeyboardInterrupt):
        learn(fails_at=TRIAL + 4)
    again, calls = learn()
    assert calls == STEPS - 3
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


def test_what_is_finished_is_not_done_again(learn):
    first, _ = learn()
    again, calls = learn()
    assert calls == 0
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


def test_another_start_is_another_recovery(learn):
    """The same architecture with other weights has a checkpoint of its own."""
    learn()
    assert learn(seed=2)[1] == TRIAL + STEPS


def test_the_number_of_steps_is_kept(learn, tmp_path):
    """The learning rate falls over it: a slower machine that goes on keeps to it."""
    learn()
    (plan,) = (tmp_path / "keep").glob("*.json")
    assert json.loads(plan.read_text())["steps"] == STEPS


def test_without_a_folder_nothing_is_kept(learn, tmp_path):
    assert learn(keep=None)[1] == TRIAL + STEPS
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named(learn, tmp_path):
    learn()
    (file,) = (tmp_path / "keep").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=file.name):
        learn()


@pytest.mark.parametrize("plan", ["[]", "{}", '{"steps": 1000000000}', '{"steps": "6"}'])
def test_a_plan_that_is_none_is_named(learn, tmp_path, plan):
    learn()
    (file,) = (tmp_path / "keep").glob("*.json")
    file.write_text(plan)
    with pytest.raises(CompressError, match=file.name):
        learn()


def test_a_loss_that_is_not_finite_ends_it(learn, monkeypatch):
    monkeypatch.setattr(recovery, "draw_inputs", lambda *_: {"z": torch.full((4, 16), float("nan")).numpy()})
    with pytest.raises(CompressError, match="diverged at step 0"):
        learn(keep=None)
