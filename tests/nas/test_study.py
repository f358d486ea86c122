"""The search, driven by an executor whose results stand here: who goes on, what Optuna is told, what is resumed."""

import itertools
import math
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from benchmarks.files import read_json, write_json
from nas import proposals, study
from nas.candidate import NOT_TRAINED, OUTCOMES, Candidate
from nas.limits import Limits
from nas.progress import Silent
from nas.study import Search

LIMITS = Limits(Path("reference.onnx"), max_ratio=0.2, blank=500.0, teacher=4.0, allowed=10.0)
FAST, SLOW = 0.1, 0.5
RUNGS = (20, 60)


class KilledError(BaseException):
    """Stands for kill -9: nothing in between catches it."""


def timed(ratio: float, macs: int = 1_000_000) -> dict[str, Any]:
    return {"ratio": {"value": ratio, "ci95": [ratio * 0.99, ratio * 1.01], "precision": "fp32"}, "macs": macs}


class Script:
    """Answers by candidate, in the order in which candidates first appear.

    Args:
        plans: For each: its ratio (or ``timed(ratio, macs)``), then its score at each rung; an exception or dict stands
            for a whole result. After the last, every candidate is too slow.
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
        found = None if math.isnan(entry) else entry  # as JSON has it
        return {"steps": job["until"], "quality": self.quality(found), "complaint": None}


@pytest.fixture
def start(make_context, scripted, quality, monkeypatch):
    """Return a function that makes a search in ``tmp_path``, over the same folder each time.

    ``first`` proposals are measured before any is trained; without them one candidate after the other is taken up.
    """

    def make(
        plans=(),
        *,
        answer=None,
        workers=1,
        limits=LIMITS,
        clock=None,
        folder="run",
        first=0,
        progress=None,
        **search: Any,
    ):
        monkeypatch.setattr(proposals, "STARTUP", first)
        search = {
            "trials": 3,
            "rungs": RUNGS,
            "sampler": "random",
            "final_distill": 240,
            "final_features": 0,
            "final_match": 0,
            **search,
        }
        context = make_context(folder, search=search)
        executor = scripted(answer or Script(list(plans), quality), workers)
        one = Search(context, limits, executor, progress or Silent(), **({"clock": clock} if clock else {}))
        return one, executor

    return make


def trials_of(search: Search) -> list[FrozenTrial]:
    return search._proposals.study.get_trials()


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
    monkeypatch.setattr(proposals, "suggest_genotype", lambda knobs, suggest: next(suggested))
    search.run()

    assert counts(search) == {"complete": 2, "infeasible": 1, "dominated": 1, "failed": 2, "duplicate": 1}
    trials = trials_of(search)
    states = [(trial.user_attrs["outcome"], trial.state.name, trial.values) for trial in trials]
    assert states == [
        ("complete", "COMPLETE", [20.0, FAST]),
        ("duplicate", "FAIL", None),
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


@pytest.mark.parametrize("outcome", [None, "complete"])
def test_a_duplicate_teaches_the_sampler_nothing(start, monkeypatch, outcome):
    """Told the same again, a sampler proposes it again and again; and of one on its way no value is known yet."""
    search, _ = start(trials=2)
    same = genotypes(search, 1)[0]
    candidate = Candidate(search._context.space.id(same), same, 99, outcome, ratio=timed(FAST)["ratio"])
    search.candidates[candidate.id] = candidate
    suggested = iter([same, *genotypes(search, 2)[1:]])
    monkeypatch.setattr(proposals, "suggest_genotype", lambda knobs, suggest: next(suggested))
    search._began = search._clock()
    assert search._propose() is not None
    trial = trials_of(search)[0]
    assert (trial.user_attrs["outcome"], trial.state) == ("duplicate", TrialState.FAIL)


@pytest.mark.parametrize("rung", [1, 2])
def test_a_score_that_is_not_a_number_is_a_candidate_that_diverged(start, rung):
    """A score of NaN stands as null in records; it is told to nobody as a value, and stops nobody."""
    scores = (50.0, math.nan) if rung == 2 else (math.nan,)
    search, _ = start([(FAST, *scores), (0.15, 460.0, 440.0)], trials=2)
    search.run()
    assert counts(search) == {"complete": 1, "failed": 1}
    failed = by_outcome(search)["failed"]
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["note"] == f"diverged: its score after {RUNGS[rung - 1]} steps is not a number"


# the first proposals


class Heard(Silent):
    """Keeps what was told of the search."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, str]] = []

    def update(self, task: str, done: float, note: str = "") -> None:
        self.notes.append((done, note))


