"""Search spaces: what may vary in a generator, as data. Adding a space adds a file to this folder, nothing else.

Importing this package imports no space and no torch; ``spaces()`` and ``get_space()`` do the first on demand.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

# Modules of this folder that declare no space.
_TOOLS = frozenset(
    {
        "assembly",
        "blocks",
        "channels",
        "choices",
        "free",
        "initial",
        "layers",
        "network",
        "norms",
        "outline",
        "plans",
        "space",
        "testing",
    }
)

__all__ = ["get_space", "spaces"]


@functools.cache
def _found() -> dict[str, SearchSpace]:
    from search_spaces.space import SearchSpace

    found: dict[str, SearchSpace] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name in _TOOLS:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for space in vars(module).values():
            if isinstance(space, SearchSpace):
                assert found.setdefault(space.name, space) is space, f"two spaces are called {space.name!r}"
    return found


def spaces() -> dict[str, SearchSpace]:
    """Every space declared at the top level of a module of this folder, by name."""
    return dict(_found())


def get_space(name: str) -> SearchSpace:
    """The space called ``name``.

    Raises:
        SearchSpaceError: there is none; the message lists those there are.
    """
    from search_spaces.space import SearchSpaceError, nearest

    found = _found()
    if name in found:
        return found[name]
    hint = nearest(name, tuple(found))
    raise SearchSpaceError(f"spaces are {', '.join(sorted(found))}; found {name!r}; choose one of them{hint}")
