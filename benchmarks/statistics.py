"""From raw timings to a number with an interval.

Medians throughout, with exact order-statistic intervals: they need no assumption about the shape of the noise, no
bootstrap and no random numbers. What they do need, that neighbours are independent, is checked, and mended by taking
medians of blocks.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.binomial import lower_rank
from benchmarks.records import BenchmarkError, Estimate, Latency, Ratio, Sample

Floats = npt.NDArray[np.float64]

MIN_CLEAN = 10  # fewer un-preempted observations than this and all are taken
MAX_AUTOCORRELATION = 0.2
MIN_BLOCKS = 12  # blocks are not made longer than leaves this many
MIN_EPOCH = 3  # pairs, below which an epoch says nothing


class StatisticsError(BenchmarkError, ValueError):
    """Timings from which the asked number cannot be computed."""


def median_interval(values: Sequence[float] | Floats) -> Estimate:
    """The median with its exact 95 % interval from order statistics.

    With x(1) <= ... <= x(n), the interval [x(r), x(n+1-r)] misses the median with probability
    2 P(Binomial(n, 1/2) <= r-1); r is the largest that keeps this at or below 5 % (David & Nagaraja, *Order
    Statistics*, 3rd ed., section 7.1). Below n = 6 there is none: then it is [min, max], whose coverage is only
    1 - 2 / 2**n (n = 5: 94 %, 3: 75 %, 1: 0 %).

    Raises:
        StatisticsError: no values, or one that is NaN.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not ordered.size:
        raise StatisticsError("a median needs at least one value, but there is none.")
    if np.isnan(ordered[-1]):  # NaNs sort to the end
        raise StatisticsError("a median needs numbers, but there is a NaN among the values.")
    n = ordered.size
    skip = max(lower_rank(n, 0.025) - 1, 0)
    return Estimate(float(np.median(ordered)), (float(ordered[skip]), float(ordered[n - 1 - skip])), n)


def ratio(a: Sample, b: Sample, starts: Sequence[int] = ()) -> Ratio:
    """Time of ``b`` / time of ``a``, A being the reference, from the rounds in which both took turns.

    Each mirrored pair of rounds gives d = mean(log b) - mean(log a), in which steady drift cancels; of either side
    only the un-preempted rounds count, and a pair in which a side has none is left out. If fewer than ten pairs, or
    fewer than half, remain (calls of 5 ms and more on a busy machine), all pairs with all rounds are taken, less the
    time in which the thread was ready and had no core. The ratio is exp(median d). Where neighbouring d are alike
    (autocorrelation above 0.2), medians of blocks of them take their place.

    The interval is that of this process, and of these sessions: two of the same model of 20 us differ by 1 %, of
    1.5 ms by 0.3 % (standard deviations), so a smaller difference needs restarts, or sessions that are opened anew:
    ``starts`` are the pairs at which they were. Then each such epoch counts as one observation, its median.

    Raises:
        StatisticsError: the samples are not of the same rounds, have no mirrored pair, or hold a time of 0.
    """
    estimate = median_interval(differences(a, b, starts=starts))
    low, high = estimate.ci95
    return Ratio(math.exp(estimate.value), (math.exp(low), math.exp(high)), estimate.n)


def differences(a: Sample, b: Sample, by: Literal["wall", "cpu"] = "wall", starts: Sequence[int] = ()) -> Floats:
    """Differences d, as ``ratio`` takes them, of every mirrored pair of rounds, or medians of blocks or epochs of them.

    Empty by CPU time where the clock is too coarse for it (a round that took none).

    Raises:
        StatisticsError: the samples are not of the same rounds, have no mirrored pair, or hold a wall time of 0.
    """
    if len(a.seconds) != len(b.seconds) or len(a.seconds) < 2:
        raise StatisticsError(
            f"a ratio needs two samples of the same rounds, at least 2, not {len(a.seconds)} and {len(b.seconds)}. "
            "Time both in one call of measure_interleaved."
        )
    if by == "cpu":
        if min(*a.cpu_seconds, *b.cpu_seconds) <= 0:
            return np.empty(0)
        found = _logs(b.cpu_seconds).mean(axis=1) - _logs(a.cpu_seconds).mean(axis=1)
        return _observations(found, np.arange(found.size), starts)
    log_a, log_b = _logs(a.seconds), _logs(b.seconds)
    clean_a, clean_b = _unpreempted(a), _unpreempted(b)
    usable = clean_a.any(axis=1) & clean_b.any(axis=1)
    if np.count_nonzero(usable) >= max(MIN_CLEAN, usable.size / 2):
        found = _row_means(log_b, clean_b)[usable] - _row_means(log_a, clean_a)[usable]
        return _observations(found, np.flatnonzero(usable), starts)
    found = _logs(_on_core(b)).mean(axis=1) - _logs(_on_core(a)).mean(axis=1)
    return _observations(found, np.arange(found.size), starts)


