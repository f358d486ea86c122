"""What operations cost: a sum of terms, each a number read off an outline times a price that was fitted.

    time = sum over terms of price * amount,    price >= 0

The terms are those that the kernels of onnxruntime on a CPU (MLAS) show: a fixed cost per node, multiply-accumulates by
kind and kernel, those of channels rounded up to the 16 of a SIMD register, the columns that a convolution copies its
pixels into, weights that are read once per call, maps that are written. Prices that cannot be negative extrapolate:
more work never takes less time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from search_spaces.outline import CONV, DEPTHWISE, LINEAR, TRANSPOSED, Operator

Floats = NDArray[np.float64]

BLOCK = 16  # channels: one AVX-512 register of float32
CACHED = (
    2**18
)  # weights of a matrix: 1 MiB of float32, what a core's own cache holds at most; others are read each call
SHRINKAGE = 0.2  # of the root mean square that a term has among the members
HUBER_ROUNDS = 3
HUBER = 1.345  # standard deviations; 95 % efficiency under normal errors (Huber 1981, Robust Statistics, section 4.5)
LEAST_SPREAD = 0.02  # of relative errors, below which none is an outlier


def terms_of(operators: Iterable[Operator]) -> dict[str, float]:
    """Return the amount of every term of ``operators``, by name."""
    terms: defaultdict[str, float] = defaultdict(float)
    terms["call"] = 1.0
    for one in operators:
        terms[f"{one.kind} nodes"] += 1
        for name, amount in _amounts(one).items():
            terms[f"{one.kind} {name}"] += amount
    return dict(terms)


def _amounts(one: Operator) -> dict[str, float]:
    made = one.outputs * one.pixels
    if one.kind == LINEAR:
        return {"macs": one.macs, "made": one.outputs, "uncached macs": max(0, one.macs - CACHED)}
    if one.kind == DEPTHWISE:
        layout = "loose" if one.outputs % BLOCK else "blocked"
        return {f"{layout} nodes": 1, f"{layout} {one.kernel} macs": one.macs, f"{layout} made": made}
    if one.kind == TRANSPOSED:
        columns = one.outputs * one.kernel**2 * one.pixels_in
        weights = one.inputs * one.outputs * one.kernel**2
        return {"macs": one.macs, "columns": columns, "read": one.inputs * one.pixels_in, "weights": weights}
    if one.kind == CONV:
        return _convolution(one)
    return {"made": made}


def _convolution(one: Operator) -> dict[str, float]:
    """Amounts of a convolution; channels that do not fill registers take other kernels, and have terms of their own."""
    read, copied = one.inputs * one.pixels, one.inputs * one.pixels * one.kernel**2
    amounts: dict[str, float] = {
        f"{'1 pixel' if one.kernel == 1 else 'wider'} nodes": 1,
        f"{one.kernel} macs": one.macs,
        "blocked macs": _blocked(one.inputs) * _blocked(one.outputs) * one.kernel**2 * one.pixels,
        "columns": copied if one.kernel > 1 else 0,
        "weights": one.inputs * one.outputs * one.kernel**2,
        "made": one.outputs * one.pixels,
        "read": read,
    }
    if one.inputs % BLOCK:
        amounts |= {"loose macs": one.macs, "loose read": read}
    if one.inputs < BLOCK:
        amounts |= {"few nodes": 1, "few macs": one.macs, "few columns": copied}
    if one.outputs < BLOCK:
        amounts |= {"narrow nodes": 1, "narrow macs": one.macs, "narrow columns": copied}
    return amounts


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def fit_prices(terms: Sequence[Mapping[str, float]], times: Floats) -> dict[str, float]:
    """Return the price of every term that costs anything, fitted to relative errors.

    Minimises sum w_i (sum_k price_k amount_ik / time_i - 1)^2 + SHRINKAGE^2 sum_k (price_k rms_k)^2 over prices >= 0
    (Lawson & Hanson 1974, *Solving Least Squares Problems*, chapter 23), where w are Huber's weights: a few timings of
    a busy machine are far off.

    Args:
        terms: Of each member, see ``terms_of``.
        times: Theirs, above 0, in any unit.
    """
    names = sorted(set().union(*terms))
    relative = np.array([[one.get(name, 0.0) for name in names] for one in terms]) / times[:, None]
    scale = np.sqrt(np.mean(relative**2, axis=0))  # above 0: each term occurs somewhere, and amounts are positive
    scaled = relative / np.where(scale > 0, scale, 1.0)
    shrink = SHRINKAGE * np.sqrt(len(times)) * np.eye(len(names))
    weights = np.ones(len(times))
    for _ in range(1 + HUBER_ROUNDS):
        left, right = np.vstack([scaled * weights[:, None], shrink]), np.r_[weights, np.zeros(len(names))]
        prices, _ = nnls(left, right, maxiter=100 * len(names))
        errors = np.abs(np.log(np.maximum(scaled @ prices, 1e-9)))
        bound = HUBER * max(float(np.median(errors)) / 0.6745, LEAST_SPREAD)
        weights = np.sqrt(np.minimum(1.0, bound / np.maximum(errors, 1e-9)))
    found = zip(names, prices / np.where(scale > 0, scale, 1.0), strict=True)
    return {name: float(price) for name, price in found if price > 0}


def cost(terms: Mapping[str, float], prices: Mapping[str, float]) -> float:
    """Return the sum of amounts times prices; terms without a price cost nothing."""
    return sum(amount * prices.get(name, 0.0) for name, amount in terms.items())
