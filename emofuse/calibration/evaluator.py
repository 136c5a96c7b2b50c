"""Does a calibration help? With and without, on groups it has not seen, and a verdict that knows its direction."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.cross_domain import CrossDomainCalibration
from emofuse.calibration.rows import group_ids, grouped_split, paired
from emofuse.calibration.trainer import SIX, CalibrationTrainer, Loss, six_scores
from emofuse.errors import ConfigError
from emofuse.metrics.significance import (
    Conclusion,
    Inference,
    conclude_family,
    corrected_resampled_ttest,
    holm_p,
    jackknife_difference,
    ratio_mean,
)
from emofuse.metrics.significance.conclusion import BETTER, MIN_EFFECT, WORSE

Results = dict[str, dict[str, Any]]


class CalibrationEvaluator:
    """Compares predictions with and without a calibration.

    Args:
        calibration: the kind to fit anew in each split (its l2_reg and tanh) or, for
            `generalisation_test`, the fitted one itself.
        loss: the declared target, "mse", "mae" or "ccc".
        seed: of splits.
        alpha: the level of the verdicts, which Holm's correction shares between the three of a metric.
        min_effect: smaller differences, in units of the metric, are called neither better nor worse.
    """

    def __init__(
        self,
        calibration: CrossDomainCalibration | None = None,
        *,
        loss: Loss = "mse",
        seed: int = 0,
        alpha: float = 0.05,
        min_effect: float = MIN_EFFECT,
    ) -> None:
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie within (0, 1); got {alpha}")
        self.calibration = CrossDomainCalibration() if calibration is None else calibration
        self.loss, self.seed = loss, seed
        self.alpha, self.min_effect = alpha, min_effect

    def ablation_study(
        self, predictions: ArrayLike, labels: ArrayLike, n_runs: int = 5, groups: ArrayLike | None = None
    ) -> Results:
        """With against without, where both are evaluated on groups that no fit has seen.

        A fifth of the groups is set aside as the test set. On the rest the calibration is fitted once, and
        the test set is evaluated once: Student's t over groups gives intervals and p-values, of MAE by `ratio_mean`
        and of CCC by `jackknife_difference`, and the three of each metric are a family under Holm's correction.
        Beside it, `n_runs` grouped splits of the rest show how much the fit itself varies; they overlap, so
        their t-test is the corrected one.

        Args:
            predictions: (N, 2), reference scale; rows that lack a value are left out.
            labels: (N, 2), reference scale.
            n_runs: splits of the rest, at least 2.
            groups: (N,), what must not be split; by default every row is its own.

        Returns:
            For each of mae_v, mae_a, mae_avg, ccc_v, ccc_a, ccc_avg: `without`, `with`, `difference` (with
            minus without) and its `ci_low`, `ci_high` at the level that Holm's correction leaves it, on the
            test set; `p` and `p_holm`; `runs`, the difference of each split; `t`, `p_resampled`,
            `p_resampled_holm` of the corrected t-test; `effect_size`, mean / standard deviation (n - 1) of `runs`;
            `significant`, true only for an improvement; `worse`, true only for a loss; `verdict`, of
            `significance.conclude`; `n`, `n_groups`.

        Raises:
            ConfigError: if `n_runs` is below 2.
            DataError: for other shapes or scales, or too few groups.
        """
        if n_runs < 2:
            raise ConfigError(f"n_runs must be at least 2; got {n_runs}")
        y, x = paired(labels, predictions)
        ids = group_ids(groups, len(y))
        whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
        y, x, ids = y[whole], x[whole], ids[whole]
        rest, test = grouped_split(ids, 0.2, self.seed)
        results = self._evaluate(y[test], x[test], self._fitted(y[rest], x[rest]).apply(x[test]), ids[test])
        runs, sizes = self._runs(y[rest], x[rest], ids[rest], n_runs)
        self._add_runs(results, runs, sizes)
        return results

    def generalisation_test(
        self, predictions: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None
    ) -> Results:
        """The calibration as it is, fitted elsewhere, on all complete rows of another data set.

        Returns:
            As `ablation_study`, without what comes of repeated splits.
        """
        y, x = paired(labels, predictions)
        whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
        ids = group_ids(groups, len(y))
        return self._evaluate(y[whole], x[whole], self.calibration.apply(x[whole]), ids[whole])

    def _fitted(self, y: np.ndarray, x: np.ndarray) -> CrossDomainCalibration:
        fresh = copy.copy(self.calibration)
        for axis in (0, 1):
            fresh.set(axis, 1.0, 0.0)
        CalibrationTrainer(fresh, self.loss).fit(x, y, val_split=0)
        return fresh

    def _runs(self, y: np.ndarray, x: np.ndarray, ids: np.ndarray, n_runs: int) -> tuple[Results, tuple[int, int]]:
        runs: dict[str, Any] = {name: [] for name in SIX}
        fitted, held = np.arange(0), np.arange(0)
        for run in range(n_runs):
            fitted, held = grouped_split(ids, 0.2, self.seed + 1 + run)
            after = six_scores(y[held], self._fitted(y[fitted], x[fitted]).apply(x[held]))
            before = six_scores(y[held], x[held])
            for name in SIX:
                runs[name].append(after[name] - before[name])
        return runs, (len(np.unique(ids[fitted])), len(np.unique(ids[held])))

    def _add_runs(self, results: Results, runs: dict[str, Any], sizes: tuple[int, int]) -> None:
        tests = {name: _t_test(np.array(runs[name]), *sizes) for name in SIX}
        adjusted = holm_p([tests[name][1] for name in SIX])
        for name, p in zip(SIX, adjusted, strict=True):
            t, raw = tests[name]
            results[name] |= {"t": t, "p_resampled": raw, "p_resampled_holm": float(p)}
            results[name] |= {"runs": runs[name], "effect_size": effect_size(runs[name])}

    def _evaluate(self, y: np.ndarray, x: np.ndarray, moved: np.ndarray, ids: np.ndarray) -> Results:
        before, after = six_scores(y, x), six_scores(y, moved)
        results = {}
        for metric, compared in (("mae", _mae_differences), ("ccc", _ccc_differences)):
            found = compared(y, moved, x, ids)
            options: dict[str, Any] = {"min_effect": self.min_effect, "level": self.alpha}
            said = conclude_family(found, lower_is_better=metric == "mae", **options)
            adjusted = holm_p([each.p for each in found])
            for axis, each, p in zip(("v", "a", "avg"), said, adjusted, strict=True):
                name = f"{metric}_{axis}"
                results[name] = {"without": before[name], "with": after[name]} | _entry(each, float(p))
        return results


def _mae_differences(y: np.ndarray, a: np.ndarray, b: np.ndarray, ids: np.ndarray) -> list[Inference]:
    """Of valence, of arousal, and of their mean."""
    losses = np.abs(a - y) - np.abs(b - y)
    found = ratio_mean(np.column_stack([losses, losses.mean(axis=1)]), ids)
    return [found.at(k) for k in range(3)]


def _ccc_differences(y: np.ndarray, a: np.ndarray, b: np.ndarray, ids: np.ndarray) -> list[Inference]:
    """Of valence, of arousal, and of their mean."""
    parts = [(y[:, k], a[:, k], b[:, k]) for k in (0, 1)] + [(y, a, b)]
    return [jackknife_difference(truth, one, other, ids, metrics=["ccc"])["ccc"] for truth, one, other in parts]


def _entry(said: Conclusion, p_holm: float) -> dict[str, Any]:
    found = said.difference
    return {
        "difference": found.estimate,
        "ci_low": said.low,
        "ci_high": said.high,
        "p": found.p,
        "p_holm": p_holm,
        "n": found.n,
        "n_groups": found.n_groups,
        "significant": said.word == BETTER,
        "worse": said.word == WORSE,
        "verdict": said.word,
    }


def effect_size(differences: ArrayLike) -> float:
    """Cohen's d of paired differences, mean / standard deviation with n - 1; NaN where they do not vary."""
    d = np.asarray(differences, dtype=np.float64)
    spread = d.std(ddof=1) if len(d) > 1 else 0.0
    return float(d.mean() / spread) if spread > 0 else float("nan")


def _t_test(differences: np.ndarray, n_train: int, n_test: int) -> tuple[float, float]:
    if not np.isfinite(differences).all():
        return float("nan"), float("nan")
    return corrected_resampled_ttest(differences, n_train, n_test)
