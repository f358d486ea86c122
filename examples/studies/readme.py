"""Put what stands first in `docs/results.md` into the README: how complete it is, and one table a family.

python -m examples.studies.readme docs/results.md README.md
"""

import re
import sys
from pathlib import Path

from benchmarks.files import write_text
from nas.marked import fill

PART = "results"
_SECTION = re.compile(r"^## (?=\w+: seeds? )", re.MULTILINE)
_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)


def update_readme(readme: str, results: str) -> str:
    """Return the README with the opening and the tables of a page that `make proof` wrote.

    Raises:
        NasError: the README has no place for them.
    """
    opening, *families = _SECTION.split(results)
    standing = [text for text in opening.partition("\n## ")[0].split("\n\n") if not text.startswith(("#", "<!--"))]
    tables = [table for family in families for table in _family(family)]
    return fill(readme, PART, "\n\n".join(part.strip() for part in (*standing, *tables) if part.strip()))


def _family(section: str) -> tuple[str, str]:
    """Return its heading as a line of its own, and its first table."""
    heading, _, rest = section.partition("\n")
    found = _TABLE.search(rest)
    assert found is not None, f"no table below {heading!r}"
    return f"**{heading.strip()}**", found[0]


if __name__ == "__main__":
    RESULTS, README = Path(sys.argv[1]), Path(sys.argv[2])
    write_text(README, update_readme(README.read_text(encoding="utf-8"), RESULTS.read_text(encoding="utf-8")))
