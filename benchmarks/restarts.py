"""One ratio from several fresh processes: two of them differ by more than one alone can tell."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import BenchmarkError, Ratio
from benchmarks.sides import Side
from benchmarks.statistics import ratio
from benchmarks.workers import answers, ask_fresh

# 97.5 % points of Student's t by degrees of freedom; one per further restart.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
MAX_RESTARTS = len(_T)
_START_S = 60.0  # for a process to start and load both models


def pool(ratios: Sequence[Ratio]) -> Ratio:
    """Return the mean of ratios from several processes, of their logarithms, with its 95 % interval.

    The interval is Student's over the processes, and never narrower than the intervals within them say.

    Raises:
        BenchmarkError: there is none, or there are more than 11.
    """
    if not 1 <= len(ratios) <= MAX_RESTARTS + 1:
        raise BenchmarkError(f"1 to {MAX_RESTARTS + 1} processes can be pooled, not {len(ratios)}.")
    if len(ratios) == 1:
        return ratios[0]
    logs = [math.log(one.value) for one in ratios]
    within = [math.log(one.ci95[1] / one.ci95[0]) / 2 for one in ratios]
    root, middle = math.sqrt(len(ratios)), fmean(logs)
    between = _T[len(ratios) - 2] * stdev(logs) / root
    half = max(between, math.sqrt(fmean(width**2 for width in within)) / root)
    ends = math.exp(middle - half), math.exp(middle + half)
    return Ratio(math.exp(middle), ends, sum(one.pairs for one in ratios))


def ratio_over_restarts(
    a: Side,
    b: Side,
    *,
    seconds: float,
    restarts: int,
    seed: int = 0,
    on_restart: Callable[[Ratio], None] | None = None,
) -> list[Ratio]:
    """Return the ratio of ``b`` to ``a`` as each of ``restarts`` fresh processes measures it.

    Args:
        a, b: What is compared; a is the reference. Which is loaded first alternates.
        seconds: Of timing, in each process.
        restarts: How many.
        seed: Of the order of turns.
        on_restart: Hears of each.

    Raises:
        WorkerError: a process failed; the message holds its last words.
    """
    found = []
    for number in range(restarts):
        request = {"a": a.to_json(), "b": b.to_json(), "seconds": seconds, "seed": seed + number, "swap": number % 2}
        answer = ask_fresh(
            "restarts", "measure_here", request, timeout_s=seconds + _START_S, what=f"{b.model} against {a.model}"
        )
        found.append(Ratio(answer["value"], (answer["ci95"][0], answer["ci95"][1]), answer["pairs"]))
        if on_restart:
            on_restart(found[-1])
    return found


def measure_here() -> None:
    """What a fresh process does: measure what standard input asks for, and print the ratio."""
    request = json.load(sys.stdin)
    names = ["b", "a"] if request["swap"] else ["a", "b"]
    sides = {name: Side.from_json(request[name]) for name in names}
    with answers() as answer:
        runners = {name: side.open() for name, side in sides.items()}
        probe = probe_for(sides["a"].threads)
        samples = measure_interleaved(runners, seconds=request["seconds"], seed=request["seed"], probe=probe)
        answer(ratio(samples["a"], samples["b"]).to_json())
