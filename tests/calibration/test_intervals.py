"""Conformal intervals of groups and of what is fused: by hand, and what they cover."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from emofuse.calibration import Calibration, ConformalIntervals, fit_calibration
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import ConfigError
from emofuse.fusion.select import fuse


def test_rows_share_the_weight_of_their_group() -> None:
    # By hand: groups a (.1 .2 .3 .4), b (.5), c (.6), d (.7), each of weight 1. With the new one they are five:
    # .5 asks for 2.5, which a, b and c have at .6; .3 for 1.5 and .24 for 1.2, at .5; .8 for 4, at .7.
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    levels = (0.15, 0.24, 0.3, 0.5, 0.8, 0.81)
    fitted = ConformalIntervals.fit(scores, np.zeros(7), np.ones(7), levels, groups=list("aaaabcd"))
    # .15 asks for .75, which three of a's four rows have.
    assert fitted.quantiles.tolist() == [0.3, 0.5, 0.5, 0.6, 0.7, math.inf]
    assert int(fitted.n) == 4
    alone = ConformalIntervals.fit(scores, np.zeros(7), np.ones(7), (0.5, 0.8))
    assert alone.quantiles.tolist() == [0.4, 0.7]  # the 4th and the 7th of seven, k = ceil(8 level)


def drawn(groups: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors of groups of 1 or 20 rows; the rows of a group are alike, and large groups are easy."""
    size = np.where(rng.random(groups) < 0.5, 1, 20)
    hard = np.where(size == 1, 1.0, 0.3) * np.exp(0.5 * rng.normal(size=groups))
    names = np.repeat(np.arange(groups), size)
    return hard[names] * rng.normal(size=len(names)), names


def test_a_row_of_a_new_group_is_covered_where_rows_taken_alike_are_not() -> None:
    rng = np.random.default_rng(0)
    grouped, pooled = [], []
    for _ in range(300):
        errors, names = drawn(39, rng)
        new, of = drawn(60, rng)
        one = np.array([rng.choice(new[of == k]) for k in range(60)])
        for found, groups in ((grouped, names), (pooled, None)):
            q = ConformalIntervals.fit(errors, np.zeros_like(errors), np.ones_like(errors), (0.9,), groups).quantile(
                0.9
            )
            found.append((np.abs(one) <= q).mean())
    # At least .9 and at most 2 / (39 + 1) above it; three standard errors of the mean of 300 runs are below .013.
    assert 0.9 - 0.013 <= np.mean(grouped) <= 0.95 + 0.013
    assert np.mean(pooled) < 0.87


def test_with_one_row_a_group_the_coverage_is_beta() -> None:
    # n = 99, level .9: k = 90, coverage of each fit ~ Beta(90, 10), mean .9, standard deviation .0298.
    rng = np.random.default_rng(1)
    q = [
        float(
            ConformalIntervals.fit(rng.normal(size=99), np.zeros(99), np.ones(99), (0.9,), np.arange(99)).quantiles[0]
        )
        for _ in range(1500)
    ]
    covered = 2 * norm.cdf(q) - 1
    assert covered.mean() == pytest.approx(0.9, abs=4 * 0.0298 / math.sqrt(1500))
    assert covered.std() == pytest.approx(0.0298, rel=0.1)


def test_a_level_between_those_fitted_is_served_by_the_next_above() -> None:
    fitted = ConformalIntervals.fit(np.arange(1, 200) / 200, np.zeros(199), np.ones(199))
    assert fitted.quantile(0.903) == fitted.quantile(0.91) == pytest.approx(182 / 200)
    assert fitted.quantile(0.9) == pytest.approx(180 / 200)
    for level in (0.42, 0.995):
        with pytest.raises(ConfigError, match=rf"level {level}; fitted from 0\.5 to 0\.99"):
            fitted.quantile(level)


