"""An axis and an expert of its own kind: what each column is, where variances come from, and storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emofuse.calibration import Calibration, VarianceScaling, fit_calibration, fit_mean
from emofuse.calibration.per_axis import fit_means, fit_variances
from emofuse.config import CalibrationConfig
from emofuse.errors import ConfigError

MIXED = CalibrationConfig(mean=("linear", "constant"), loss="mae", l2=(1e-4, 1e-2), variance=("scaling", "affine"))


def data(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.clip(0.4 * rng.normal(size=(n, 2)), -1, 1)
    mean = 0.5 * truth + 0.2 + 0.2 * rng.normal(size=(n, 2))
    return truth, mean, np.full((n, 2), 0.01)


def test_each_axis_is_what_its_own_kind_gives() -> None:
    truth, mean, variance = data()
    moved, spread = fit_means(MIXED, truth, mean).apply(mean, variance)
    linear = fit_mean("linear", truth, mean, loss="mae").apply(mean, variance)
    np.testing.assert_array_equal(moved[:, 0], linear[0][:, 0])
    np.testing.assert_array_equal(spread[:, 0], linear[1][:, 0])
    np.testing.assert_array_equal(moved[:, 1], np.median(truth[:, 1]))
    assert np.isnan(spread[:, 1]).all()


@pytest.mark.parametrize(("loss", "centre"), [("mae", np.median), ("mse", np.mean)])
def test_a_constant_is_the_median_or_the_mean(loss: str, centre: object) -> None:
    truth, mean, _ = data()
    mean[5] = np.nan
    moved = fit_mean("constant", truth, mean, loss=loss).apply(mean)  # type: ignore[arg-type]
    assert np.isnan(moved[5]).all()
    np.testing.assert_allclose(moved[6], centre(np.delete(truth, 5, axis=0), axis=0))  # type: ignore[operator]


def test_a_variance_is_fitted_for_each_axis_that_has_one() -> None:
    truth, mean, variance = data()
    variance[:, 1] = np.nan
    layer = fit_variances(MIXED, truth, mean, variance)
    assert layer is not None
    served = layer.apply(variance)
    alone = VarianceScaling().fit(truth[:, 0], mean[:, 0], variance[:, 0])
    np.testing.assert_array_equal(served[:, 0], alone.apply(variance[:, 0]))
    assert np.isnan(served[:, 1]).all()
    assert fit_variances(MIXED, truth, mean, np.full_like(variance, np.nan)) is None


def test_experts_of_their_own_kinds_are_stored_and_served(tmp_path: Path) -> None:
    truth, mean, variance = data()
    experts = {"scene": (mean, variance), "face": (mean[::-1], variance)}
    plain = CalibrationConfig(mean="affine", variance="scaling")
    made = fit_calibration(truth, experts, {"scene": plain, "face": MIXED}, split="valid", fingerprint="f")
    made.save(tmp_path / "calibration.json")
    loaded = Calibration.load(tmp_path / "calibration.json")
    assert loaded.config == {"scene": plain, "face": MIXED}
    for name, each in experts.items():
        for before, after in zip(made.apply(name, *each), loaded.apply(name, *each), strict=True):
            np.testing.assert_array_equal(before, after)
    # One answer alone, as a live stream gives them.
    for whole, one in zip(
        loaded.apply("face", *experts["face"]), loaded.apply("face", mean[-1], variance[0]), strict=True
    ):
        np.testing.assert_array_equal(whole[0], one)
    source = loaded.apply("face", *experts["face"])[2]
    # No error of the expert reaches a constant, so its variance is the pooled one.
    assert set(source[:, 0]) == {"model"}
    assert set(source[:, 1]) == {"pooled"}
    with pytest.raises(ConfigError, match="no layers for expert 'face'; given for scene"):
        fit_calibration(truth, experts, {"scene": plain}, split="valid", fingerprint="f")
