"""Samplers by name, the uniform first proposals, and a study that is told what became of each."""

from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from nas import proposals
from nas.proposals import Proposals, make_sampler, suggest_genotype
from search_spaces import get_space
from search_spaces.space import Choice


@pytest.fixture
def make(tmp_path):
    """Proposals over the study in ``tmp_path``, opened anew each time."""

    def do(sampler: str = "tpe", seed: int = 0) -> Proposals:
        return Proposals(tmp_path / "study.db", get_space("decoder"), sampler, seed)

    return do


def test_samplers_by_name():
    kinds = {"tpe": TPESampler, "nsga2": NSGAIISampler, "random": RandomSampler}
    for name, kind in kinds.items():
        assert isinstance(make_sampler(name, 0, 0), kind)


def test_random_samplers_of_two_trials_differ():
    def propose(trial: int) -> list[Any]:
        one = optuna.create_study(sampler=make_sampler("random", 0, trial)).ask()
        return [one.suggest_categorical(f"k{index}", tuple(range(9))) for index in range(8)]

    assert propose(0) == propose(0)
    assert propose(0) != propose(1)


def test_only_active_knobs_are_suggested():
    """``b`` holds under ``a = 1`` only."""
    knobs = {"a": Choice((0, 1)), "b": Choice((5, 6), when={"a": (1,)}), "c": Choice((7,))}
    for first, wanted in ((0, {"a": 0, "c": 7}), (1, {"a": 1, "b": 5, "c": 7})):
        assert suggest_genotype(knobs, lambda name, values, a=first: a if name == "a" else values[0]) == wanted


def test_a_proposal_is_a_valid_genotype_and_its_trial_says_which(make):
    one = make()
    proposal = one.ask()
    space = get_space("decoder")
    assert space.validate(proposal.genotype) == proposal.genotype
    assert (proposal.number, proposal.id) == (0, space.id(proposal.genotype))
    (trial,) = one.trials
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs == {"genotype": proposal.genotype, "candidate": proposal.id}


@pytest.mark.parametrize("uniform", [True, False])
def test_the_first_proposals_are_the_spaces_own_samples_and_then_the_sampler_is_asked(make, monkeypatch, uniform):
    """A uniform draw is what the space itself samples; a sampler's own has no fixed parameters."""
    monkeypatch.setattr(proposals, "STARTUP", 2)
    one = make()
    for _ in range(2):
        one.ask()
    one.ask(uniform=uniform)
    fixed = ["fixed_params" in trial.system_attrs for trial in one.trials]
    assert fixed == [True, True, uniform]


def test_proposals_follow_from_seed_and_number(make, tmp_path):
    space = get_space("decoder")
    again = Proposals(tmp_path / "other.db", space, "tpe", 0)
    other = Proposals(tmp_path / "seed.db", space, "tpe", 1)
    first = [make().ask().genotype for _ in range(3)]  # the study opened anew before each
    assert first == [again.ask().genotype for _ in range(3)]
    assert first != [other.ask().genotype for _ in range(3)]


def test_telling_closes_the_trial(make):
    one = make()
    for _ in range(3):
        one.ask()
    one.tell(0, "complete", None, (20.0, 0.1), {"latency": -0.5, "quality": 0.7})
    one.tell(2, "failed", "boom")
    done, running, failed = one.trials
    assert (done.state, done.values, done.user_attrs["outcome"]) == (TrialState.COMPLETE, [20.0, 0.1], "complete")
    assert dict(done.constraints) == {"latency": -0.5, "quality": 0.7}
    assert running.state == TrialState.RUNNING
    assert (failed.state, failed.user_attrs["note"]) == (TrialState.FAIL, "boom")
    again = make()
    assert (len(again), again.count("complete"), again.count("failed"), again.count("dominated")) == (3, 1, 1, 0)
