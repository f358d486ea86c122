"""How strongly to prune: the share of channels that goes, searched by halvings of what stays."""

import math

FINEST = 0.4  # halvings: about a quarter of the channels
MOST = 6.0


class Bisection:
    """Looks for the largest share that is kept, on the scale log2(1 / what stays): ask for ``share``, then ``tell``.

    Half as much stays as long as that is kept; then between the largest kept and the smallest refused, down to
    ``FINEST``.

    Args:
        first: The share to begin with, above 0 and below 1.
    """

    def __init__(self, first: float) -> None:
        self._kept, self._refused, self._next = 0.0, math.inf, -math.log2(1 - first)

    @property
    def share(self) -> float | None:
        """The share to try next; None if the largest is found."""
        found = self._refused - self._kept < FINEST or self._next > MOST
        return None if found else 1 - 2**-self._next

    def tell(self, *, kept: bool) -> None:
        """Say whether that share was kept."""
        if kept:
            self._kept = self._next
        else:
            self._refused = self._next
        open_end = math.isinf(self._refused)
        self._next = self._kept + 1 if open_end else (self._kept + self._refused) / 2
