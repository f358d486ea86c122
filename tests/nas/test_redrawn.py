"""Proposals that are not worth a trial are drawn again, for every sampler, and leave nothing behind."""

import math
from typing import Any

import pytest

from nas import proposals, screening
from nas.candidate import OUTCOMES
from nas.limits import Limits
from nas.outlines import operators_of
from nas.progress import Silent
from nas.proposals import DRAFTS, REDRAWN, Proposals
from nas.study import Search
from search_spaces import get_space

SPACE = get_space("decoder")
LIMIT = 0.05
LEAST, FIRST = 20, 30


@pytest.fixture
def make(tmp_path):
    def do(sampler: str = "tpe", name: str = "study.db") -> Proposals:
        return Proposals(tmp_path / name, SPACE, sampler, 0)

    return do


def too_wide(genotype) -> float:
    return 1.0 if genotype.get("width", 0) > 32 else 0.0


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_only_what_passes_is_proposed_and_only_that_has_a_trial(make, monkeypatch, sampler):
    monkeypatch.setattr(proposals, "STARTUP", 2)  # of both kinds: the space's own samples, and the sampler's
    one = make(sampler)
    for number in range(6):
        proposal = one.ask(excess=too_wide)
        assert proposal.number == number
        assert too_wide(proposal.genotype) == 0
        one.tell(number, "complete", values=(float(number % 5), 0.1))
    assert len(one) == 6
    assert one.redrawn == sum(trial.user_attrs.get(REDRAWN, 0) for trial in one.trials) > 0


def test_where_nothing_passes_the_least_bad_of_many_is_proposed(make):
    seen = []

    def excess(genotype) -> float:
        seen.append(dict(genotype))
        return 1 + genotype.get("width", 999) / 1000

    proposal = make().ask(excess=excess)
    assert len(seen) == DRAFTS
    assert excess(proposal.genotype) == min(map(excess, seen[:DRAFTS]))
    assert make().redrawn == DRAFTS - 1


def test_what_passes_at_once_is_what_would_have_been_proposed(make, monkeypatch):
    monkeypatch.setattr(proposals, "STARTUP", 2)
    plain, screened = make(name="plain.db"), make(name="screened.db")
    for number in range(5):
        genotypes = [plain.ask().genotype, screened.ask(excess=lambda _: -1.0).genotype]
        assert genotypes[0] == genotypes[1]
        for one in (plain, screened):
            one.tell(number, "complete", values=(float(number), 0.1))
    assert screened.redrawn == 0


# in a search


LIMITS = Limits("reference.onnx", max_ratio=LIMIT, blank=500.0, teacher=4.0, allowed=10.0)


@pytest.fixture
def search_in(make_context, scripted, quality, monkeypatch):
    """Make a search over the same folder each time, on a made-up machine; ``kill_at`` a number of jobs."""
    monkeypatch.setattr(proposals, "STARTUP", FIRST)
    monkeypatch.setattr(screening, "LEAST", LEAST)

    def do(folder: str, kill_at: float = math.inf, **search: Any) -> Search:
        context = make_context(folder, search={"trials": 8, "rungs": (20,), "minutes": 999, **search})

        def answer(job: dict[str, Any]) -> dict[str, Any]:
            if len(executor.jobs) > kill_at:
                raise KeyboardInterrupt
            genotype = job["origin"]["genotype"]
            operators = operators_of(SPACE, genotype, context.family.inputs, context.image)
            ratio = (len(operators) + sum(one.macs / 5e4 for one in operators)) / 1000
            if job["kind"] == "measure":
                timing = {"value": ratio, "ci95": [ratio, ratio], "precision": "fp32"}
                return {"ratio": timing, "macs": sum(one.macs for one in operators)}
            return {"steps": job["until"], "quality": quality(20 + 100 * ratio), "complaint": None}

        executor = scripted(answer, 1)
        return Search(context, LIMITS, executor, Silent())

    return do


def genotypes(search: Search) -> list[dict[str, Any]]:
    return [trial.user_attrs["genotype"] for trial in search._proposals.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_measures_what_may_be_fast_enough_and_counts_add_up(search_in, sampler):
    search = search_in("run", sampler=sampler)
    search.run()
    fast = [one.ratio["value"] <= LIMIT for one in sorted(search.candidates.values(), key=lambda one: one.trial)]
    before, after = fast[:LEAST], fast[LEAST:]
    assert sum(before) / len(before) < 0.5
    assert sum(after) / len(after) >= 0.7
    assert search._proposals.redrawn > 0
    assert len(search._proposals) == sum(search.count(outcome) for outcome in OUTCOMES)


def test_killed_and_resumed_it_proposes_what_it_would_have_proposed(search_in):
    whole = search_in("whole")
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        search_in("parts", kill_at=LEAST + 5).run()
    parts = search_in("parts")
    parts.run()
    assert genotypes(parts) == genotypes(whole)
    assert len(genotypes(whole)) >= FIRST


def test_without_a_limit_nothing_is_redrawn(search_in, monkeypatch):
    search = search_in("run")
    monkeypatch.setattr(search._screen, "_limit", math.inf)
    search.run()
    assert search._proposals.redrawn == 0
