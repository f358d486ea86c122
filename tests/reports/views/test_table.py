"""What holds for all tables."""

import importlib

from reports.summary import parse


def test_a_run_that_reached_nothing_has_no_tables():
    run = parse({"schema": 1, "command": "c", "family": "gan"})
    rooms = [
        importlib.import_module(f"reports.views.{name}")
        for name in ["headline", "search", "quality", "checks", "knobs"]
    ]
    made = [
        (name, function(run))
        for room in rooms
        for name, function in vars(room).items()
        if name.endswith("_table") and name not in ("make_table", "files_table")
    ]
    assert len(made) > 10
    assert not any(table for _, table in made)
    assert rooms[0].tiles(run) == []