def experts(n: int, seed: int) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Two experts whose errors correlate .8; each is absent on a fifth of the rows; four rows a group."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 4
    truth = np.clip(0.3 * rng.normal(size=(n, 2)), -0.8, 0.8)
    shared = 0.6 * rng.normal(size=(n, 2)) + 0.4 * rng.normal(size=(n // 4, 2))[groups]
    made = {name: truth + 0.15 * (2 * shared + rng.normal(size=(n, 2))) / math.sqrt(3) for name in ("scene", "face")}
    made["scene"][::5] = np.nan
    made["face"][1::5] = np.nan
    return truth, {name: (mean, np.full_like(mean, 0.0225)) for name, mean in made.items()}, groups


def fitted(n: int = 2000) -> Calibration:
    truth, both, groups = experts(n, 0)
    config, fusion = CalibrationConfig(variance="scaling"), FusionConfig(method="inverse_variance")
    return fit_calibration(truth, both, config, fusion, split="valid", fingerprint="f", groups=groups)


def fused(calibration: Calibration, seed: int) -> tuple[np.ndarray, ...]:
    truth, both, _ = experts(8000, seed)
    moved = [calibration.apply(name, *each) for name, each in both.items()]
    mean, variance = (np.stack([each[k] for each in moved]) for k in (0, 1))
    joined = fuse(mean, variance, calibration.fusion, calibration.fusion_parameters())
    return truth, joined.mean, joined.variance, np.isfinite(mean).all(axis=2)


def test_what_is_fused_is_covered_on_every_kind_of_row_though_the_errors_are_alike(tmp_path: Path) -> None:
    fitted().save(tmp_path / "calibration.json")
    calibration = Calibration.load(tmp_path / "calibration.json")
    truth, mean, variance, present = fused(calibration, 1)
    low, high = calibration.intervals(mean, variance, present, 0.9)
    inside = (low <= truth) & (truth <= high)
    both = present.all(axis=0)
    for kind in (both, present[0] & ~both, present[1] & ~both):
        # 100 to 300 groups fitted: Beta's standard deviation is at most .03, of groups of four at most as much again.
        np.testing.assert_allclose(inside[kind].mean(axis=0), 0.9, atol=0.06)
    half = norm.ppf(0.95) * np.sqrt(variance)
    # The errors' correlation is known and the fused variance is scaled: Gaussian intervals hold where both speak, too.
    assert (np.abs(truth - mean) <= half)[both].mean() == pytest.approx(0.9, abs=0.05)


def test_intervals_stay_on_the_scale_and_say_nothing_where_nobody_speaks() -> None:
    calibration = fitted()
    mean = np.array([[0.9, -0.95], [0.0, 0.0], [np.nan, np.nan]])
    present = np.array([[True, True, False], [True, False, False]])
    low, high = calibration.intervals(mean, np.full((3, 2), 0.04), present, 0.95)
    assert high[0, 0] == 1
    assert low[0, 1] == -1
    np.testing.assert_allclose(low[1], -high[1])
    assert np.isnan(low[2]).all()


def test_a_kind_of_row_with_few_groups_takes_its_expert_s_interval_and_both_the_whole_scale() -> None:
    calibration = fitted(40)
    assert set(calibration.conformal) == {"scene", "face", "both"}
    for name in ("scene", "face"):
        own = calibration.experts[name].conformal
        assert own is not None
        np.testing.assert_array_equal(calibration.conformal[name].quantiles, own.quantiles)
    low, high = calibration.intervals(np.zeros((1, 2)), np.full((1, 2), 0.01), np.ones((2, 1), bool), 0.99)
    assert (low.tolist(), high.tolist()) == ([[-1, -1]], [[1, 1]])


def test_a_shut_gate_makes_a_row_one_of_the_scene_alone() -> None:
    truth, both, groups = experts(2000, 0)
    score = np.where(np.arange(2000) % 2 == 0, 0.9, 0.3)
    fusion = FusionConfig(method="inverse_variance", min_face_score=0.5)
    gated = fit_calibration(
        truth, both, CalibrationConfig(), fusion, split="valid", fingerprint="f", groups=groups, face_score=score,
        luma=np.full(2000, 100.0),
    )  # fmt: skip
    there = np.isfinite(both["scene"][0]).all(axis=1) & np.isfinite(both["face"][0]).all(axis=1) & (score > 0.5)
    assert gated.conformal["both"].n.tolist() == [len(np.unique(groups[there]))] * 2
