"""The cross-domain layer and its trainer: goldens, targets, and the mistakes not to repeat."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from emofuse.calibration import CalibrationTrainer, CrossDomainCalibration, trainer
from emofuse.calibration.linear import least_absolute
from emofuse.errors import ConfigError, DataError
from emofuse.metrics.accuracy import concordance

X = np.array([-0.9, -0.5, -0.1, 0, 0.2, 0.4, 0.7, 0.95])
Y = np.array([-0.4, -0.35, 0.05, 0.1, 0.15, 0.3, 0.35, 0.6])


def both(values):
    return np.column_stack([values, values])


def fitted(loss="mse", x=X, y=Y, **options):
    calibration = CrossDomainCalibration(**options)
    CalibrationTrainer(calibration, loss).fit(both(x), both(y), val_split=0)
    return calibration


def shifted(n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-0.9, 0.9, (n, 2))
    return 0.5 * labels + [0.3, -0.2] + 0.1 * rng.normal(size=(n, 2)), labels


def test_starts_as_the_identity():
    calibration = CrossDomainCalibration(l2_reg=1e-4, use_tanh=False)
    assert calibration.parameters() == {"scale_v": 1.0, "scale_a": 1.0, "shift_v": 0.0, "shift_a": 0.0}
    assert calibration.is_near_identity()
    np.testing.assert_array_equal(calibration(both(X)), both(X))
    calibration.scale_a = 1.2
    assert not calibration.is_near_identity()
    assert calibration.is_near_identity(tolerance=0.25)


@pytest.mark.parametrize(
    ("l2", "scale", "shift"),
    [
        (0, 0.5477998794, 0.0486437613),
        (1e-4, 0.5479408007, 0.0486256874),
        (1e-2, 0.5614694702, 0.0468933041),
        (1e-1, 0.6552202624759678, 0.0350664549),
    ],
)
def test_closed_form_golden_and_against_sklearn(l2, scale, shift):
    calibration = fitted(l2_reg=l2)
    np.testing.assert_allclose(calibration.scale, scale, atol=1e-9)
    np.testing.assert_allclose(calibration.shift, shift, atol=1e-9)
    features = np.column_stack([X, np.ones_like(X)])
    oracle = Ridge(alpha=len(X) * l2, fit_intercept=False, solver="svd").fit(features, Y - X)
    np.testing.assert_allclose([scale - 1, shift], oracle.coef_, atol=1e-9)
    if l2 == 0:
        assert ((calibration(both(X)) - both(Y)) ** 2).mean() == pytest.approx(0.0040155214, abs=1e-10)


def test_strong_penalty_is_the_identity():
    assert fitted(l2_reg=1e9).is_near_identity(1e-6)


def test_variance_golden_of_tanh():
    calibration = CrossDomainCalibration(use_tanh=True)
    calibration.set(0, 1.2, 0.1)
    mean, variance = calibration.apply([0.4, 0.0], [0.02, 0.03])
    assert mean[0] == pytest.approx(np.tanh(0.58), abs=1e-15)
    assert variance[0] == pytest.approx(0.015214, abs=1e-6)
    # Independent: the spread of a million squashed draws (the delta method leaves out higher orders).
    draws = np.tanh(1.2 * np.random.default_rng(0).normal(0.4, np.sqrt(0.02), 1_000_000) + 0.1)
    assert variance[0] == pytest.approx(draws.var(), rel=0.01)
    assert variance[1] == pytest.approx(0.03, abs=1e-15)


def test_affine_variance_and_missing_values():
    calibration = CrossDomainCalibration()
    calibration.set(1, 2.0, 0.5)
    mean, variance = calibration.apply([[0.1, 0.2], [np.nan, 0.1]], [[0.1, 0.1], [0.2, np.nan]])
    np.testing.assert_allclose(mean, [[0.1, 0.9], [np.nan, 0.7]])
    np.testing.assert_allclose(variance, [[0.1, 0.4], [0.2, np.nan]])


@pytest.mark.parametrize("use_tanh", [False, True])
def test_serves_after_loading_as_it_was_trained(tmp_path, use_tanh):
    predictions, labels = shifted()
    calibration = CrossDomainCalibration(l2_reg=1e-3, use_tanh=use_tanh)
    CalibrationTrainer(calibration, "ccc").fit(predictions, labels)
    calibration.save(tmp_path / "c.json")
    loaded = CrossDomainCalibration.load(tmp_path / "c.json")
    np.testing.assert_array_equal(loaded(predictions), calibration(predictions))
    assert (loaded.use_tanh, loaded.l2_reg, loaded.loss) == (use_tanh, 1e-3, "ccc")
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "cannot read"),
        ("[1]", "found 'list'"),
        (json.dumps({"format": "other", "version": 1}), "found 'other'"),
        (json.dumps({"format": "emofuse.cross_domain_calibration", "version": 99}), "version 99"),
        (json.dumps({"format": "emofuse.cross_domain_calibration", "version": 1}), "damaged.*l2_reg"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DataError, match=message):
        CrossDomainCalibration.load(tmp_path / "c.json")
    with pytest.raises(DataError, match="cannot read"):
        CrossDomainCalibration.load(tmp_path / "absent.json")


def test_fit_recovers_a_known_shift_and_tells_of_unseen_rows():
    predictions, labels = shifted()
    calibration = CrossDomainCalibration()
    result = CalibrationTrainer(calibration).fit(predictions, labels, val_split=0.2)
    assert result.target == calibration.loss == "mse"
    assert result.parameters == calibration.parameters()
    assert (result.fitted_rows, result.unseen_rows) == (320, 80)
    assert result.unseen["calibrated"]["mae_avg"] < 0.6 * result.unseen["raw"]["mae_avg"]
    assert result.unseen["calibrated"]["ccc_avg"] > result.unseen["raw"]["ccc_avg"]
    assert {entry["axis"] for entry in result.history} == {"valence", "arousal"}
    assert all(np.isfinite(entry["unseen"]) for entry in result.history)


def test_unseen_rows_change_no_parameter():
    predictions, labels = shifted()
    groups = np.arange(400) // 4
    one, other = CrossDomainCalibration(), CrossDomainCalibration()
    fit = CalibrationTrainer(one, "ccc").fit(predictions, labels, groups=groups)
    kept, held = trainer.grouped_split(trainer.group_ids(groups, 400), 0.2, 0)
    assert not set(groups[kept]) & set(groups[held])
    scrambled = labels.copy()
    scrambled[held] = np.random.default_rng(1).uniform(-1, 1, (len(held), 2))
    refit = CalibrationTrainer(other, "ccc").fit(predictions, scrambled, groups=groups)
    assert one.parameters() == other.parameters()
    assert fit.unseen != refit.unseen


def test_the_best_parameters_are_restored_not_the_last(monkeypatch):
    # state_dict().copy() once aliased the live weights, so that "the best" was whatever came last.
    def wander(record, start, **_):
        for theta in ([0.6, 0.05], [5.0, 5.0], [-3.0, 1.0]):
            record(np.array(theta))

    monkeypatch.setattr(trainer, "minimize", wander)
    calibration = CrossDomainCalibration()
    result = CalibrationTrainer(calibration, "ccc").fit(both(X), both(Y), val_split=0)
    best = min((each for each in result.history if each["axis"] == "valence"), key=lambda each: each["objective"])
    assert (calibration.scale_v, calibration.shift_v) == (best["scale"], best["shift"])
    assert result.history[-1]["scale"] == -3.0
    assert calibration.scale_a != -3.0


def test_the_targets_pull_apart():
    # Minimum squares: CCC 2r²/(1+r²); matching variances: CCC r (closed forms, at the sample's own r).
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = np.clip((0.3 * x + np.sqrt(1 - 0.09) * rng.normal(size=4000)) / 5, -1, 1)
    r = np.corrcoef(x, y)[0, 1]
    square = concordance(y, fitted("mse", x, y, l2_reg=0)(both(x))[:, 0])
    assert square == pytest.approx(2 * r**2 / (1 + r**2), abs=1e-9)
    declared = concordance(y, fitted("ccc", x, y, l2_reg=0)(both(x))[:, 0])
    assert square < declared <= r + 1e-9


def test_ccc_loss_is_at_a_minimum_of_its_own_objective():
    calibration = fitted("ccc", l2_reg=1e-4)

    def objective(scale, shift):
        moved = scale * X + shift
        penalty = 1e-4 * ((scale - 1) ** 2 + shift**2)
        return 0.7 * (1 - concordance(Y, moved)) + 0.3 * ((moved - Y) ** 2).mean() + penalty

    best = objective(calibration.scale_v, calibration.shift_v)
    for ds, db in np.random.default_rng(0).normal(scale=0.02, size=(200, 2)):
        assert objective(calibration.scale_v + ds, calibration.shift_v + db) >= best - 1e-9


def test_absolute_error_is_fitted_by_medians():
    from sklearn.linear_model import QuantileRegressor

    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 301)
    y = 0.4 * x + 0.1 + 0.1 * rng.standard_t(2, 301)
    theta = least_absolute(np.column_stack([x, np.ones_like(x)]), y, 0.0)
    oracle = QuantileRegressor(quantile=0.5, alpha=0, solver="highs").fit(x[:, None], y)
    error = [np.abs(y - s * x - b).mean() for s, b in (theta, (oracle.coef_[0], oracle.intercept_))]
    assert error[0] == pytest.approx(error[1], rel=1e-5)


def test_tanh_is_fitted_with_tanh():
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, 500)
    y = np.tanh(1.5 * x - 0.3)
    calibration = fitted("mse", x, y, use_tanh=True, l2_reg=0)
    np.testing.assert_allclose([calibration.scale_v, calibration.shift_v], [1.5, -0.3], atol=1e-4)


def test_constant_predictions_do_not_break_the_fit():
    calibration = fitted(x=np.full(8, 0.2), l2_reg=0)
    np.testing.assert_allclose(calibration(both(np.full(8, 0.2))), Y.mean())


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        (np.zeros((5, 2)), np.zeros((4, 2)), r"\(5, 2\) and \(4, 2\)"),
        (np.zeros(5), np.zeros(5), r"\(N, 2\)"),
        (np.zeros((5, 2)), np.full((5, 2), 3.0), "reference scale"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "two"),
    ],
)
def test_unfit_rows_are_refused(predictions, labels, message):
    with pytest.raises(DataError, match=message):
        CalibrationTrainer(CrossDomainCalibration()).fit(predictions, labels)


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match="mse, mae, ccc"):
        CalibrationTrainer(CrossDomainCalibration(), "hinge")
    with pytest.raises(ConfigError, match="l2_reg"):
        CrossDomainCalibration(l2_reg=-1)
