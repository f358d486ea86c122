"""A printed table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A printed table: ``rows`` are as wide as ``columns``.

    ``numeric`` names the columns set flush right, ``code`` those in fixed width; ``strong`` numbers the rows that
    matter most.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    strong: frozenset[int] = frozenset()


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: str = "",
    code: str = "",
    strong: Iterable[int] = (),
) -> Table:
    """The table of ``rows``; ``numeric`` and ``code`` name columns, joined by bars."""
    made = tuple(tuple(row) for row in rows)
    assert all(len(row) == len(columns) for row in made), "a row is as wide as its table"
    return Table(tuple(columns), made, _names(numeric), _names(code), frozenset(strong))


def _names(joined: str) -> frozenset[str]:
    return frozenset(filter(None, joined.split("|")))
