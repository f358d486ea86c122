"""Fréchet distance of two sets of features, with its standard error and with paired differences.

All functions work on *stored* features (float64 arrays of shape ``(N, D)``, one row a picture), because a standard
error and a paired difference need to draw the same rows again and again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.quality.estimates import NOTHING, Array, Linear, Resampled, mean_moves

BOOTSTRAPPED = 256  # features, at most: a draw of more takes a tenth of a second and longer
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


def measure(
    real: Array, generated: Sequence[Array], *, seed: int, draws: int = DRAWS
) -> list[Resampled] | list[Linear]:
    """Return the distance of every generator to ``real``, so that they can be compared in pairs.

    By bootstrap; of more than ``BOOTSTRAPPED`` features by the derivative of the distance, see ``linear``.

    Args:
        real: ``(N, D)``.
        generated: Arrays ``(M, D)`` of the same latents.
        seed: Of the resampling.
        draws: Of the bootstrap.
    """
    if real.shape[1] > BOOTSTRAPPED:
        return [linear(real, features) for features in generated]
    columns = bootstrap(real, generated, seed=seed, draws=draws).T
    return [Resampled(fid(real, one), len(one), drawn) for one, drawn in zip(generated, columns, strict=True)]


def linear(real: Array, generated: Array) -> Linear:
    """Return the distance of two sets of features, and to first order how much each row of both moved it.

    With T the optimal linear map that takes S_b to S_a (T S_b T = S_a), the derivative of the squared distance by m_b
    is 2 (m_b - m_a) and that by S_b is I - T (Bhatia, Jain & Lim 2019, arXiv 1712.01504), so that row x of b moves it
    by 2 (m_b - m_a).(x - m_b) + (x - m_b)' (I - T) (x - m_b), less the mean of that over b, divided by the number of
    rows: the infinitesimal jackknife. Both sets need more rows than features. NaN where features are not
    finite.
    """
    a, b = fit(real), fit(generated)
    if not (_is_finite(a) and _is_finite(b)):
        return NOTHING
    value = distance(a, b)
    moves = [mean_moves(_influence(generated, b, a)), mean_moves(_influence(real, a, b))]
    return Linear(value, len(generated), np.concatenate(moves))


def _influence(rows: Array, own: Gaussian, other: Gaussian) -> Array:
    """Return ``(N,)``: what each of the ``rows`` that ``own`` was fitted to does to the distance."""
    root = _root(other.covariance)
    values, vectors = np.linalg.eigh(root @ own.covariance @ root)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    scaled = root @ vectors[:, kept]
    centred = rows - own.mean
    through_map = np.square(centred @ scaled) @ (values[kept] ** -0.5)
    influence: Array = 2 * centred @ (own.mean - other.mean) + np.square(centred).sum(axis=1) - through_map
    return influence


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
