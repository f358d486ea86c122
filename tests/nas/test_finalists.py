"""Which candidates are finished, in which order, and who of them wins: by numbers worked out by hand."""

from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from compress.quality import Budget, Score
from nas import finalists as module
from nas.candidate import Candidate
from nas.choosing import Field, Finalist
from nas.families.base import Phase
from nas.finalists import final_schedule, pick, train_finalists
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


SCHEDULE = (Phase("distill", 540),)


def field(*candidates: Candidate) -> Field:
    return Field(candidates, TEACHER, BUDGET, SCHEDULE)


def chosen(candidates: list[Candidate], count: int) -> list[Finalist]:
    """The first ``count``, as long as nobody is finished."""
    found: list[Finalist] = []
    for _ in range(count):
        one = field(*candidates).next([], ids(found))
        found += [one] if one else []
    return found


def ended(one: Candidate, difference: float, room: float = 0.0, *, inside: bool = False) -> dict[str, Any]:
    gap = {"value": difference, "ci95": [difference, difference]}
    return {"id": one.id, "difference": gap, "room": room, "inside": inside, "ratio": one.ratio}


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
    assert ids(found) == ["steep", "flat"]  # of whom the second is not promising
    assert [one.predicted for one in found] == pytest.approx([4 + 10 / 9, 12.0])


def test_the_best_of_the_rest_fills_up(candidate):
    a, b = candidate("a", 0.1, 4 + 900, 4 + 300), candidate("b", 0.15, 4 + 90, 4 + 30)
    c = candidate("c", 0.3, 4 + 27, 4 + 9)
    found = chosen([a, b, c], 2)
    assert ids(found) == ["c", "b"]
    assert [one.promising for one in found] == [True, False]


def test_what_became_of_others_corrects_what_is_expected(candidate):
    """Predicted excess 2, 1.5, 1 and 0.5. The first had 4 instead of 2: twice as much is expected of everybody."""
    a, b, c, d = (
        candidate(name, 0.1 * (place + 1), 4 + 27 * excess, 4 + 9 * excess)
        for place, (name, excess) in enumerate(zip("abcd", (2.0, 1.5, 1.0, 0.5), strict=True))
    )
    everybody = field(a, b, c, d)
    assert everybody.next([], ["a"]).candidate.id == "b"
    found = everybody.next([ended(a, 4.0)], ["a"])
    assert (found.candidate.id, found.promising) == ("c", True)
    assert found.predicted == pytest.approx(6.0)
    # An interval of +-0.5 does not leave room for it; two that were finished count by the median of 2 and 1.
    assert everybody.next([ended(a, 4.0, 0.5)], ["a"]).candidate.id == "d"
    assert everybody.finalist(c, [ended(a, 4.0), ended(b, 1.5)]).predicted == pytest.approx(4 + 1.5)
    # Where nobody is promising any more, the best is left.
    last = everybody.next([ended(a, 40.0)], ["a", "b"])
    assert (last.candidate.id, last.promising) == ("d", False)
    assert everybody.next([], list("abcd")) is None
    assert everybody.finalist(c, [{"id": "a", "difference": None}]).predicted == pytest.approx(5.0)


def test_once_one_is_inside_only_much_faster_promising_ones_are_left(candidate):
    """At two thirds of its time, or less. The first had twice the excess, the last what was predicted: 1.5 times."""
    a, b, c, d = (
        candidate(name, ratio, 4 + 27 * excess, 4 + 9 * excess)
        for name, ratio, excess in (("a", 0.1, 1.9), ("b", 0.2, 1.3), ("c", 0.7, 1.1), ("d", 0.9, 0.5))
    )
    everybody = field(a, b, c, d)
    rows = [ended(a, 3.8), ended(d, 0.5, inside=True)]
    assert everybody.next(rows, ["a", "d"]).candidate.id == "b"  # 1.5 * 1.3 is inside
    assert everybody.next(rows, ["a", "b", "d"]) is None  # c is inside too, and hardly faster than d
    assert everybody.next([ended(a, 3.8), ended(d, 1.0, inside=True)], ["a", "d"]) is None  # b at twice 1.3 is not


def test_who_is_finished_stands_in_nobodys_way(candidate):
    """The first was expected to beat the second in both, and failed."""
    a, b = candidate("a", 0.1, 4 + 27, 4 + 9), candidate("b", 0.12, 4 + 30, 4 + 10)
    assert field(a, b).next([], ["a"]) is None  # as long as it is being trained
    for row in (ended(a, 5.0), {"id": "a", "difference": None, "inside": None, "ratio": a.ratio}):
        assert field(a, b).next([row], ["a"]).candidate.id == "b"


