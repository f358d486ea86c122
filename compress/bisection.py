"""How strongly to prune: how much of the channels can go, searched by halvings of what stays."""

import math

FINEST = 0.15  # halvings: a tenth of the channels that stay
MOST = 6.0
_INNER = 0.25  # of the gap: the next try lies no nearer to either end
_ROUNDING = 1e-9


class Bisection:
    """Looks for the largest share that is kept, on the scale log2(1 / what stays): ask for ``share``, then ``tell``.

    As long as all is kept, half as much stays, or as much as would use up the budget if it went on being used as fast
    as by the last share. Then between the largest kept and the smallest refused, where a line through what they
    used of the budget reaches its limit, until these are ``FINEST`` apart; never less than that at a time.

    Args:
        first: The share to begin with, above 0 and below 1.
    """

    def __init__(self, first: float) -> None:
        self._kept, self._refused, self._next = 0.0, math.inf, -math.log2(1 - first)
        self._used_by_kept, self._used_by_refused = 0.0, math.nan
        self._slope = math.nan  # of what is used of the budget, a halving, by the last share that was kept

    @property
    def share(self) -> float | None:
        """The share to try next; None if the most is found."""
        found = self._refused - self._kept <= FINEST + _ROUNDING or self._next > MOST
        return None if found else 1 - 2**-self._next

    def tell(self, *, kept: bool, used: float = math.nan) -> None:
        """Say whether that share was kept, and what is used of the budget with it: 1 is its limit, NaN unknown."""
        if kept:
            self._slope = (used - self._used_by_kept) / (self._next - self._kept)
            self._kept, self._used_by_kept = self._next, used
        else:
            self._refused, self._used_by_refused = self._next, used
        self._next = self._kept + max(FINEST, self._reach() if math.isinf(self._refused) else self._place())

    def _reach(self) -> float:
        """Return how many halvings are left if the budget is used up as fast as before; at most one."""
        return min(1.0, (1 - self._used_by_kept) / self._slope) if self._slope > 0 else 1.0

    def _place(self) -> float:
        """Return how many halvings beyond what is kept the limit is expected, before what was refused."""
        gap, rise = self._refused - self._kept, self._used_by_refused - self._used_by_kept
        if not rise > 0:
            return gap / 2
        return gap * min(max((1 - self._used_by_kept) / rise, _INNER), 1 - _INNER)
