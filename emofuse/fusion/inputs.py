"""Inputs of a fusion rule made uniform, and its result.

Experts stand on the first axis, `(K, ...)`, typically `(2, N, 2)`: scene and face, rows,
valence and arousal. Every element of the rest is joined by itself. What an expert does not
know is NaN: a NaN mean is a missing expert, and a NaN, zero, negative or infinite variance is
an unknown one. Each rule keeps the same table of cases:

| experts with a mean | their variances                | result                                      |
| ------------------- | ------------------------------ | ------------------------------------------- |
| none                |                                | not valid, NaN                              |
| one                 | known                          | that expert, mean and variance unchanged    |
| several             | all known                      | the rule                                    |
| any                 | unknown, `pooled` given        | as if known, `source` says "pooled"         |
| several             | some unknown, nothing pooled   | the known alone: unknown is infinitely wide |
| any                 | all unknown, nothing pooled    | equal weights, and the variance is NaN      |

Rules whose weights do not come from variances (fixed, equal, constant) differ in the last two
rows only: weights stay as they are, and the variance is NaN if one of those used is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Fused:
    """The fused estimate; `...` is the shape of the input without its first axis.

    Attributes:
        mean: float64 (...), reference scale; NaN where not valid.
        variance: float64 (...), sigma squared; NaN where unknown.
        weights: float64 (K, ...), summing to 1 over the experts; 0 for one left out, NaN where not valid.
        valid: bool (...), whether any expert had a prediction.
        source: str (K, ...), where each expert's variance came from: "model", "pooled" or "none".
        q: float64 (...), Cochran's Q of the disagreement; random effects only.
        tau2: float64 (...), variance between experts; random effects only.
    """

    mean: np.ndarray
    variance: np.ndarray
    weights: np.ndarray
    valid: np.ndarray
    source: np.ndarray
    q: np.ndarray | None = None
    tau2: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ExpertPredictions:
    """The experts' means and variances without NaN, with masks of what was missing."""

    mean: np.ndarray
    variance: np.ndarray
    raw_variance: np.ndarray
    present: np.ndarray
    known: np.ndarray
    source: np.ndarray

    @classmethod
    def of(cls, mean: ArrayLike, variance: ArrayLike, floor: float, pooled: ArrayLike | None) -> ExpertPredictions:
        """The predictions of experts (K, ...), variances raised to `floor` and filled from `pooled`, (K,) or (K, A).

        Raises:
            ConfigError: if `floor` is not above 0.
            ValueError: if the shapes do not fit.
        """
        if not floor > 0:
            raise ConfigError(f"the variance floor must be above 0; got {floor}")
        m = np.asarray(mean, dtype=np.float64)
        v = np.asarray(variance, dtype=np.float64)
        if m.ndim < 1 or m.shape != v.shape:
            raise ValueError(f"mean and variance must have one shape (K, ...); got {m.shape} and {v.shape}")
        present = np.isfinite(m)
        raw, source = with_pooled(m, v, per_expert("pooled", np.nan if pooled is None else pooled, m.shape))
        known = source != "none"
        plain = np.where(known, np.maximum(raw, floor), 1.0)
        return cls(np.where(present, m, 0.0), plain, raw, present, known, source)

    @property
    def used(self) -> np.ndarray:
        """Experts that a variance-weighted rule uses: those of known variance, or all if none is known."""
        return np.where(self.known.any(axis=0), self.known, self.present)

    def join(self, share: np.ndarray, variance: np.ndarray, **extra: np.ndarray) -> Fused:
        """Weighted by `share` (0 for an expert left out), errors taken as independent."""
        total = share.sum(axis=0)
        weights = np.where(self.present.any(axis=0), share / np.where(total == 0, 1.0, total), np.nan)
        return self.linear(weights, (weights**2 * variance).sum(axis=0), **extra)

    def linear(self, weights: np.ndarray, variance: np.ndarray, **extra: np.ndarray) -> Fused:
        """The combination by `weights`; a lone expert's variance is passed through as it came."""
        valid = np.asarray(self.present.any(axis=0))
        used = (weights != 0) & self.present
        lone = np.where(used, self.raw_variance, 0.0).sum(axis=0)
        spread = np.where(used.sum(axis=0) == 1, lone, variance)
        spread = np.where(valid & ~(used & ~self.known).any(axis=0), spread, np.nan)
        mean = np.where(valid, (weights * self.mean).sum(axis=0), np.nan)
        return Fused(mean, spread, weights, valid, self.source, **extra)


def usable(variance: np.ndarray) -> np.ndarray:
    """Where a variance is known: finite and above 0."""
    return np.isfinite(variance) & (variance > 0)


def with_pooled(mean: np.ndarray, variance: np.ndarray, pooled: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Variances where there is a mean, the pooled ones where unknown, and their source: "model", "pooled", "none".

    Args:
        mean: (...), NaN = no prediction.
        variance: (...), not usable = unknown.
        pooled: broadcasts to them; not usable = unknown too.
    """
    present, p = np.isfinite(mean), np.broadcast_to(np.asarray(pooled, dtype=np.float64), np.shape(mean))
    model = present & usable(variance)
    from_pool = present & ~model & usable(p)
    source = np.where(model, "model", np.where(from_pool, "pooled", "none"))
    return np.where(model, variance, np.where(from_pool, p, np.nan)), source


def per_expert(name: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Values per expert, (), (K,), (K, A) or (K, ...) whole, broadcast to `shape` = (K, ..., A)."""
    x = np.asarray(values, dtype=np.float64)
    if 0 < x.ndim < len(shape):
        x = x.reshape(x.shape[0], *(1,) * (len(shape) - x.ndim), *x.shape[1:])
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise ValueError(
            f"{name} must be (K,) or (K, A) for experts of shape {shape}; got {np.shape(values)}"
        ) from None