def trained_order(executor) -> list[str]:
    """Ids in the order in which their training began."""
    return list(dict.fromkeys(Path(job["out"]).name for job in executor.jobs if job["kind"] == "train"))


def ids_by_proposal(search: Search) -> list[str]:
    return [trial.user_attrs["candidate"] for trial in trials_of(search)]


ORDERED = [
    (timed(0.10, 100), 50.0, 20.0),  # 1,000 MACs per time: third
    (SLOW,),
    (timed(0.05, 90), 90.0, 70.0),  # 1,800: first
    (timed(0.12, 122), 45.0, 18.0),  # 1,017: second
]


def test_the_first_proposals_are_measured_before_any_is_trained_and_then_the_most_macs_per_time_first(start):
    search, executor = start(ORDERED, first=4, trials=3)
    search.run()
    kinds = [job["kind"] for job in executor.jobs]
    assert kinds == ["measure"] * 4 + ["train"] * 6
    assert counts(search) == {"complete": 3, "infeasible": 1}
    ids = ids_by_proposal(search)
    assert trained_order(executor) == [ids[2], ids[3], ids[0]]


def test_after_the_first_proposals_each_is_trained_as_soon_as_it_is_measured(start):
    plans = [(FAST, 50.0, 20.0), (SLOW,), (0.09, 50.0, 20.0), (0.08, 50.0, 20.0)]
    search, executor = start(plans, first=2, trials=3)
    search.run()
    kinds = [job["kind"] for job in executor.jobs]
    assert kinds == ["measure"] * 2 + ["train"] * 2 + ["measure", "train", "train"] * 2


def test_of_two_workers_none_waits_while_there_is_something_to_measure_or_to_train(start):
    search, executor = start(ORDERED, first=4, trials=3, workers=2)
    search.run()
    assert counts(search) == {"complete": 3, "infeasible": 1}
    assert [job["kind"] for job in executor.jobs[:4]] == ["measure"] * 4


def test_what_another_outcomputes_ends_as_dominated_and_is_not_trained(start):
    """125 MACs in no more time against 100: as much as 1.25 times. Against 101 it is less."""
    plans = [
        (timed(0.10, 100),),
        (timed(0.10, 125), 50.0, 20.0),
        (timed(0.11, 101), 50.0, 19.0),
        (timed(0.09, 80), 60.0, 30.0),  # the only one that is faster
    ]
    search, executor = start(plans, first=4, trials=3)
    search.run()
    assert counts(search) == {"complete": 3, "dominated": 1}
    ids, trials = ids_by_proposal(search), trials_of(search)
    assert ids[0] not in trained_order(executor)
    record = read_json(search._path(ids[0]) / "record.json")
    assert (record["outcome"], record["rungs"], record["dominated_by"]) == ("dominated", [], ids[1])
    assert trials[0].user_attrs["note"] == f"by {ids[1]}"
    assert (trials[0].state.name, trials[0].values) == ("COMPLETE", [500.0, 0.10])
    # It scores like the blank picture: 496 worse than the reference, where 6 are allowed.
    assert constraints_of(trials[0])["quality"] == pytest.approx(math.log(496 / 6))
    assert constraints_of(trials[0])["latency"] < 0


def test_one_that_failed_or_is_too_slow_outcomputes_nobody(start):
    plans = [(timed(0.10, 200), {"error": "boom"}), (timed(SLOW, 900),), (timed(0.11, 100), 50.0, 20.0)]
    search, _ = start(plans, trials=1)
    search.run()
    assert counts(search) == {"complete": 1, "infeasible": 1, "failed": 1}