def test_a_correction_of_small_scores(candidate):
    """KID: an excess of 0.0004 that came to 0.004."""
    teacher = Score("kid", "x", 400, (0, 3), 0.002, 0.0002)
    a, b = candidate("a", 0.1, 0.002 + 0.0108, 0.002 + 0.0036), candidate("b", 0.2, 0.002 + 0.0054, 0.002 + 0.0018)
    small = Field([a, b], teacher, Budget.parse("kid<=+0.002"), SCHEDULE)
    assert small.finalist(b, []).predicted == pytest.approx(0.0022)
    assert small.finalist(b, [ended(a, 0.004)]).predicted == pytest.approx(0.004)


def test_who_is_better_than_the_teacher_stays_so(candidate):
    better = candidate("a", 0.1, 3.5, 3.0)
    assert field(better).finalist(better, []).predicted == 3.0
    other = candidate("b", 0.2, 4 + 27, 4 + 9)
    assert field(better, other).finalist(better, [ended(other, 2.0)]).predicted == 3.0


def test_matching_lowers_what_is_expected_of_a_perfect_student(candidate):
    """0.85 of (4 + 2) and of 4: the predicted excess over the teacher's part is 1.7; it came to 3.4 = 4 + 2.8 - 3.4."""
    one = candidate("a", 0.1, 4 + 54, 4 + 18)
    matched = Field([one], TEACHER, BUDGET, (*SCHEDULE, Phase("match", 10)))
    assert matched.finalist(one, []).predicted == pytest.approx(0.85 * 6)
    assert matched.finalist(one, [ended(one, 2.8)]).predicted == pytest.approx(3.4 + 2 * 1.7)


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

    def do(*inside: bool | BaseException, workers: int = 1, count: int = 4):
        context = make_context()
        genotypes = list(zip("abcdef", context.space.genotypes(), inside, strict=False))
        entrants: list[Candidate] = []
        for index, (name, genotype, _) in enumerate(genotypes):
            one = candidate(name, 0.1 * (index + 1), 4 + 54 / (index + 1), 4 + 18 / (index + 1))
            one.genotype = dict(genotype)
            entrants.append(one)

        def judge(context, finalist, future, reference):
            verdict = inside["abcdef".index(finalist.candidate.id)]
            if future.exception() is not None:
                return finish(context, finalist, future, reference)
            return {
                "id": finalist.candidate.id,
                "inside": verdict,
                "ratio": finalist.candidate.ratio,
                "quality": {"value": 9.0 + "abcdef".index(finalist.candidate.id)},
                "difference": {"value": 1.0 if verdict else 2.5},
                "room": 0.1,
                "note": "",
            }

        finish = module._finish
        monkeypatch.setattr(module, "_finish", judge)

        def answer(job):
            verdict = inside["abcdef".index(job["out"][-1])]
            return verdict if isinstance(verdict, BaseException) else {"steps": job["until"]}

        executor = scripted(answer, workers)
        record = train_finalists(
            context, Field(entrants, TEACHER, BUDGET, SCHEDULE), tmp_path, executor, Silent(), count=count
        )
        return record, executor

    return do


def test_slower_ones_are_not_trained_once_one_is_inside(train):
    record, executor = train(False, True, True, True)
    assert record["winner"] == "b"
    assert [job["out"][-1] for job in executor.jobs] == ["a", "b"]
    assert [one["id"] for one in record["finalists"]] == ["a", "b"]


def test_no_more_than_were_asked_for(train):
    record, executor = train(False, False, False, False, workers=2, count=3)
    assert [job["out"][-1] for job in executor.jobs] == ["a", "b", "c"]
    assert record["winner"] == "a"


def test_who_is_faster_goes_on_although_another_is_inside(train, make_context):
    """Killed after b had finished inside, with a on its way; c would be slower."""
    folder = make_context().folder
    for name in "ac":
        (folder.path / "finalists" / name).mkdir(parents=True)
    row = {"id": "b", "ratio": {"value": 0.2}, "inside": True, "quality": {"value": 9.5}, "difference": None}
    folder.finish("finalists/b", row)
    record, executor = train(True, True, True, True)
    assert [job["out"][-1] for job in executor.jobs] == ["a"]
    assert record["winner"] == "a"


def test_who_was_on_the_way_goes_on_first(train, make_context):
    """A process that was killed left the folder of c, and the record of b."""
    folder = make_context().folder
    (folder.path / "finalists" / "c").mkdir(parents=True)
    row = {
        "id": "b",
        "ratio": {"value": 0.2},
        "inside": False,
        "quality": {"value": 9.5},
        "difference": None,
        "note": "",
    }
    folder.finish("finalists/b", row)
    record, executor = train(False, True, False, False, count=2)
    assert [job["out"][-1] for job in executor.jobs] == ["c"]
    assert [one["id"] for one in record["finalists"]] == ["b", "c"]


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
