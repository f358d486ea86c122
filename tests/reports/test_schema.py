"""The page docs/summary.md tells the truth about the models."""

from pathlib import Path

import pytest

from reports.schema import BEGIN, END, schema_markdown, update_page
from reports.summary import Summary, SummaryError

PAGE = Path(__file__).parents[2] / "docs" / "summary.md"


def test_the_page_has_todays_tables():
    remedy = "run `python -m reports.schema docs/summary.md`"
    assert schema_markdown() in PAGE.read_text(encoding="utf-8"), remedy


def test_every_field_of_the_summary_stands_in_the_tables():
    text = schema_markdown()
    for name, field in Summary.model_fields.items():
        assert f"| `{field.alias or name}` |" in text


@pytest.mark.parametrize(
    "line",
    [
        "| `schema` | `1`, required | Version of this schema. |",
        "| `ci95` | [number, number], required | Its 95 % interval, [low, high]. |",
        "| `latency_ms` | map to [Latency](#latency) or null | Null where there is no GPU. |",
        "| `steps` | list of [Step](#step) or null | Compression steps, in the order tried. |",
        "| `machine` | map to any JSON or null | Fingerprint of the machine. |",
        r"| `budget` | text or null | The quality budget as written, such as `fid<=+10%\|+2`. |",
    ],
)
def test_types_in_words(line):
    assert line in schema_markdown().splitlines()


def test_update_page_replaces_what_stands_between_the_markers():
    assert update_page(f"head\n{BEGIN}\nold\n{END}\ntail") == f"head\n{BEGIN}\n{schema_markdown()}{END}\ntail"


def test_update_page_needs_both_markers():
    with pytest.raises(SummaryError, match="was not found"):
        update_page(f"head {BEGIN}")
