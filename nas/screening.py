"""Proposals that are predicted to be too slow are drawn again before anybody measures them.

A prediction decides what is asked for, never what becomes of it: whatever is proposed is measured, and a genotype that
was not proposed has no trial.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.fingerprint import fingerprint
from nas.candidate import Candidate
from nas.context import Context
from nas.device_profile import DeviceProfile
from nas.predictor import Member, Predictor, cross_errors
from search_spaces.space import Genotype, SearchSpaceError

LEAST = 40  # measured proposals from which a predictor is fitted during a search
LEAST_SHIFT = 10  # with a device profile: those that tell how the reference compares with the profile's own anchor
EVERY = 10  # proposals between two fits


class Screen:
    """Predicts how far over the latency limit a genotype is; knows nothing until enough was measured.

    Fitted to records in the order of their trials, so that a search that was killed goes on as it would have.

    Args:
        nothing: A predictor without prices: whose space, inputs and image count.
        max_ratio: Highest ratio to the reference that is allowed; infinity without a limit, and then all pass.
        device: A predictor from a device profile, and its slack (see ``Errors``); None to fit one to the search's own.
        workers: Trials that may be on their way at once: the latest of them are not fitted to.
        warning: What a person should know of it, or nothing.
    """

    def __init__(
        self,
        nothing: Predictor,
        max_ratio: float,
        device: tuple[Predictor, float] | None = None,
        workers: int = 1,
        warning: str = "",
    ) -> None:
        self.warning = warning
        self._like, self._limit, self._device, self._workers = nothing, max_ratio, device, workers
        self._fitted_until = -1
        self._predictor: Predictor | None = None
        self._shift = 0.0

    @property
    def ready(self) -> bool:
        """Whether enough was measured to predict anything."""
        return self._predictor is not None

    def learn(self, candidates: Iterable[Candidate], number: int) -> None:
        """Fit to what was measured of the trials before proposal ``number``, every ``EVERY`` of them."""
        until = (number - self._workers + 1) // EVERY * EVERY
        if not math.isfinite(self._limit) or until <= self._fitted_until:
            return
        self._fitted_until = until
        members = members_of(one for one in candidates if one.trial < until)
        if self._device is not None and len(members) >= LEAST_SHIFT:
            self._predictor, slack = self._device
            misses = [math.log(one.fastest) - self._predictor.log_ratio(one.genotype) for one in members]
            self._shift = float(np.median(misses)) + slack
        elif self._device is None and len(members) >= LEAST:
            like = self._like
            self._predictor = Predictor.fit(like.space, like.inputs, like.image, members)
            self._shift = cross_errors(like.space, like.inputs, like.image, members).slack

    def excess(self, genotype: Genotype) -> float:
        """Return by how much ``genotype`` is at least too slow, as log of a factor; 0 or below may be fast enough.

        "At least" as ``CAUTION`` has it: of twenty that are just fast enough, one is taken for too slow. What the space
        cannot build is left to those who say why.
        """
        if self._predictor is None:
            return 0.0
        try:
            predicted = self._predictor.log_ratio(genotype)
        except SearchSpaceError:
            return 0.0
        return predicted + self._shift - math.log(self._limit)


def screen_of(context: Context, max_ratio: float) -> Screen:
    """Return the screen of the search of ``context``: by its device profile, or fitted to what it measures.

    Raises:
        FileError, ProfileError: ``search.device`` cannot be read, or is of something else than this search.
    """
    inputs, image, config = context.family.inputs, context.image, context.experiment.search
    known, warning = None, ""
    if config.device is not None:
        profile = DeviceProfile.read(config.device)
        known = profile.predictor(context.space, inputs, image, context.bench.target), profile.held_out.slack
        if others := profile.differences(fingerprint()):
            warning = f"{config.device} is of another machine ({'; '.join(others)}): what it predicts may be far off"
    return Screen(Predictor(context.space, inputs, image, {}), max_ratio, known, config.workers, warning)


def members_of(candidates: Iterable[Candidate]) -> Sequence[Member]:
    """Return what was measured of ``candidates``, in the order of their trials: of each its fastest variant."""
    measured = [one for one in sorted(candidates, key=lambda one: one.trial) if one.ratio is not None]
    return [Member(one.genotype, {"fastest": one.ratio["value"]}, one.macs or 0) for one in measured if one.ratio]
