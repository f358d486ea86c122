"""The search, driven by an executor whose results stand here: who goes on, what Optuna is told, what is resumed."""

import itertools
import math
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from benchmarks.files import read_json, write_json
from nas import study
from nas.progress import Silent
from nas.study import OUTCOMES, Candidate, Limits, Search, describe, make_sampler

LIMITS = Limits(Path("reference.onnx"), max_ratio=0.2, blank=500.0, teacher=4.0, allowed=10.0)
FAST, SLOW = 0.1, 0.5
RUNGS = (20, 60)


class KilledError(BaseException):
    """Stands for kill -9: nothing in between catches it."""


def timed(ratio: float) -> dict[str, Any]:
    return {"ratio": {"value": ratio, "ci95": [ratio * 0.99, ratio * 1.01], "precision": "fp32"}}


class Script:
    """Answers by candidate, in the order in which candidates first appear.

    Args:
        plans: For each: its ratio, then its score at each rung; an exception or dict stands for a whole result.
            After the last, every candidate is too slow.
        quality: Makes a score's JSON.
    """

    def __init__(self, plans: list[tuple[Any, ...]], quality: Callable[[float], dict[str, Any]]) -> None:
        self.plans, self.quality = plans, quality
        self.seen: dict[str, int] = {}

    def __call__(self, job: dict[str, Any]) -> Any:
        index = self.seen.setdefault(str(job["origin"]), len(self.seen))
        plan = self.plans[index] if index < len(self.plans) else (SLOW,)
        if job["kind"] == "measure":
            return timed(plan[0]) if isinstance(plan[0], float) else plan[0]
        entry = plan[1 + RUNGS.index(job["until"])]
        if not isinstance(entry, float):
            return entry
        return {"steps": job["until"], "quality": self.quality(entry), "complaint": None}


@pytest.fixture
def start(make_context, scripted, quality):
    """Return a function that makes a search in ``tmp_path``, over the same folder each time."""

    def make(plans=(), *, answer=None, workers=1, limits=LIMITS, clock=None, folder="run", **search: Any):
        search = {"trials": 3, "rungs": RUNGS, "sampler": "random", "final_distill": 240, **search}
        context = make_context(folder, search=search)
        executor = scripted(answer or Script(list(plans), quality), workers)
        one = Search(context, limits, executor, Silent(), **({"clock": clock} if clock else {}))
        return one, executor

    return make


def trials_of(search: Search) -> list[FrozenTrial]:
    return search._study.get_trials()


def by_outcome(search: Search) -> dict[str, FrozenTrial]:
    """The last trial of each outcome."""
    return {trial.user_attrs["outcome"]: trial for trial in trials_of(search)}


def counts(search: Search) -> dict[str, int]:
    return {outcome: search.count(outcome) for outcome in OUTCOMES if search.count(outcome)}


# outcomes


def test_every_outcome_with_what_optuna_is_told(start, monkeypatch):
    plans = [
        (FAST, 50.0, 20.0),  # complete
        (SLOW,),  # infeasible
        (0.15, 80.0),  # slower than the first and worse: dominated
        ({"error": "RuntimeError: boom"},),  # failed when measured
        (FAST, {"steps": 20, "quality": None, "complaint": "collapsed: all pictures are alike"}),  # failed in training
        (0.05, 90.0, 70.0),  # faster: complete
    ]
    search, executor = start(plans)
    repeated = [search._context.space.canonical(one) for one in genotypes(search, 6)]
    repeated.insert(1, repeated[0])  # a duplicate of the first
    suggested = iter(repeated)
    monkeypatch.setattr(study, "suggest_genotype", lambda knobs, suggest: next(suggested))
    search.run()

    assert counts(search) == {"complete": 2, "infeasible": 1, "dominated": 1, "failed": 2, "duplicate": 1}
    trials = trials_of(search)
    states = [(trial.user_attrs["outcome"], trial.state.name, trial.values) for trial in trials]
    assert states == [
        ("complete", "COMPLETE", [20.0, FAST]),
        ("duplicate", "COMPLETE", [20.0, FAST]),
        ("infeasible", "COMPLETE", [500.0, SLOW]),  # never trained: scores like the blank picture
        ("dominated", "COMPLETE", [80.0, 0.15]),
        ("failed", "FAIL", None),
        ("failed", "FAIL", None),
        ("complete", "COMPLETE", [70.0, 0.05]),
    ]
    assert trials[3].user_attrs["note"] == f"by {trials[0].user_attrs['candidate']}"
    assert trials[4].user_attrs["note"] == "RuntimeError: boom"
    assert trials[5].user_attrs["note"] == "collapsed: all pictures are alike"
    # Nothing was trained that was too slow, and nothing beyond the rung that stopped it.
    assert [job["kind"] for job in executor.jobs] == [
        "measure", "train", "train", "measure", "measure", "train", "measure", "measure", "train",
        "measure", "train", "train",
    ]  # fmt: skip