def test_one_measured_later_may_end_one_that_waits(start):
    """With the second in training, a third is measured that outcomputes the first, which still waits for its turn."""
    plans = [(timed(0.10, 100),), (timed(0.05, 90), 50.0, 20.0), (timed(0.10, 125), 40.0, 18.0)]
    search, _ = start(plans, first=2, trials=2)
    search._began, search._waiting = search._clock(), []
    for _ in range(2):
        search._advance(search._next())
        search._collect()
    first, second = ids_by_proposal(search)
    third = Candidate("third", {}, 2, ratio=timed(0.10)["ratio"], macs=125)
    assert search._next().id == second
    search.candidates["third"] = third
    search.candidates[second].outcome = "complete"
    assert search._next() is third
    assert search.candidates[first].outcome == "dominated"


@pytest.mark.parametrize("limit", ["trials", "minutes"])
def test_what_waits_when_the_effort_is_used_up_has_failed_and_says_so(start, limit):
    """The clock is asked at the beginning, twice before each proposal and once before each training: here one."""
    settings = {"trials": 1} if limit == "trials" else {"trials": 3, "minutes": 1}
    clock = itertools.chain(itertools.repeat(0.0, 10), itertools.repeat(61.0)).__next__
    search, executor = start(ORDERED, first=4, **settings, **({"clock": clock} if limit == "minutes" else {}))
    search.run()
    assert len(trained_order(executor)) == 1
    waited = [one for one in search.candidates.values() if one.ratio["value"] < 0.2 and not one.rungs]
    assert counts(search)["failed"] == len(waited) == 3 - len(trained_order(executor))
    for one in waited:
        trial = trials_of(search)[one.trial]
        assert (one.outcome, one.error, trial.user_attrs["note"]) == ("failed", NOT_TRAINED, NOT_TRAINED)
        assert trial.state == TrialState.FAIL
    assert NOT_TRAINED == "not trained: search.minutes or search.trials were used up before its turn"


def test_a_resumed_search_trains_what_was_measured_without_measuring_it_again(start, quality):
    script = Script(ORDERED, quality)
    search, before = start(answer=killed_at(script, 5), first=4, trials=3)
    with pytest.raises(KilledError):
        search.run()  # under the second training: its candidate, and a third, were measured and have no rung
    assert [job["kind"] for job in before.jobs] == ["measure"] * 4 + ["train"] * 2
    resumed, after = start(answer=script, first=4, trials=3)
    resumed.run()
    assert [job["kind"] for job in after.jobs] == ["train"] * 5
    assert after.jobs[0] == before.jobs[-1]
    assert counts(resumed) == {"complete": 3, "infeasible": 1}


def test_one_whose_first_rung_was_cut_goes_on_even_if_the_minutes_are_used_up(start, quality, tmp_path):
    """What its checkpoint holds is not thrown away; what only waited for its turn is."""
    script = Script(ORDERED, quality)
    search, before = start(answer=killed_at(script, 4), first=4, trials=3)
    with pytest.raises(KilledError):
        search.run()
    (cut,) = trained_order(before)
    search._path(cut).joinpath("checkpoint-0123.safetensors").write_bytes(b"")
    write_json(tmp_path / "run" / "seconds.json", {"search": 3600.0})
    resumed, after = start(answer=script, first=4, trials=3)
    resumed.run()
    assert trained_order(after) == [cut]
    assert counts(resumed) == {"complete": 1, "infeasible": 1, "failed": 2}


def test_a_small_search_measures_four_proposals_a_trial_before_it_trains(start):
    search, executor = start([(FAST, 50.0, 20.0)] * 9, first=80, trials=1)
    search.run()
    assert [job["kind"] for job in executor.jobs] == ["measure"] * 4 + ["train"] * 2


def test_the_first_proposals_leave_two_thirds_of_the_minutes_to_training(start, quality):
    """Five seconds a job: of the minute's 20 first seconds four are measured, and all of them are then trained."""
    script, now = Script([(FAST, 50.0, 20.0)] * 9, quality), [0.0]

    def slowly(job):
        now[0] += 5.0
        return script(job)

    search, executor = start(answer=slowly, first=80, trials=9, minutes=1, clock=lambda: now[0])
    search.run()
    assert [job["kind"] for job in executor.jobs] == ["measure"] * 4 + ["train"] * 8
    assert counts(search) == {"complete": 4}


