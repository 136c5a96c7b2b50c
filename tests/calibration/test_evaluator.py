"""With and without calibration: a verdict that knows its direction, on rows no fit has seen."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from emofuse.calibration import CalibrationEvaluator, CalibrationTrainer, CrossDomainCalibration, bland_altman
from emofuse.calibration.evaluator import effect_size
from emofuse.calibration.trainer import SIX
from emofuse.errors import ConfigError, DataError
from emofuse.metrics.significance import corrected_resampled_ttest

NAMES = ("mae_v", "mae_a", "mae_avg", "ccc_v", "ccc_a", "ccc_avg")


def shifted(n=400, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-0.9, 0.9, (n, 2))
    return 0.5 * labels + [0.3, -0.2] + noise * rng.normal(size=(n, 2)), labels


@pytest.fixture(scope="module")
def helped():
    predictions, labels = shifted()
    return CalibrationEvaluator().ablation_study(predictions, labels, n_runs=5, groups=np.arange(400) // 2)


def test_all_six_are_there(helped):
    assert tuple(helped) == NAMES == SIX
    for entry in helped.values():
        assert len(entry["runs"]) == 5
        assert entry["difference"] == pytest.approx(entry["with"] - entry["without"], abs=1e-12)
        assert entry["ci_low"] <= entry["difference"] <= entry["ci_high"]
        assert entry["p_holm"] >= entry["p"]
        assert (entry["n"], entry["n_groups"]) == (80, 40)


def test_a_real_improvement_is_significant_for_every_name(helped):
    for name, entry in helped.items():
        assert entry["significant"], name
        assert not entry["worse"], name
        assert entry["verdict"] == "better"
        assert entry["difference"] * (-1 if name.startswith("mae") else 1) > 0


def test_a_worse_error_is_never_called_significant():
    # A difference in the wrong direction was once called "significant" because its p was small.
    _, labels = shifted()
    harmful = CrossDomainCalibration()
    for axis in (0, 1):
        harmful.set(axis, 0.2, 0.7)
    results = CalibrationEvaluator(harmful).generalisation_test(labels, labels)
    for name in ("mae_v", "mae_a", "mae_avg"):
        assert results[name]["p_holm"] < 0.05
        assert results[name]["with"] > results[name]["without"]
        assert not results[name]["significant"]
        assert results[name]["worse"]
        assert results[name]["verdict"] == "worse"
    for name in ("ccc_v", "ccc_a", "ccc_avg"):
        assert results[name]["worse"]
        assert not results[name]["significant"]


def test_nothing_to_correct_is_not_shown_to_help():
    rng = np.random.default_rng(3)
    predictions = rng.uniform(-0.7, 0.7, (400, 2))
    labels = np.clip(predictions + 0.1 * rng.normal(size=(400, 2)), -1, 1)
    results = CalibrationEvaluator().ablation_study(predictions, labels)
    assert not any(entry["significant"] or entry["worse"] for entry in results.values())
    assert {entry["verdict"] for entry in results.values()} == {"equivalent"}


def test_the_t_test_is_the_corrected_one(helped):
    for entry in helped.values():
        # 160 groups are left beside the test set: 128 are fitted, 32 evaluated in each run.
        t, p = corrected_resampled_ttest(entry["runs"], 128, 32)
        assert (entry["t"], entry["p_resampled"]) == (pytest.approx(t), pytest.approx(p))
        naive = ttest_rel(entry["runs"], np.zeros(5))
        assert abs(entry["t"]) == pytest.approx(abs(naive.statistic) / np.sqrt(1 + 5 * 32 / 128))
        assert entry["p_resampled"] > naive.pvalue


def test_a_gain_in_ccc_alone_can_be_shown():
    # Exchanging shifted predictors mixes them, and mixtures have any CCC: a test by exchange shows nothing here.
    rng = np.random.default_rng(6)
    labels = np.clip(0.4 * rng.normal(size=(2000, 2)) + 0.2, -1, 1)
    predictions = 0.1 * labels - 0.5 + 0.15 * rng.normal(size=(2000, 2))
    results = CalibrationEvaluator().ablation_study(predictions, labels)
    for name in ("ccc_v", "ccc_a", "ccc_avg"):
        assert results[name]["ci_low"] > 0
        assert results[name]["significant"]


def test_effect_size_golden():
    # ddof 0 gives 3.809 on these; the unbiased one is 3.407.
    assert effect_size([0.021, 0.034, 0.015, 0.028, 0.024]) == pytest.approx(3.407, abs=1e-3)
    assert np.isnan(effect_size([0.1, 0.1]))


def test_the_test_set_is_untouched(monkeypatch):
    from emofuse.calibration import evaluator as module

    seen, evaluated = [], []
    predictions, labels = shifted(200)
    groups = np.arange(200) // 4
    fit, mean = CalibrationTrainer.fit, module.paired_difference

    def watched(self, x, y, **kwargs):
        seen.append(np.asarray(x)[:, 0])
        return fit(self, x, y, **kwargs)

    def kept(name, truth, a, b, ids):
        evaluated.append(b[:, 0])
        return mean(name, truth, a, b, ids)

    monkeypatch.setattr(CalibrationTrainer, "fit", watched)
    monkeypatch.setattr(module, "paired_difference", kept)
    CalibrationEvaluator().ablation_study(predictions, labels, n_runs=3, groups=groups)
    group_of = dict(zip(predictions[:, 0], groups, strict=True))
    test_groups = {group_of[value] for value in evaluated[0]}
    assert len(seen) == 4
    for fitted in seen:
        assert not test_groups & {group_of[value] for value in fitted}


def test_the_template_is_not_changed_and_the_seed_fixes_everything():
    predictions, labels = shifted(150)
    template = CrossDomainCalibration(l2_reg=1e-2)
    study = [CalibrationEvaluator(template, seed=4).ablation_study(predictions, labels) for _ in "ab"]
    assert study[0] == study[1]
    assert template.is_near_identity(0)


def test_generalises_to_another_data_set():
    predictions, labels = shifted()
    calibration = CrossDomainCalibration()
    CalibrationTrainer(calibration).fit(predictions, labels)
    same, other = shifted(300, seed=1), shifted(300, seed=2)
    evaluator = CalibrationEvaluator(calibration)
    assert evaluator.generalisation_test(*same)["mae_avg"]["verdict"] == "better"
    # A data set that is shifted the other way: the calibration harms there, and it is said.
    mirrored = evaluator.generalisation_test(-other[0], other[1] * -1)
    assert mirrored["mae_avg"]["verdict"] == "worse"


def test_an_improvement_must_be_worth_having():
    predictions, labels = shifted()
    results = CalibrationEvaluator(min_effect=0.9).ablation_study(predictions, labels)
    assert not any(entry["significant"] for entry in results.values())


def test_refusals():
    predictions, labels = shifted(50)
    with pytest.raises(ConfigError, match="n_runs"):
        CalibrationEvaluator().ablation_study(predictions, labels, n_runs=1)
    with pytest.raises(ConfigError, match="alpha"):
        CalibrationEvaluator(alpha=2)
    with pytest.raises(DataError, match="reference scale"):
        CalibrationEvaluator().ablation_study(predictions, labels * 3)
    with pytest.raises(DataError, match="group"):
        CalibrationEvaluator().ablation_study(predictions, labels, groups=np.zeros(50))
    with pytest.raises(DataError, match="one group per row"):
        CalibrationEvaluator().ablation_study(predictions, labels, groups=np.zeros(3))


def test_rows_without_a_face_are_left_out():
    predictions, labels = shifted(200)
    predictions[::4] = np.nan
    results = CalibrationEvaluator().ablation_study(predictions, labels)
    assert results["mae_v"]["n"] == 30


def test_bland_altman():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 2))
    mean = truth + [0.3, -0.1] + [0.2, 0.4] * rng.normal(size=(500, 2))
    mean[3, 0] = np.nan
    plot = bland_altman(truth, mean)
    difference = (mean - truth)[:, 0][np.isfinite(mean[:, 0])]
    assert plot.n.tolist() == [499, 500]
    assert plot.bias[0] == pytest.approx(difference.mean(), abs=1e-12)
    assert plot.sd[0] == pytest.approx(difference.std(ddof=1), abs=1e-12)
    assert plot.lower[0] == pytest.approx(difference.mean() - 1.96 * difference.std(ddof=1), abs=1e-12)
    assert plot.bias_low[1] < -0.1 < plot.bias_high[1]
    inside = ((plot.difference > plot.lower) & (plot.difference < plot.upper)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.95, atol=0.03)
    slope = np.polyfit(plot.average[:, 1], plot.difference[:, 1], 1)[0]
    assert plot.slope[1] == pytest.approx(slope, abs=1e-12)


def test_bland_altman_agrees_with_statsmodels_limits():
    # `statsmodels.graphics.mean_diff_plot` draws its limits at 1.96 standard deviations of the differences.
    truth, mean = np.array([0.1, 0.4, -0.3, 0.0]), np.array([0.2, 0.3, -0.1, 0.1])
    plot = bland_altman(truth, mean)
    assert plot.bias == pytest.approx(0.075)
    assert plot.upper - plot.lower == pytest.approx(2 * 1.96 * np.std(mean - truth, ddof=1))
    with pytest.raises(ValueError, match="one shape"):
        bland_altman(truth, mean[:2])
