"""Tables of the search, cell by cell."""

from reports.summary import parse
from reports.views import search

BASE = {"schema": 1, "command": "c", "family": "gan"}


def test_outcomes_add_up(run):
    rows = search.outcomes_table(run).rows
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == 44


def test_the_winner_has_a_star(run):
    table = search.finalists_table(run)
    assert [row[0][0] == "★" for row in table.rows] == [False, True, False]
    assert table.strong == {1}


def test_long_lists_of_candidates_are_cut():
    score = {"metric": "fid", "extractor": "a", "n": 1, "value": 5.0}
    trials = [
        {"id": str(i), "genotype": {}, "outcome": "complete", "quality": score | {"value": 200.0 - i}}
        for i in range(150)
    ]
    run = parse(BASE | {"candidates": trials})
    assert len(search.evaluated_candidates(run)) == 150
    assert len(search.candidates_table(run).rows) == search.MAX_CANDIDATES
    assert search.candidates_table(run).rows[0][0] == "149"


def test_what_was_never_reached_did_not_fail():
    trial = {"id": "a", "genotype": {}, "outcome": "failed", "seconds": 2.0}
    counts = {"trials": 3, "complete": 0, "infeasible": 0, "dominated": 0, "failed": 3, "duplicate": 0, "unreached": 2}
    trials = [trial | {"error": "ValueError"}, *(trial | {"id": i, "unreached": True} for i in "bc")]
    run = parse(BASE | {"candidates": trials, "search": counts})
    rows = search.outcomes_table(run).rows
    assert [row[:3] for row in rows] == [
        ("failed", "1", "2.0 s"),
        ("not reached", "2", "4.0 s"),
        ("trials", "3", "6.0 s"),
    ]
    assert [one.id for one in search.evaluated_candidates(run)] == ["a"]


def test_a_finalist_that_was_not_trained_says_why(data):
    data["finalists"][2] |= {"inside": None, "note": "not trained: a faster finalist is inside the budget"}
    data["finalists"][0]["note"] = None
    rows = search.finalists_table(parse(data)).rows
    assert [row[1] for row in rows[::2]] == ["outside", "not trained: a faster finalist is inside the budget"]
