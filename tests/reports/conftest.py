"""Fixtures over ``sample.py``: a run that said yes, one that said no early, and the pictures."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from reports.summary import Summary, parse

SAMPLE = runpy.run_path(str(Path(__file__).with_name("sample.py")))


@pytest.fixture
def data() -> dict[str, Any]:
    return SAMPLE["sample"]()


@pytest.fixture
def run(data: dict[str, Any]) -> Summary:
    return parse(data)


@pytest.fixture
def early_no_data() -> dict[str, Any]:
    return SAMPLE["early_no"]()


@pytest.fixture
def early_no(early_no_data: dict[str, Any]) -> Summary:
    return parse(early_no_data)


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    return {name: SAMPLE["grid_png"](seed) for seed, name in enumerate(("reference", "final", "baseline"))}