def genotypes(search: Search, n: int) -> list[dict[str, Any]]:
    return list(itertools.islice(search._context.space.genotypes(), n))


def test_the_latency_constraint_is_violated_by_the_infeasible_only(start):
    search, _ = start([(FAST, 50.0, 20.0), (SLOW,), (0.2, 40.0, 30.0)], trials=2)
    search.run()
    found = [constraints_of(trial)["latency"] for trial in trials_of(search)]
    assert found[0] < 0 < found[1]
    assert found[2] == pytest.approx(0)  # at the limit is inside


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    return dict(trial.constraints)


def test_without_a_limit_nothing_is_infeasible(start):
    limits = Limits(Path("reference.onnx"), math.inf, 500.0, 4.0, 10.0)
    search, _ = start([(3.0, 50.0, 20.0)], limits=limits, trials=1)
    search.run()
    assert counts(search) == {"complete": 1}
    assert "latency" not in constraints_of(trials_of(search)[0])


def test_a_trial_holds_its_genotype_as_json_and_optunas_parameters_are_a_projection_of_it(start):
    search, _ = start([(FAST, 50.0, 20.0)] * 3)
    search.run()
    space = search._context.space
    for trial in trials_of(search):
        genotype = trial.user_attrs["genotype"]
        assert space.validate(genotype) == genotype
        assert space.id(genotype) == trial.user_attrs["candidate"]
        assert {name: trial.params[name] for name in genotype} == genotype
        record = read_json(search._path(trial.user_attrs["candidate"]) / "record.json")
        assert (record["genotype"], record["trial"]) == (genotype, trial.number)


def test_a_worker_that_dies_fails_its_candidate_only(start):
    search, _ = start([(FAST, BrokenProcessPool("gone")), (FAST, 50.0, 20.0)], trials=1)
    search.run()
    assert counts(search) == {"failed": 1, "complete": 1}
    assert "worker process died" in by_outcome(search)["failed"].user_attrs["note"]


def test_one_that_failed_later_stops_nobody(start):
    """The first leads at rung one and then dies; the second, slower and worse, must still be finished."""
    search, _ = start([(FAST, 20.0, {"error": "out of memory"}), (0.15, 80.0, 60.0)], trials=2)
    search.run()
    assert counts(search) == {"failed": 1, "complete": 1}


def test_what_scores_like_the_blank_picture_has_not_started_and_has_no_rank(start):
    """The blank picture scores 500; below 450 counts as a start. At the first rung it may still go on."""
    search, _ = start([(FAST, 20.0, 15.0), (0.15, 460.0, 460.0), (0.15, 460.0, 440.0)], trials=3)
    search.run()
    assert counts(search) == {"complete": 2, "failed": 1}
    assert "not started" in by_outcome(search)["failed"].user_attrs["note"]


def test_a_genotype_that_cannot_be_built_fails_without_a_job(start, monkeypatch):
    search, _ = start([(FAST, 50.0, 20.0)], trials=1)
    build, calls = study.Generator.from_genotype, itertools.count()

    def first_fails(*arguments):
        if next(calls) == 0:
            raise ValueError("32 pixels cannot be reached")
        return build(*arguments)

    monkeypatch.setattr(study.Generator, "from_genotype", first_fails)
    search.run()
    assert counts(search) == {"failed": 1, "complete": 1}
    assert by_outcome(search)["failed"].user_attrs["note"] == "32 pixels cannot be reached"