def _observations(values: Floats, pairs: npt.NDArray[np.intp], starts: Sequence[int]) -> Floats:
    """Return what is independent of ``values``, which are of these pairs: medians of epochs, else of blocks."""
    if len(starts) < 2:
        return _independent(values)
    epochs = np.split(values, np.searchsorted(pairs, starts[1:]))
    return np.array([np.median(epoch) for epoch in epochs if epoch.size >= MIN_EPOCH])


def summarize(sample: Sample) -> Latency:
    """The sample in short: median with interval and 95th percentile of un-preempted rounds, 95th percentile of all.

    If fewer than ten rounds are un-preempted, all count as such. The median is that of all these rounds. Its interval
    comes from blocks of them where neighbours are alike, as with ``ratio``; single timings drift with the machine, so
    there they mostly are, and ``n`` is the number of blocks.

    Raises:
        StatisticsError: the sample is empty.
    """
    if not sample.seconds:
        raise StatisticsError("a latency needs at least one timing, but the sample is empty.")
    every, clean = np.asarray(sample.seconds), _clean(sample)
    middle = float(np.median(clean))
    blocks = median_interval(_independent(clean))
    low, high = blocks.ci95
    return Latency(
        median=Estimate(middle, (min(low, middle), max(high, middle)), blocks.n),
        p95_s=float(np.percentile(clean, 95)),
        p95_all_s=float(np.percentile(every, 95)),
        preempted=float(np.mean(sample.preempted)),
    )


def quantiles(sample: Sample, percent: Sequence[int]) -> dict[int, float]:
    """Quantiles in seconds, by percent, of the rounds that ``summarize`` takes the median of.

    Raises:
        StatisticsError: the sample is empty.
    """
    if not sample.seconds:
        raise StatisticsError("a quantile needs at least one timing, but the sample is empty.")
    found = np.percentile(_clean(sample), percent)
    return {one: float(value) for one, value in zip(percent, found, strict=True)}


def outliers(sample: Sample) -> tuple[bool, ...]:
    """Which rounds lie far outside: more than three quartile ranges of log times above or below the quartiles.

    Tukey's outer fences (*Exploratory Data Analysis*, 1977). A label for readers: no number here leaves them out.
    """
    logs = np.log(np.asarray(sample.seconds))
    if not logs.size:
        return ()
    low, high = np.percentile(logs, (25, 75))
    reach = 3 * (high - low)
    return tuple(bool(mark) for mark in (logs < low - reach) | (logs > high + reach))


def _clean(sample: Sample) -> Floats:
    """Seconds of the un-preempted rounds; of all, if those are fewer than ``MIN_CLEAN``."""
    every = np.asarray(sample.seconds)
    clean = every[~np.asarray(sample.preempted)]
    return clean if clean.size >= MIN_CLEAN else every


def autocorrelation(values: Floats) -> float:
    """Correlation of the values' ranks with those of their successors (lag 1), -1 to 1; 0 if it is not defined.

    Ranks, because one burst of noise would make the plain coefficient anything.
    """
    if values.size < 3:
        return 0.0
    ranks = _ranks(values)
    centred = ranks - ranks.mean()
    spread = float(np.sum(centred**2))
    return float(np.sum(centred[1:] * centred[:-1])) / spread if spread else 0.0


def _independent(values: Floats) -> Floats:
    """The values, or medians of the shortest blocks (2, 4, 8 ... long) whose neighbours are no longer alike."""
    blocks, length = values, 1
    while autocorrelation(blocks) > MAX_AUTOCORRELATION and values.size // (2 * length) >= MIN_BLOCKS:
        length *= 2
        whole = values.size // length * length
        blocks = np.median(values[:whole].reshape(-1, length), axis=1)
    return blocks


def _logs(seconds: Sequence[float]) -> Floats:
    """(pairs, 2) logarithms of the times; a last round without a mirror is left out."""
    values = np.asarray(seconds[: len(seconds) // 2 * 2])
    if not np.all(values > 0) or not np.all(np.isfinite(values)):
        raise StatisticsError("a ratio needs times above 0, but the sample holds others. Is its clock monotonic?")
    logs: Floats = np.log(values).reshape(-1, 2)
    return logs


def _unpreempted(sample: Sample) -> npt.NDArray[np.bool_]:
    """(pairs, 2): in which rounds nobody took the core."""
    switches = np.asarray(sample.switches[: len(sample.switches) // 2 * 2], dtype=np.int64)
    return np.equal(switches, 0).reshape(-1, 2)


def _on_core(sample: Sample) -> list[float]:
    """Wall seconds less those without a core, of every round; the CPU time where that is more.

    The system books waiting when it ends, so a short round may be charged what was waited before it.
    """
    rounds = zip(sample.seconds, sample.waited, sample.cpu_seconds, strict=True)
    return [max(wall - waited, min(cpu, wall)) for wall, waited, cpu in rounds]


def _row_means(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the chosen entries of each row; 0 where none is chosen."""
    means: Floats = np.sum(values * chosen, axis=1) / np.maximum(chosen.sum(axis=1), 1)
    return means


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks
