"""Fréchet distance of two sets of features, with its standard error and with paired differences.

All functions work on *stored* features (float64 arrays of shape ``(N, D)``, one row a picture), because a standard
error and a paired difference need to draw the same rows again and again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 200  # bootstrap draws: the standard error of a standard error is then about 1/sqrt(2*200) = 5 %


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Mean ``(D,)`` and covariance ``(D, D)`` of a set of features."""

    mean: Array
    covariance: Array


def fit(features: Array, weights: Array | None = None) -> Gaussian:
    """Return mean and (unbiased) covariance of ``features`` ``(N, D)``; not finite where features are not.

    Args:
        features: One row a picture.
        weights: ``(N,)`` how often each row counts, a bootstrap's counts; all once when ``None``.

    Raises:
        ValueError: fewer than two rows count, so that there is no covariance.
    """
    counts = np.ones(len(features)) if weights is None else weights
    total = counts.sum()
    if total < 2:
        raise ValueError(f"a covariance needs two pictures or more, got {int(total)}")
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged generator's features: ``distance`` says NaN
        mean = counts @ features / total
        centred = features - mean
        return Gaussian(mean, (centred * counts[:, None]).T @ centred / (total - 1))


def _is_finite(gaussian: Gaussian) -> bool:
    return bool(np.isfinite(gaussian.mean).all() and np.isfinite(gaussian.covariance).all())


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)


def distance(a: Gaussian, b: Gaussian, root_a: Array | None = None) -> float:
    """Return |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2), the squared Fréchet distance.

    Heusel et al. 2017 (arXiv 1706.08500), equation 6. The symmetric product has the same eigenvalues as S_a S_b, and
    is real where ``sqrtm`` of the plain product turns complex on nearly singular covariances. NaN or infinity in, NaN
    out.

    Args:
        a: One set; ``root_a`` is the square root of its covariance, where the caller has it already.
        b: The other set.
        root_a: ``(D, D)``.
    """
    if not (_is_finite(a) and _is_finite(b)):
        return float("nan")
    root = _root(a.covariance) if root_a is None else root_a
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    gap = a.mean - b.mean
    return float(gap @ gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def fid(real: Array, generated: Array) -> float:
    """Return the Fréchet distance of two sets of features ``(N, D)`` and ``(M, D)``."""
    return distance(fit(real), fit(generated))


def bootstrap(real: Array, generated: Sequence[Array], *, seed: int, draws: int = DRAWS) -> Array:
    """Return ``(draws, len(generated))`` distances on resampled rows, all generators drawing the same rows.

    Every draw takes one sample of the real rows and one sample of latent indices for all generators: row i of each
    array must come from the same latent. That makes differences between columns paired.

    Args:
        real: ``(N, D)``.
        generated: Arrays ``(M, D)`` of one length M.
        seed: Of the resampling.
        draws: Rows of the result.

    Raises:
        ValueError: the arrays differ in length, so that their rows cannot belong together.
    """
    lengths = {len(features) for features in generated}
    if len(lengths) != 1:
        raise ValueError(f"paired generators need the same latents, got {sorted(lengths)} pictures")
    (count,) = lengths
    rng = np.random.default_rng(seed)
    result = np.empty((draws, len(generated)))
    for row in result:
        reals = fit(real, _counts(rng, len(real)))
        root = _root(reals.covariance) if _is_finite(reals) else None
        weights = _counts(rng, count)
        row[:] = [distance(reals, fit(features, weights), root) for features in generated]
    return result


def _counts(rng: np.random.Generator, n: int) -> Array:
    return np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)


def centred_interval(value: float, draws: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``draws``, moved so that it is centred like ``value``.

    A resampled Fréchet distance is biased upwards (fewer distinct rows), much the same in every draw; moving the
    draws' mean onto the value takes that bias out.
    """
    low, high = np.percentile(draws - draws.mean(), (2.5, 97.5))
    return float(value + low), float(value + high)