def test_where_the_first_third_finds_none_that_is_fast_enough_the_search_goes_on_measuring(start, quality):
    script, now = Script([(SLOW,)] * 6 + [(FAST, 50.0, 20.0)], quality), [0.0]

    def slowly(job):
        now[0] += 5.0
        return script(job)

    search, executor = start(answer=slowly, first=80, trials=9, minutes=1, clock=lambda: now[0])
    search.run()
    assert [job["kind"] for job in executor.jobs][:9] == ["measure"] * 7 + ["train"] * 2


def test_progress_tells_of_the_first_measurements_while_nothing_is_trained(start):
    heard = Heard()
    search, _ = start(ORDERED, first=4, trials=3, progress=heard)
    search.run()
    assert heard.notes[:4] == [
        (0, "measured 1 of 4 proposals, 1 fast enough"),
        (0, "measured 2 of 4 proposals, 1 fast enough"),
        (0, "measured 3 of 4 proposals, 2 fast enough"),
        (0, "measured 4 of 4 proposals, 3 fast enough"),
    ]
    first = ids_by_proposal(search)[2][:6]
    assert heard.notes[4:6] == [(1, f"{first} rung 1 20.0x fid 90.0"), (1, f"{first} complete 20.0x fid 70.0")]
    assert heard.notes[-1][0] == 3


def test_progress_where_the_first_are_all_too_slow(start):
    heard = Heard()
    search, _ = start(first=2, trials=1, progress=heard)
    search.run()
    assert heard.notes[1] == (0, "measured 2 of 2 proposals, 0 fast enough")
    assert heard.notes[2] == (0, "measured 3 proposals, 0 fast enough")


# caps


def test_trials_count_candidates_that_were_trained(start):
    """Two too slow ones do not count; the third and fourth do."""
    search, _ = start([(SLOW,), (SLOW,), (FAST, 50.0, 20.0), (FAST, 40.0, 20.0)], trials=2)
    search.run()
    assert counts(search) == {"complete": 2, "infeasible": 2}


def test_two_workers_do_not_begin_more_candidates_than_trials(start):
    """Of the two that are measured last, one is not trained any more."""
    search, executor = start([(FAST, 50.0, 20.0)] * 9, workers=2, trials=3)
    search.run()
    assert counts(search) == {"complete": 3, "failed": 1}
    assert len(trained_order(executor)) == 3
    assert by_outcome(search)["failed"].user_attrs["note"] == NOT_TRAINED


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
        patch.setattr(proposals, "suggest_genotype", lambda knobs, suggest: dict(same))

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


def test_a_study_that_was_lost_is_made_anew_from_the_records(start, quality, tmp_path):
    """Killed under the second's second rung, and then study.db was lost: nothing that is recorded is done again."""
    script = Script([(FAST, 50.0, 20.0), (0.05, 60.0, 30.0)], quality)
    search, before = start(answer=killed_at(script, 5), trials=2)
    with pytest.raises(KilledError):
        search.run()
    (tmp_path / "run" / "study.db").unlink()
    resumed, after = start(answer=script, trials=2)
    resumed.run()
    assert len(before.jobs) + len(after.jobs) == 6 + 1
    assert after.jobs[0] == before.jobs[-1]
    assert counts(resumed) == {"complete": 2}
    assert [trial.values for trial in trials_of(resumed)] == [[20.0, FAST], [30.0, 0.05]]
    assert [one.trial for one in resumed.candidates.values()] == [0, 1]


def test_a_renamed_experiment_goes_on_in_the_same_study(start, make_context):
    search, _ = start([(FAST, 50.0, 20.0)] * 3)
    search.run()
    other = make_context(name="renamed", search=search._config.model_dump())
    assert len(trials_of(Search(other, LIMITS, search._executor, Silent()))) == 3


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_resumed_sampler_does_not_repeat_its_proposals(start, sampler):
    """Without the first, uniform proposals, so that it is the sampler that proposes."""
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


def test_the_study_is_one_that_the_dashboard_can_name(start):
    search, _ = start([(FAST, 50.0, 20.0)], trials=1)
    search.run()
    assert search._proposals.study.metric_names == ["score", "latency ratio"]
