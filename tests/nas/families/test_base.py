"""Schedules: which phase a step lies in."""

import pytest

from nas.errors import NasError
from nas.families.base import Phase, TrainingError, locate, total_steps

SCHEDULE = (Phase("distill", 3), Phase("finetune", 2))


@pytest.mark.parametrize(
    ("step", "kind", "index"),
    [(0, "distill", 0), (2, "distill", 2), (3, "finetune", 0), (4, "finetune", 1)],
)
def test_locate(step, kind, index):
    phase, found = locate(SCHEDULE, step)
    assert (phase.kind, found) == (kind, index)


def test_a_phase_without_steps_is_passed_over():
    assert locate((Phase("distill", 0), Phase("finetune", 1)), 0) == (Phase("finetune", 1), 0)


@pytest.mark.parametrize("schedule", [SCHEDULE, ()])
def test_there_is_nothing_beyond_the_end(schedule):
    with pytest.raises(ValueError, match=f"step {total_steps(schedule)} lies beyond"):
        locate(schedule, total_steps(schedule))


def test_total_steps():
    assert total_steps(SCHEDULE) == 5
    assert total_steps(()) == 0


def test_a_diverged_training_is_an_error_of_this_room():
    assert issubclass(TrainingError, NasError)
