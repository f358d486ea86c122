"""Which candidates are finished, in which order, and who of them wins: by numbers worked out by hand."""

from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from compress.quality import Budget, Score
from nas import finalists as module
from nas.candidate import Candidate
from nas.families.base import Phase
from nas.finalists import Finalist, choose, final_schedule, pick, train_finalists
from nas.progress import Silent

TEACHER = Score("fid", "x", 400, (0, 3), 4.0, 0.2)
BUDGET = Budget.parse("fid<=+2")  # up to 6


@pytest.fixture
def candidate(quality):
    """A candidate by ratio and scores at 20 and 60 steps."""

    def make(name: str, ratio: float, *scores: float, outcome: str = "complete") -> Candidate:
        rungs = [{"steps": steps, "quality": quality(value)} for steps, value in zip((20, 60), scores, strict=False)]
        return Candidate(name, {"name": name}, 0, outcome, {"value": ratio, "ci95": [ratio, ratio]}, rungs=rungs)

    return make


def ids(finalists: list[Finalist]) -> list[str]:
    return [one.candidate.id for one in finalists]


def chosen(candidates: list[Candidate], count: int) -> list[Finalist]:
    return choose(candidates, teacher=TEACHER, budget=BUDGET, schedule=(Phase("distill", 540),), count=count)


def test_promising_members_of_the_front_fastest_first(candidate):
    """Excess e at 20 and e / 3 at 60 steps: a power of one, so e / 27 at 540. Promising: at most 2, so e up to 54."""
    a = candidate("a", 0.1, 4 + 90, 4 + 30)  # predicted 4 + 90 / 27 = 7.3: not promising
    b = candidate("b", 0.2, 4 + 54, 4 + 18)  # 6.0
    c = candidate("c", 0.3, 4 + 27, 4 + 9)  # 5.0
    d = candidate("d", 0.35, 4 + 27, 4 + 10)  # beaten by c
    e = candidate("e", 0.4, 4 + 24, 4 + 8)
    found = chosen([e, d, c, b, a], 2)
    assert ids(found) == ["b", "c"]
    assert [one.predicted for one in found] == pytest.approx([6.0, 5.0])
    assert all(one.promising for one in found)


def test_the_front_is_of_what_is_predicted(candidate):
    """A flat curve beats a steep one after a short training; by hand, at 540 steps: 4 + 8 and 4 + 30 / 27."""
    flat, steep = candidate("flat", 0.1, 4 + 8, 4 + 8), candidate("steep", 0.2, 4 + 30, 4 + 10)
    found = chosen([flat, steep], 2)
    assert ids(found) == ["flat", "steep"]
    assert [one.predicted for one in found] == pytest.approx([12.0, 4 + 10 / 9])


def test_the_best_of_the_rest_fills_up(candidate):
    a, b = candidate("a", 0.1, 4 + 900, 4 + 300), candidate("b", 0.15, 4 + 90, 4 + 30)
    c = candidate("c", 0.3, 4 + 27, 4 + 9)
    found = chosen([a, b, c], 2)
    assert ids(found) == ["b", "c"]
    assert [one.promising for one in found] == [False, True]


def test_only_complete_ones_can_be_finalists(candidate):
    others = [candidate(outcome, 0.01, 5.0, outcome=outcome) for outcome in ("dominated", "failed")]
    assert ids(chosen([*others, candidate("a", 0.1, 50, 40)], 3)) == ["a"]
    assert chosen(others, 3) == []


def row(name: str, ratio: float, value: float | None, inside: bool | None) -> dict[str, Any]:
    return {"id": name, "ratio": {"value": ratio}, "inside": inside, "quality": value and {"value": value}}


def test_the_fastest_inside_the_budget_wins():
    rows = [row("a", 0.1, 9.0, False), row("b", 0.3, 4.0, True), row("c", 0.2, 5.0, True), row("d", 0.05, None, None)]
    assert pick(rows) == rows[2]


def test_without_one_inside_the_best_quality_wins_however_slow():
    rows = [row("a", 0.1, 9.0, False), row("b", 0.3, 8.0, False), row("c", 0.05, None, None)]
    assert pick(rows) == rows[1]
    assert pick([row("a", 0.1, None, None)]) is None
    assert pick([]) is None


def test_schedule_leaves_out_what_has_no_steps(make_context):
    steps = {"final_distill": 60, "final_features": 30, "final_adversarial": 20, "final_match": 10}
    every = final_schedule(make_context(search=steps))
    assert [phase.kind for phase in every] == ["distill", "features", "finetune", "match"]
    assert [phase.steps for phase in every] == [60, 30, 20, 10]
    one = final_schedule(make_context(search={**steps, "final_features": 0, "final_adversarial": 0, "final_match": 0}))
    assert [phase.kind for phase in one] == ["distill"]


@pytest.fixture
def train(make_context, scripted, candidate, monkeypatch, tmp_path):
    """Train finalists a, b, c ... of ratios 0.1, 0.2, ...; ``inside`` says what becomes of each."""

    def do(*inside: bool | BaseException, workers: int = 1):
        context = make_context()
        genotypes = list(zip("abcdef", context.space.genotypes(), inside, strict=False))
        entrants = []
        for index, (name, genotype, _) in enumerate(genotypes):
            one = candidate(name, 0.1 * (index + 1), 50, 40)
            one.genotype = dict(genotype)
            entrants.append(Finalist(one, 5.0, promising=True))

        def judge(context, finalist, future, reference):
            verdict = inside["abcdef".index(finalist.candidate.id)]
            if future.exception() is not None:
                return finish(context, finalist, future, reference)
            return {"id": finalist.candidate.id, "inside": verdict, "ratio": finalist.candidate.ratio,
                    "quality": {"value": 9.0}, "note": ""}  # fmt: skip

        finish = module._finish
        monkeypatch.setattr(module, "_finish", judge)

        def answer(job):
            verdict = inside["abcdef".index(job["out"][-1])]
            return verdict if isinstance(verdict, BaseException) else {"steps": job["until"]}

        executor = scripted(answer, workers)
        return train_finalists(context, entrants, tmp_path, executor, Silent()), executor

    return do


def test_slower_ones_are_not_trained_once_one_is_inside(train):
    record, executor = train(False, True, True, True)
    assert record["winner"] == "b"
    assert [job["out"][-1] for job in executor.jobs] == ["a", "b"]
    notes = [one["note"] for one in record["finalists"][2:]]
    assert notes == ["not trained: a faster finalist is inside the budget"] * 2


def test_a_worker_that_dies_costs_its_finalist_only(train):
    record, _ = train(BrokenProcessPool("gone"), True)
    assert record["winner"] == "b"
    assert "failed: the worker process died" in record["finalists"][0]["note"]
    assert record["finalists"][0]["quality"] is None


def test_a_finished_stage_is_not_done_again(train):
    first, _ = train(True)
    again, executor = train(False)
    assert again == first
    assert executor.jobs == []
