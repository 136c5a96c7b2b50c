"""Does a calibration help? With and without, on groups it has not seen, and a verdict that knows its direction."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.cross_domain import CrossDomainCalibration
from emofuse.calibration.difference import paired_difference, score
from emofuse.calibration.means import MeanLayer
from emofuse.calibration.per_axis import fit_means
from emofuse.calibration.rows import group_ids, grouped_split, paired
from emofuse.calibration.trainer import SIX, CalibrationTrainer, Loss
from emofuse.config import CalibrationConfig
from emofuse.errors import ConfigError
from emofuse.metrics.significance import Conclusion, conclude, corrected_resampled_ttest, holm_levels, holm_p
from emofuse.metrics.significance.conclusion import BETTER, MARGIN, MIN_EFFECT, WORSE

Results = dict[str, dict[str, Any]]

CENTRES: dict[str, Callable[..., Any]] = {"mae": np.median, "rmse": np.mean}
"""What the hardest constant is of the labels; a constant has no CCC."""


class CalibrationEvaluator:
    """Compares predictions with and without a calibration.

    Args:
        calibration: the kind to fit anew in each split (its l2_reg and tanh) or, for
            `generalisation_test`, the fitted one itself.
        loss: the declared target, "mse", "mae" or "ccc".
        layers: in place of both, the mean calibration of each axis to fit anew in each split.
        names: what is compared: a metric (mae, rmse, ccc) and an axis (v, a, avg).
        seed: of splits.
        alpha: the level of the verdicts, which Holm's correction shares among all names.
        margin: differences within it, in units of the metric, count as equivalent.
        min_effect: smaller differences are called neither better nor worse.
    """

    def __init__(
        self,
        calibration: CrossDomainCalibration | None = None,
        *,
        loss: Loss = "mse",
        layers: CalibrationConfig | None = None,
        names: Sequence[str] = SIX,
        seed: int = 0,
        alpha: float = 0.05,
        margin: float = MARGIN,
        min_effect: float = MIN_EFFECT,
    ) -> None:
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie within (0, 1); got {alpha}")
        self.calibration = CrossDomainCalibration() if calibration is None else calibration
        self.loss, self.seed = loss, seed
        self.alpha, self.margin, self.min_effect = alpha, margin, min_effect
        self.layers, self.names = layers, tuple(names)

    def ablation_study(
        self,
        predictions: ArrayLike,
        labels: ArrayLike,
        n_runs: int = 5,
        groups: ArrayLike | None = None,
        test: ArrayLike | None = None,
    ) -> Results:
        """With against without, and against a constant, where all are evaluated on groups that no fit has seen.

        On the rows beside the test set the calibration is fitted once, and their labels give the constants (the
        median for the MAE, the mean for the RMSE). The test set is evaluated once: Student's t over groups
        (`paired_difference`) gives intervals and p-values, and all names are a family under Holm's correction.
        Beside it, `n_runs` grouped splits of the rest show how much the fit itself varies; they overlap, so
        their t-test is the corrected one.

        Args:
            predictions: (N, 2), reference scale; rows that lack a value are left out.
            labels: (N, 2), reference scale.
            n_runs: splits of the rest, at least 2.
            groups: (N,), what must not be split; by default every row is its own.
            test: bool (N,), the test set; by default a fifth of the groups is set aside.

        Returns:
            For each name: `without`, `with`, `difference` (with minus without) and its `ci_low`, `ci_high` at the
            level that Holm's correction leaves it, on the test set; `p` and `p_holm`; `significant`, true only for an
            improvement; `worse`, true only for a loss; `verdict`, of `significance.conclude`; `n`, `n_groups`,
            `n_effective_groups`, `df`, `mde`. Where the metric has a constant, `constant`, its score, and
            `versus_constant`, the same of with minus constant. `runs`, the difference of each split; `t`,
            `p_resampled`, `p_resampled_holm` of the corrected t-test; `effect_size`, mean / standard deviation
            (n - 1) of `runs`.

        Raises:
            ConfigError: if `n_runs` is below 2.
            DataError: for other shapes or scales, or too few groups.
        """
        if n_runs < 2:
            raise ConfigError(f"n_runs must be at least 2; got {n_runs}")
        y, x = paired(labels, predictions)
        ids = group_ids(groups, len(y))
        whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
        apart = None if test is None else np.asarray(test, dtype=bool)[whole]
        y, x, ids = y[whole], x[whole], ids[whole]
        rest, held = grouped_split(ids, 0.2, self.seed) if apart is None else (~apart, apart)
        moved = self._fitted(y[rest], x[rest]).apply(x[held])
        results = self._evaluate(y[held], x[held], moved, ids[held])
        self._add_constants(results, y[rest], y[held], moved, ids[held])
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

    def _fitted(self, y: np.ndarray, x: np.ndarray) -> MeanLayer:
        if self.layers is not None:
            return fit_means(self.layers, y, x)
        fresh = copy.copy(self.calibration)
        for axis in (0, 1):
            fresh.set(axis, 1.0, 0.0)
        CalibrationTrainer(fresh, self.loss).fit(x, y, val_split=0)
        return fresh

    def _runs(self, y: np.ndarray, x: np.ndarray, ids: np.ndarray, n_runs: int) -> tuple[Results, tuple[int, int]]:
        runs: dict[str, Any] = {name: [] for name in self.names}
        fitted, held = np.arange(0), np.arange(0)
        for run in range(n_runs):
            fitted, held = grouped_split(ids, 0.2, self.seed + 1 + run)
            moved = self._fitted(y[fitted], x[fitted]).apply(x[held])
            for name in self.names:
                runs[name].append(score(name, y[held], moved) - score(name, y[held], x[held]))
        return runs, (len(np.unique(ids[fitted])), len(np.unique(ids[held])))

    def _add_runs(self, results: Results, runs: dict[str, Any], sizes: tuple[int, int]) -> None:
        tests = {name: _t_test(np.array(runs[name]), *sizes) for name in self.names}
        adjusted = holm_p([tests[name][1] for name in self.names])
        for name, p in zip(self.names, adjusted, strict=True):
            t, raw = tests[name]
            results[name] |= {"t": t, "p_resampled": raw, "p_resampled_holm": float(p)}
            results[name] |= {"runs": runs[name], "effect_size": effect_size(runs[name])}

    def _evaluate(self, y: np.ndarray, x: np.ndarray, moved: np.ndarray, ids: np.ndarray) -> Results:
        compared = self._compared(self.names, y, moved, dict.fromkeys(self.names, x), ids)
        ends = {name: {"without": score(name, y, x), "with": score(name, y, moved)} for name in self.names}
        return {name: ends[name] | compared[name] for name in self.names}

    def _add_constants(
        self, results: Results, known: np.ndarray, y: np.ndarray, moved: np.ndarray, ids: np.ndarray
    ) -> None:
        """Compare with the constants that the labels `known` give, where the metric has any."""
        names = [name for name in self.names if name.split("_")[0] in CENTRES]
        constants = {name: np.full_like(y, CENTRES[name.split("_")[0]](known, axis=0)) for name in names}
        for name, entry in self._compared(names, y, moved, constants, ids).items():
            results[name] |= {"constant": score(name, y, constants[name]), "versus_constant": entry}

    def _compared(
        self, names: Sequence[str], y: np.ndarray, moved: np.ndarray, others: dict[str, np.ndarray], ids: np.ndarray
    ) -> Results:
        found = [paired_difference(name, y, moved, others[name], ids) for name in names]
        p = [each.p for each in found]
        results = {}
        for name, each, level, adjusted in zip(names, found, holm_levels(p, self.alpha), holm_p(p), strict=True):
            lower = not name.startswith("ccc")
            options: dict[str, Any] = {"margin": self.margin, "min_effect": self.min_effect, "level": float(level)}
            results[name] = _entry(conclude(each, lower_is_better=lower, **options), float(adjusted))
        return results


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
        "n_effective_groups": found.n_effective_groups,
        "df": found.df,
        "mde": found.minimum_detectable,
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
