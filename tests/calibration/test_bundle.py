"""The whole calibration: what it is fitted on, that it serves after loading as before, and what it refuses."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from emofuse import fusion
from emofuse.calibration import Calibration, CrossDomainCalibration, fit_calibration, fit_mean, pooled_variance
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.metrics.accuracy import mae

GROUPS = np.repeat(np.arange(300), 2)


def data(seed=0, n=600):
    """A scene model that is near, and a face model of another domain that is far overconfident of itself."""
    rng = np.random.default_rng(seed)
    truth = np.clip(0.4 * rng.normal(size=(n, 2)), -1, 1)
    scene = truth + 0.2 * rng.normal(size=(n, 2))
    face = 0.4 * truth + [-0.3, 0.2] + 0.3 * rng.normal(size=(n, 2))
    scene_variance = 0.03 * np.exp(0.2 * rng.normal(size=(n, 2)))
    face_variance = 0.0005 * np.exp(0.2 * rng.normal(size=(n, 2)))
    face[::3] = face_variance[::3] = np.nan
    face_variance[1::6] = np.nan
    return truth, {"scene": (scene, scene_variance), "face": (face, face_variance)}


def fit(config=None, seed=0, **kwargs):
    truth, experts = data(seed)
    return fit_calibration(truth, experts, config, split="valid", fingerprint="f1", groups=GROUPS, **kwargs)


def fused(calibration, seed=1, method="inverse_variance"):
    truth, experts = data(seed)
    moved = [calibration.apply(name, *each) for name, each in experts.items()]
    mean, variance = np.stack([each[0] for each in moved]), np.stack([each[1] for each in moved])
    config = FusionConfig(method=method)
    return truth, fusion.fuse(mean, variance, config, calibration.fusion_parameters())


@pytest.mark.parametrize("mean", ["identity", "constant", "affine", "linear", "quadratic", "spline", "isotonic"])
@pytest.mark.parametrize("variance", ["scaling", "isotonic"])
def test_serves_after_loading_as_before(tmp_path, mean, variance):
    calibration = fit(CalibrationConfig(mean=mean, variance=variance), cards={"face": {"name": "emonet"}})
    calibration.save(tmp_path / "calibration.json")
    loaded = Calibration.load(tmp_path / "calibration.json")
    for name, each in data(1)[1].items():
        for before, after in zip(calibration.apply(name, *each), loaded.apply(name, *each), strict=True):
            np.testing.assert_array_equal(before, after)
    assert (loaded.fusion, loaded.config, loaded.fitted_on) == (
        calibration.fusion,
        calibration.config,
        calibration.fitted_on,
    )
    assert loaded.experts["face"].card == {"name": "emonet"}
    again, known = loaded.fusion_parameters(), calibration.fusion_parameters()
    assert (again.source, again.rule) == (known.source, known.rule)
    for key in ("pooled", "weights"):
        np.testing.assert_array_equal(getattr(again, key), getattr(known, key))
    pairs = [(again.joint, known.joint), (again.stack, known.stack)]
    for one, other in pairs + [(again.scales[name], known.scales[name]) for name in fusion.METHODS]:
        for key, value in other.to_dict().items():
            np.testing.assert_array_equal(one.to_dict()[key], value)


def test_sources_and_pooled_variances():
    calibration = fit()
    _, experts = data(1)
    mean, variance, source = calibration.apply("face", *experts["face"])
    missing, unknown = np.isnan(experts["face"][0]), np.isnan(experts["face"][1])
    np.testing.assert_array_equal(source == "none", missing)
    np.testing.assert_array_equal(source == "pooled", ~missing & unknown)
    np.testing.assert_array_equal(np.isnan(mean), missing)
    np.testing.assert_array_equal(np.isnan(variance), missing)
    pooled = calibration.experts["face"].pooled
    np.testing.assert_array_equal(variance[source == "pooled"], np.broadcast_to(pooled, mean.shape)[source == "pooled"])


def test_pooled_variance_is_the_error_on_rows_the_mean_did_not_see():
    calibration = fit()
    truth, experts = data(0)
    in_sample = pooled_variance(truth, calibration.apply("face", *experts["face"])[0])
    assert (calibration.experts["face"].pooled > in_sample).all()
    unseen, others = data(9, 20_000)
    expected = pooled_variance(unseen, calibration.apply("face", *others["face"])[0])
    np.testing.assert_allclose(calibration.experts["face"].pooled, expected, rtol=0.2)


def test_an_over_confident_face_no_longer_takes_over():
    # Fused by its own variances, which were never recalibrated, the face had nearly all of the weight.
    truth, experts = data(1)
    raw = fusion.inverse_variance(*(np.stack(each) for each in zip(*experts.values(), strict=True)))
    both = ~np.isnan(experts["face"][1]).any(axis=1)
    assert np.nanmean(raw.weights[1][both]) > 0.9
    _, calibrated = fused(fit())
    assert np.nanmean(calibrated.weights[1]) < 0.5
    scene = mae(truth, experts["scene"][0])
    assert (mae(truth, raw.mean) > scene).all()
    assert (mae(truth, calibrated.mean) < scene).all()


@pytest.mark.parametrize("method", fusion.METHODS)
def test_every_method_is_served_by_a_calibration(method):
    truth, result = fused(fit(), method=method)
    assert result.valid.all()
    assert (mae(truth, result.mean) < 0.3).all()


@pytest.mark.parametrize(
    ("config", "card", "rule"),
    [
        (CalibrationConfig(mean="affine"), {}, "joint_gaussian"),
        (CalibrationConfig(mean=("affine", "constant")), {}, "joint_gaussian"),
        (CalibrationConfig(mean="affine", loss="mae"), {}, "best_linear_unbiased"),
        (CalibrationConfig(mean="affine", loss=("mse", "ccc")), {}, "best_linear_unbiased"),
        (CalibrationConfig(mean="identity"), {}, "best_linear_unbiased"),
        (CalibrationConfig(mean="identity"), {"loss": "mse"}, "joint_gaussian"),
    ],
)
def test_the_joint_gaussian_is_the_default_where_means_are_of_least_squared_error(config, card, rule):
    known = fit(config, cards={"scene": card, "face": card}).fusion_parameters()
    assert (known.rule, known.source) == (rule, "calibration")
    one, other = fused(fit(config, cards={"scene": card, "face": card}), method="auto"), fused(fit(config), method=rule)
    np.testing.assert_array_equal(one[1].mean, other[1].mean)


@pytest.mark.parametrize("method", ["auto", "best_linear_unbiased", "inverse_variance"])
def test_fused_variances_are_of_the_size_of_the_errors_with_one_expert_and_with_both(method):
    """Experts that err alike: 90 % intervals cover new rows on either kind of row, whatever the rule."""
    rng = np.random.default_rng(3)

    def rows(n):
        truth, common = np.clip(0.3 * rng.normal(size=(n, 2)), -1, 1), 0.2 * rng.normal(size=(n, 2))
        scene, face = (truth + common + 0.1 * rng.normal(size=(n, 2)) for _ in range(2))
        face[::2] = np.nan
        spread = np.full((n, 2), 0.01)
        return truth, {"scene": (scene, spread), "face": (face, np.where(np.isnan(face), np.nan, spread))}

    truth, experts = rows(2000)
    calibration = fit_calibration(truth, experts, split="valid", fingerprint="f")
    y, new = rows(4000)
    moved = [calibration.apply(name, *each) for name, each in new.items()]
    mean, variance = np.stack([each[0] for each in moved]), np.stack([each[1] for each in moved])
    found = fusion.fuse(mean, variance, FusionConfig(method=method), calibration.fusion_parameters())
    covered = np.abs(y - found.mean) <= norm.ppf(0.95) * np.sqrt(found.variance)
    for kind in (slice(0, None, 2), slice(1, None, 2)):
        # 2,000 new rows and 1,000 fitted ones: three standard errors of coverage are below .04.
        np.testing.assert_allclose(covered[kind].mean(axis=0), 0.9, atol=0.04)


def test_conformal_intervals_cover_unseen_rows():
    calibration = fit()
    truth, experts = data(1)
    mean, variance, _ = calibration.apply("scene", *experts["scene"])
    low, high = calibration.experts["scene"].conformal.interval(mean, variance, 0.9)
    # Beta(k, n + 1 - k) of coverage and 600 new rows: three standard errors are below .055.
    np.testing.assert_allclose(((low <= truth) & (truth <= high)).mean(axis=0), 0.9, atol=0.055)


def test_an_expert_without_variances_has_only_pooled_ones():
    truth, experts = data()
    unknown = {"scene": (experts["scene"][0], np.full_like(truth, np.nan)), "face": experts["face"]}
    calibration = fit_calibration(truth, unknown, split="valid", fingerprint="f1")
    assert calibration.experts["scene"].variance is None
    _, variance, source = calibration.apply("scene", experts["scene"][0], np.zeros_like(truth))
    assert (source == "pooled").all()
    np.testing.assert_array_equal(variance[0], calibration.experts["scene"].pooled)


def test_the_scene_alone_can_be_calibrated():
    truth, experts = data()
    calibration = fit_calibration(truth, {"scene": experts["scene"]}, split="valid", fingerprint="f1")
    assert calibration.weights is None
    assert np.isnan(calibration.fusion_parameters().pooled[1]).all()
    assert calibration.fusion_parameters().source == "assumed correlation"
    with pytest.raises(ConfigError, match="fitted for scene, not for 'face'"):
        calibration.apply("face", *experts["face"])


def test_an_expert_without_predictions_is_left_out_and_passes():
    truth, experts = data()
    nothing = np.full_like(truth, np.nan)
    calibration = fit_calibration(
        truth, {"scene": experts["scene"], "face": (nothing, nothing)}, split="valid", fingerprint="f1"
    )
    assert list(calibration.experts) == ["scene"]
    mean, variance, source = calibration.apply("face", nothing, nothing)
    assert np.isnan(mean).all()
    assert np.isnan(variance).all()
    assert (source == "none").all()
    with pytest.raises(DataError, match="no expert of scene"):
        fit_calibration(truth, {"scene": (nothing, nothing)}, split="valid", fingerprint="f1")


def test_predictions_of_another_expert_are_refused():
    calibration = fit(cards={"face": {"expert": "emonet", "sha256": "aa", "licence": "x"}, "scene": None})
    calibration.check_experts({"face": {"expert": "emonet", "sha256": "aa", "licence": "y"}, "scene": {"expert": "s"}})
    calibration.check_experts({"face": None})
    with pytest.raises(DataError, match="face expert with sha256 'aa', not 'bb'"):
        calibration.check_experts({"face": {"expert": "emonet", "sha256": "bb"}})


@pytest.mark.parametrize("split", ["test", "train", "all", None])
def test_only_valid_rows_are_fitted(split):
    truth, experts = data()
    with pytest.raises(ConfigError, match="valid split"):
        fit_calibration(truth, experts, split=split, fingerprint="f1")


def test_rows_it_was_fitted_on_are_known_as_such():
    calibration = fit()
    assert calibration.fitted_on.rows == 600
    assert calibration.fitted_on.groups == 300
    truth, experts = data()
    ids = [f"row {i}" for i in range(len(truth))]
    named = fit_calibration(truth, experts, split="valid", fingerprint="f1", ids=ids)
    assert named.in_sample(["row 7", "row 7000", "row 0"]).tolist() == [True, False, True]
    assert not calibration.in_sample(ids).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "safetensors"}, "found 'safetensors'"),
        ({"version": 1}, "version 1 is not known"),
        ({"joint": {"rows": 1}}, "no joint parameters"),
        ({"weights": [0.1]}, r"weights \(2, 2\)"),
        ({"experts": {"scene": {}}}, "damaged"),
        ({"fusion": {"method": "equal", "magic": 1}}, "damaged.*magic"),
        ({"experts": {"scene": {"mean": {"kind": "magic"}, "variance": None, "conformal": None}}}, "damaged.*magic"),
    ],
)
def test_foreign_and_damaged_files_are_refused(tmp_path, change, message):
    path = tmp_path / "calibration.json"
    fit().save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        Calibration.load(path)
    CrossDomainCalibration().save(path)
    with pytest.raises(DataError, match="expected a file of format"):
        Calibration.load(path)


def test_the_file_is_plain_json(tmp_path):
    path = tmp_path / "calibration.json"
    fit(CalibrationConfig(variance="isotonic")).save(path)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse)["version"] == 4


@pytest.mark.parametrize("kind", ["affine", "linear", "quadratic", "spline", "isotonic"])
def test_mean_layers_carry_variances_over(kind):
    truth, experts = data()
    mean, variance = experts["scene"]
    layer = fit_mean(kind, truth, mean)
    moved, spread = layer.apply(mean, variance)
    np.testing.assert_array_equal(moved, layer.apply(mean))
    assert (mae(truth, moved) < mae(truth, mean)).all()
    if kind == "isotonic":
        np.testing.assert_allclose(spread / variance, np.broadcast_to((moved.std(0) / mean.std(0)) ** 2, mean.shape))
        return
    # Independent: how far the mean moves when the inputs are drawn with that spread.
    drawn = mean[5] + 0.01 * np.random.default_rng(0).normal(size=(20_000, 2))
    np.testing.assert_allclose(
        layer.apply(mean[5], np.full(2, 1e-4))[1], layer.apply(drawn).var(axis=0), rtol=0.06, atol=1e-7
    )


def test_features_recover_what_a_line_per_axis_cannot():
    rng = np.random.default_rng(5)
    mean = rng.uniform(-0.8, 0.8, (2000, 2))
    truth = np.column_stack([0.5 * mean[:, 0] - 0.3 * mean[:, 1], 0.6 * mean[:, 0] * mean[:, 1] + 0.2])
    error = {
        kind: np.abs(fit_mean(kind, truth, mean, l2=0).apply(mean) - truth).mean(0) for kind in ("affine", "linear")
    }
    assert error["linear"][0] < 1e-9 < error["affine"][0]
    np.testing.assert_allclose(fit_mean("quadratic", truth, mean, l2=0).apply(mean), truth, atol=1e-9)


def test_mean_layers_refuse_what_they_cannot_do():
    truth, experts = data()
    with pytest.raises(ConfigError, match="cannot be fitted for ccc"):
        fit_mean("spline", truth, experts["scene"][0], loss="ccc")
    with pytest.raises(ConfigError, match="must be one of"):
        fit_mean("magic", truth, experts["scene"][0])
    with pytest.raises(DataError, match="vary"):
        fit_mean("spline", truth, np.zeros_like(truth))
    with pytest.raises(DataError, match="two groups"):
        fit_calibration(truth, experts, split="valid", fingerprint="f", groups=np.zeros(600))