def test_a_duplicate_of_one_still_on_its_way_teaches_the_sampler_nothing(start, monkeypatch):
    """Its values are not known yet: told as failed, never as the blank picture."""
    search, _ = start(trials=2)
    same = genotypes(search, 1)[0]
    candidate = Candidate(search._context.space.id(same), same, 99, ratio=timed(FAST)["ratio"])
    search.candidates[candidate.id] = candidate
    suggested = iter([same, *genotypes(search, 2)[1:]])
    monkeypatch.setattr(study, "suggest_genotype", lambda knobs, suggest: next(suggested))
    search._began = search._clock()
    assert search._propose() is not None
    trial = trials_of(search)[0]
    assert (trial.user_attrs["outcome"], trial.state) == ("duplicate", TrialState.FAIL)


# caps


def test_trials_count_candidates_that_were_trained(start):
    """Two too slow ones do not count; the third and fourth do."""
    search, _ = start([(SLOW,), (SLOW,), (FAST, 50.0, 20.0), (FAST, 40.0, 20.0)], trials=2)
    search.run()
    assert counts(search) == {"complete": 2, "infeasible": 2}


def test_two_workers_do_not_begin_more_candidates_than_trials(start):
    search, _ = start([(FAST, 50.0, 20.0)] * 9, workers=2, trials=3)
    search.run()
    assert counts(search) == {"complete": 3}


def test_proposals_end_at_twenty_times_the_trials(start):
    search, executor = start(trials=1)
    search.run()
    assert len(trials_of(search)) == 20
    assert all(job["kind"] == "measure" for job in executor.jobs)


def test_minutes_end_the_proposals(start):
    """Began at 0; asked at 20, 40 and 60 seconds: one minute is used up at the third."""
    search, _ = start(minutes=1, clock=itertools.count(0, 20).__next__)
    search.run()
    assert counts(search) == {"infeasible": 2}


def test_minutes_of_earlier_processes_count(start, tmp_path):
    write_json(tmp_path / "run" / "seconds.json", {"search": 59.0})
    search, _ = start(minutes=1, clock=itertools.count(0, 2).__next__)
    search.run()
    assert trials_of(search) == []


# resume


def killed_at(answer, job_number: int):
    """``answer``, until the process is killed under job ``job_number`` (from 0)."""
    calls = itertools.count()

    def answering(job):
        if next(calls) == job_number:
            raise KilledError
        return answer(job)

    return answering


@pytest.mark.parametrize("job_number", range(6))
def test_killed_at_any_job_the_search_ends_like_one_that_was_not(start, quality, job_number):
    """Six jobs: two candidates of three each. The answers are those of the candidate, whenever it is asked."""
    script = Script([(FAST, 50.0, 20.0), (0.05, 60.0, 30.0)], quality)
    search, before = start(answer=killed_at(script, job_number), trials=2)
    with pytest.raises(KilledError):
        search.run()
    resumed, after = start(answer=script, trials=2)
    resumed.run()
    assert counts(resumed) == {"complete": 2}
    assert [trial.state.name for trial in trials_of(resumed)] == ["COMPLETE"] * 2
    # The job it was killed under is done again, and no other.
    assert len(before.jobs) + len(after.jobs) == 6 + 1
    assert after.jobs[0] == before.jobs[-1]
    assert [one.rungs[-1]["quality"]["value"] for one in resumed.candidates.values()] == [20.0, 30.0]


