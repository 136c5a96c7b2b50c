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
from emofuse.metrics import accuracy
from emofuse.metrics.resampling.pairs import Statistic, compare
from emofuse.metrics.significance import corrected_resampled_ttest, holm, paired_bootstrap, paired_permutation

Results = dict[str, dict[str, Any]]


class CalibrationEvaluator:
    """Compares predictions with and without a calibration.

    Args:
        calibration: the kind to fit anew in each split (its l2_reg and tanh) or, for
            `generalisation_test`, the fitted one itself.
        loss: the declared target, "mse", "mae" or "ccc".
        seed: of splits and resamples.
        resamples: of bootstrap and permutation.
        alpha: the level of a verdict after Holm's correction; the intervals are of 1 - alpha.
        least_effect: improvements up to this, in units of the metric, are not worth having.
    """

    def __init__(
        self,
        calibration: CrossDomainCalibration | None = None,
        *,
        loss: Loss = "mse",
        seed: int = 0,
        resamples: int = 2000,
        alpha: float = 0.05,
        least_effect: float = 0.0,
    ) -> None:
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie within (0, 1); got {alpha}")
        self.calibration = CrossDomainCalibration() if calibration is None else calibration
        self.loss, self.seed, self.resamples = loss, seed, resamples
        self.alpha, self.least_effect = alpha, least_effect

    def ablation_study(
        self, predictions: ArrayLike, labels: ArrayLike, n_runs: int = 5, groups: ArrayLike | None = None
    ) -> Results:
        """With against without, where both are evaluated on groups that no fit has seen.

        A fifth of the groups is set aside as the test set. On the rest the calibration is fitted once, and
        the test set is evaluated once: a paired bootstrap of groups gives the intervals, a permutation test of
        what each group contributes (`jackknife_pseudovalues`) the p-values, and Holm's correction goes over all six.
        Beside it, `n_runs` grouped splits of the rest show how much the fit itself varies; they overlap, so
        their t-test is the corrected one.

        Args:
            predictions: (N, 2), reference scale; rows that lack a value are left out.
            labels: (N, 2), reference scale.
            n_runs: splits of the rest, at least 2.
            groups: (N,), what must not be split; by default every row is its own.

        Returns:
            For each of mae_v, mae_a, mae_avg, ccc_v, ccc_a, ccc_avg: `without`, `with`, `difference` (with
            minus without) and its `ci_low`, `ci_high`, on the test set; `p` and `p_holm` of the permutation
            test; `runs`, the difference of each split; `t`, `p_resampled`, `p_resampled_holm` of the
            corrected t-test; `effect_size`, mean / standard deviation (n - 1) of `runs`; `significant`, true
            only for an improvement; `worse`, true only for a loss; `verdict` in words; `n`, `n_groups`.

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
        adjusted = holm([tests[name][1] for name in SIX])
        for name, p in zip(SIX, adjusted, strict=True):
            t, raw = tests[name]
            results[name] |= {"t": t, "p_resampled": raw, "p_resampled_holm": float(p)}
            results[name] |= {"runs": runs[name], "effect_size": effect_size(runs[name])}

    def _evaluate(self, y: np.ndarray, x: np.ndarray, moved: np.ndarray, ids: np.ndarray) -> Results:
        before, after = six_scores(y, x), six_scores(y, moved)
        tests = {name: self._test(name, y, moved, x, ids) for name in SIX}
        adjusted = holm([tests[name]["p"] for name in SIX])
        results = {}
        for name, p_holm in zip(SIX, adjusted, strict=True):
            entry = {"without": before[name], "with": after[name], **tests[name], "p_holm": float(p_holm)}
            results[name] = entry | self._verdict(name, entry)
        return results

    def _test(self, name: str, y: np.ndarray, a: np.ndarray, b: np.ndarray, ids: np.ndarray) -> dict[str, Any]:
        metric, axis = name.split("_")
        statistic = accuracy.mae if metric == "mae" else accuracy.concordance
        if axis != "avg":
            column = "va".index(axis)
            y, a, b = y[:, column], a[:, column], b[:, column]
        elif metric == "mae":
            # The mean over axes of |error| is itself an error per row, from zero.
            y, a, b = np.zeros(len(y)), np.abs(a - y).mean(axis=1), np.abs(b - y).mean(axis=1)
        else:
            statistic = _average_concordance
        kwargs: dict[str, Any] = {"resamples": self.resamples, "rng": self.seed}
        interval = paired_bootstrap(y, a, b, statistic, ids, confidence=1 - self.alpha, **kwargs)
        pulls = jackknife_pseudovalues(y, a, b, statistic, ids)
        p = paired_permutation(np.zeros_like(pulls), pulls, np.zeros_like(pulls), accuracy.bias, **kwargs).p
        return {
            "difference": float(interval.difference),
            "ci_low": float(interval.ci_low),
            "ci_high": float(interval.ci_high),
            "p": float(p),
            "n": interval.n,
            "n_groups": interval.n_groups,
        }

    def _verdict(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        sign = -1 if name.startswith("mae") else 1
        ends = sorted((sign * entry["ci_low"], sign * entry["ci_high"]))
        shown = entry["p_holm"] < self.alpha
        better, worse = bool(shown and ends[0] > self.least_effect), bool(shown and ends[1] < 0)
        verdict = "better" if better else "worse" if worse else "not shown"
        return {"significant": better, "worse": worse, "verdict": verdict}


def jackknife_pseudovalues(
    truth: np.ndarray, a: np.ndarray, b: np.ndarray, statistic: Statistic, groups: np.ndarray
) -> np.ndarray:
    """What each group contributes to statistic(a) - statistic(b): jackknife pseudo-values, (n_groups,).

    Of very many groups, bundles of them take their place, as wherever groups are resampled.

    Their signs are flipped in place of exchanging the predictors. For the MAE that is the same test. For the
    CCC it asks whether its difference is 0, where exchanging asks whether the predictors could be one: a
    calibration shifts them apart, so that mixtures of the two have any CCC, and no gain would ever be shown.

    Source: Tukey 1958 for pseudo-values.
    """
    pair = compare(truth, a, b, statistic, groups)
    n = pair.n_units
    return np.asarray(n * pair.observed() - (n - 1) * pair.jackknife())[:, 0]


def effect_size(differences: ArrayLike) -> float:
    """Cohen's d of paired differences, mean / standard deviation with n - 1; NaN where they do not vary."""
    d = np.asarray(differences, dtype=np.float64)
    spread = d.std(ddof=1) if len(d) > 1 else 0.0
    return float(d.mean() / spread) if spread > 0 else float("nan")


def _average_concordance(truth: ArrayLike, mean: ArrayLike) -> float:
    return float(np.mean(accuracy.concordance(truth, mean)))


def _t_test(differences: np.ndarray, n_train: int, n_test: int) -> tuple[float, float]:
    if not np.isfinite(differences).all():
        return float("nan"), float("nan")
    return corrected_resampled_ttest(differences, n_train, n_test)
