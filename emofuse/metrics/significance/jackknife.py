"""Metrics that are no means of rows: Student's t from what they come to without each group in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.axes import columns
from emofuse.metrics.significance.estimate import Inference, check_confidence
from emofuse.metrics.significance.groups import group_numbers
from emofuse.metrics.significance.transforms import FISHER, LOG, PLAIN, Transform, nothing
from emofuse.metrics.sums import SUMMABLE, SummedMetrics

# A difference below this is rounding: the two are equal in that metric.
_ROUNDING = 1e-13
_TRANSFORMS = {"ccc": FISHER, "pearson": FISHER, "rmse": LOG}


def jackknife(
    truth: ArrayLike,
    mean: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = ("rmse", "ccc", "pearson"),
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """Metrics of one system, each by the jackknife-t over groups, on atanh for CCC and Pearson and on log for RMSE.

    Leaving a group out takes its sums from the totals, so the cost is one pass over the rows and one over the
    groups. Degrees of freedom are those of `ratio_mean` for the same group sizes.

    Args:
        truth: labels, (N,), or (N, 2) for the mean of a metric over both axes; a row that lacks any value is left out.
        mean: predictions, of one shape with `truth`.
        groups: names, shape (N,); None: every row is its own group.
        metrics: names of `sums.SUMMABLE`; those not named above on their own scale.
        confidence: of the two-sided intervals.

    Returns:
        By metric. No error with one group, or where the metric is undefined without some group or has no finite
        place on its scale (a correlation of exactly 1, an RMSE of 0). RMSE has no p.

    Raises:
        ValueError: if shapes do not agree, or a metric or the confidence is not as above.

    Source: Tukey 1958; Fisher's z; Lin 1989, Biometrics 45, for atanh of the concordance.
    """
    return _inferred(truth, (mean,), groups, metrics, _TRANSFORMS, confidence)


def jackknife_difference(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = ("rmse", "ccc", "pearson"),
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """metric(a) - metric(b) on the rows that both have, by the plain jackknife-t over groups.

    Args, Returns and Raises: as `jackknife`, with two systems; every difference has a p.
    """
    return _inferred(truth, (a, b), groups, metrics, {}, confidence)


def _inferred(
    truth: ArrayLike,
    means: Sequence[ArrayLike],
    groups: ArrayLike | None,
    metrics: Iterable[str],
    transforms: Mapping[str, Transform],
    confidence: float,
) -> dict[str, Inference]:
    check_confidence(confidence)
    names = _known(metrics)
    y, *sides = columns(truth, *means)
    axes = [np.atleast_2d(values.T) for values in (y, *sides)]
    complete = np.isfinite(axes).all(axis=(0, 1))
    number, _ = group_numbers(groups, len(y))
    number, n_groups = group_numbers(number[complete], int(complete.sum()))
    if not n_groups:
        return {name: nothing(confidence) for name in names}
    truths, *others = ([axis[complete] for axis in values] for values in axes)
    cells = [[(own, axis, number) for own, axis in zip(truths, side, strict=True)] for side in others]
    sums = SummedMetrics(cells, n_groups, names)
    sizes = np.bincount(number, minlength=n_groups).astype(np.float64)
    # The last row is of all groups, those before it without each in turn.
    values = np.vstack([sums.without_each(), sums.observed()]).reshape(n_groups + 1, len(truths), -1).mean(axis=1)
    if len(sides) > 1:
        values[np.abs(values) <= _ROUNDING] = 0
    found = {}
    for name, column in zip(names, values.T, strict=True):
        transform = transforms.get(name, PLAIN)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = _error(transform.there(column[:-1]))
        found[name] = transform.student(column[-1], error, sizes, confidence)
    return found


def _error(left: np.ndarray) -> float:
    return float(np.sqrt((len(left) - 1) / len(left) * np.square(left - left.mean()).sum()))


def _known(metrics: Iterable[str]) -> list[str]:
    names = list(metrics)
    unknown = [name for name in names if name not in SUMMABLE]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(SUMMABLE)}")
    return names