@pytest.mark.parametrize("plan", [(FAST, 50.0, 20.0), (SLOW,), ({"error": "boom"},)])
def test_killed_between_the_last_record_and_optuna_the_trial_is_only_told(start, monkeypatch, plan):
    search, before = start([plan], trials=1)
    with monkeypatch.context() as patch:
        patch.setattr(Search, "_tell", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            search.run()
    assert trials_of(search)[0].state == TrialState.RUNNING
    outcome = next(iter(search.candidates.values())).outcome
    resumed, after = start([(FAST, 50.0, 20.0)], trials=1)
    resumed.run()
    first = trials_of(resumed)[0]
    assert first.user_attrs["outcome"] == outcome
    assert first.state == (TrialState.FAIL if outcome == "failed" else TrialState.COMPLETE)
    assert before.jobs[0] not in after.jobs


def test_killed_before_its_first_record_a_proposal_ends_as_failed(start, monkeypatch):
    search, _ = start(trials=1)
    with monkeypatch.context() as patch:
        patch.setattr(Search, "_write", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            search.run()
    resumed, _ = start([(FAST, 50.0, 20.0)], trials=1)
    resumed.run()
    assert counts(resumed) == {"failed": 1, "complete": 1}
    assert trials_of(resumed)[0].user_attrs["note"] == "the process ended before it began"


def test_killed_under_a_duplicate_the_first_is_not_evaluated_again(start, monkeypatch):
    search, before = start([(FAST, 50.0, 20.0)], trials=2)
    same = genotypes(search, 1)[0]
    tell = Search._tell
    with monkeypatch.context() as patch:
        patch.setattr(study, "suggest_genotype", lambda knobs, suggest: dict(same))

        def killed_at_duplicates(self, number, candidate, outcome, note=None):
            if outcome == "duplicate":
                raise KilledError
            tell(self, number, candidate, outcome, note)

        patch.setattr(Search, "_tell", killed_at_duplicates)
        with pytest.raises(KilledError):
            search.run()
    assert len(before.jobs) == 3
    resumed, after = start([(0.05, 60.0, 30.0)], trials=2)
    resumed.run()
    assert counts(resumed) == {"complete": 2, "duplicate": 1}
    assert len(after.jobs) == 3
    assert len(resumed.candidates) == 2


def test_a_finished_search_does_nothing_more(start):
    search, _ = start([(FAST, 50.0, 20.0)] * 3)
    search.run()
    again, executor = start([(FAST, 50.0, 20.0)] * 3)
    again.run()
    assert executor.jobs == []
    assert counts(again) == {"complete": 3}


def test_a_renamed_experiment_goes_on_in_the_same_study(start, make_context):
    search, _ = start([(FAST, 50.0, 20.0)] * 3)
    search.run()
    other = make_context(name="renamed", search=search._config.model_dump())
    assert len(Search(other, LIMITS, search._executor, Silent())._study.trials) == 3


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_resumed_sampler_does_not_repeat_its_proposals(start, monkeypatch, sampler):
    """Without the start-up proposals, so that it is the sampler that proposes."""
    monkeypatch.setattr(study, "STARTUP", 0)
    for trials in (1, 2, 3, 4):
        search, _ = start([(FAST, 50.0, 20.0)] * 4, trials=trials, sampler=sampler)
        search.run()
    assert len({str(trial.user_attrs["genotype"]) for trial in trials_of(search)}) >= 4


def test_proposals_follow_from_seed_and_number_not_from_the_process(start):
    """Six at once, or three and then three in another process: the same six."""
    whole, _ = start([(FAST, 50.0, 20.0)] * 6, trials=6, folder="whole")
    whole.run()
    for trials in (3, 6):
        parts, _ = start([(FAST, 50.0, 20.0)] * 6, trials=trials, folder="parts")
        parts.run()
    proposed = [[trial.user_attrs["genotype"] for trial in trials_of(one)] for one in (whole, parts)]
    assert len(proposed[0]) == 6
    assert proposed[0] == proposed[1]


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


def test_describe():
    candidate = Candidate("0123456789ab", {}, 0, "infeasible", ratio=timed(0.5)["ratio"])
    assert describe(candidate) == "012345 infeasible 2.0x"
    assert describe(Candidate("0123456789ab", {}, 0, "failed")) == "012345 failed"


def test_the_study_is_one_that_the_dashboard_can_name(start):
    search, _ = start([(FAST, 50.0, 20.0)], trials=1)
    search.run()
    assert search._study.metric_names == ["fid", "latency ratio"]
