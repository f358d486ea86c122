"""The README's tables are those of the results page, and no others."""

from pathlib import Path

from examples.studies.readme import update_readme
from nas.marked import fill, markers

ROOT = Path(__file__).parents[2]

RESULTS = """\
<!-- Written by a program. -->

# Results

**Something is missing.**

Measured on a machine.

## What was promised

| family | what |
| --- | --- |
| gan | speed |

## gan: seeds 0, 1

|  | FID |
| --- | --- |
| ours | 4 |

Below the table.

### gan-0

| not | this |
| --- | --- |
"""


def test_the_readme_takes_its_tables_from_the_results():
    begin, end = markers("results")
    readme = update_readme(f"head\n{begin}\nold\n{end}\ntail\n", RESULTS)
    table = "|  | FID |\n| --- | --- |\n| ours | 4 |"
    inner = f"**Something is missing.**\n\nMeasured on a machine.\n\n**gan: seeds 0, 1**\n\n{table}"
    assert readme == f"head\n{begin}\n{inner}\n{end}\ntail\n"
    assert update_readme(readme, RESULTS) == readme


def test_the_readme_has_the_tables_of_the_results_that_are_there():
    readme, results = ROOT / "README.md", ROOT / "docs" / "results.md"
    written = update_readme(readme.read_text(), results.read_text()) if results.is_file() else None
    remedy = "run `python -m examples.studies.readme docs/results.md README.md`"
    assert readme.read_text() == (written or fill(readme.read_text(), "results", "")), remedy
