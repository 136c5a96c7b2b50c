"""Fusion: the golden numbers, the table of missing cases, and what must hold for any numbers."""

import numpy as np
import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emofuse import fusion
from emofuse.config import FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.gating import check_gate
from emofuse.fusion.joint_parameters import assumed_joint_parameters
from emofuse.fusion.select import chosen_fusion

SCENE_FACE = [0.6, -0.2], [0.09, 0.25]
NAN = np.nan


def test_inverse_variance_golden():
    # Closed form of two experts: weights 25/34 and 9/34, mean 6.6/17, variance 2.25/34.
    fused = fusion.inverse_variance(*SCENE_FACE)
    assert fused.mean == pytest.approx(6.6 / 17, abs=1e-12)
    assert fused.mean == pytest.approx(0.388235294117647, abs=1e-12)
    assert fused.variance == pytest.approx(0.0661764705882353, abs=1e-12)
    np.testing.assert_allclose(fused.weights, [25 / 34, 9 / 34], atol=1e-12)
    assert fused.valid
    assert fused.source.tolist() == ["model", "model"]


def test_variance_is_floored_not_padded():
    # Adding 1e-6 to each variance gives .3882341869 and .0661770813: a bias in every result.
    fused = fusion.inverse_variance(*SCENE_FACE)
    assert abs(fused.mean - 0.3882341869) > 1e-7
    assert abs(fused.variance - 0.0661770813) > 1e-7
    low = fusion.inverse_variance([0.6, -0.2], [1e-9, 0.25], floor=1e-4)
    np.testing.assert_allclose(low.weights[0], 1e4 / (1e4 + 4), atol=1e-12)


def test_weights_are_continuous_as_a_variance_vanishes():
    for variance in (1e-3, 1e-5, 1e-9, 1e-300):
        weight = fusion.inverse_variance([0.6, -0.2], [variance, 0.25], floor=1e-4).weights[0]
        assert weight == pytest.approx(0.25 / (max(variance, 1e-4) + 0.25), abs=1e-12)


@pytest.mark.parametrize(
    ("rho", "mean", "variance", "first"),
    [
        (0.3, 0.456, 0.0819, 0.82),
        (0.5, 0.5368421053, 0.0888157895, 0.9210526),
        (0.6, 0.6, 0.09, 1.0),
        (0.9, 1.1142857143, 0.0610714286, 1.6428571),
    ],
)
def test_best_linear_unbiased_golden(rho, mean, variance, first):
    fused = fusion.best_linear_unbiased(*SCENE_FACE, rho)
    assert fused.mean == pytest.approx(mean, abs=1e-10)
    assert fused.variance == pytest.approx(variance, abs=1e-10)
    assert fused.weights[0] == pytest.approx(first, abs=1e-7)
    v1, v2 = SCENE_FACE[1]
    c = rho * np.sqrt(v1 * v2)
    assert fused.weights[0] == pytest.approx((v2 - c) / (v1 + v2 - 2 * c), abs=1e-12)
    assert fused.variance == pytest.approx(v1 * v2 * (1 - rho**2) / (v1 + v2 - 2 * c), abs=1e-12)


def test_best_linear_unbiased_reproduces_lyons_1988():
    # Lyons, Gibaut & Clifford 1988, the charm lifetimes with their covariance.
    covariance = np.array(
        [[2.74, 1.15, 0.86, 1.31], [1.15, 1.67, 0.82, 1.32], [0.86, 0.82, 2.12, 1.05], [1.31, 1.32, 1.05, 2.93]]
    )
    sigma = np.sqrt(np.diag(covariance))
    fused = fusion.best_linear_unbiased(
        [9.5, 11.9, 11.1, 8.9], np.diag(covariance), covariance / sigma[:, None] / sigma
    )
    assert fused.mean == pytest.approx(11.1598305174, abs=1e-10)
    assert np.sqrt(fused.variance) == pytest.approx(1.1340374100, abs=1e-10)
    np.testing.assert_allclose(fused.weights, [0.1450748, 0.4695774, 0.3472971, 0.0380508], atol=1e-7)


def test_capped_correlation_never_leaves_the_experts():
    fused = fusion.best_linear_unbiased(*SCENE_FACE, 0.9, cap=True)
    assert fused.mean == pytest.approx(0.6, abs=1e-12)
    assert fused.variance == pytest.approx(0.09, abs=1e-12)
    np.testing.assert_allclose(fused.weights, [1, 0], atol=1e-12)


def test_correlation_per_axis():
    mean, variance = np.array([[[0.6, 0.6]], [[-0.2, -0.2]]]), np.array([[[0.09, 0.09]], [[0.25, 0.25]]])
    fused = fusion.best_linear_unbiased(mean, variance, [0.3, 0.5])
    np.testing.assert_allclose(fused.mean, [[0.456, 0.5368421053]], atol=1e-10)


@pytest.mark.parametrize("rho", [1.0, -1.0, 1.5, NAN])
def test_impossible_correlations_are_refused(rho):
    with pytest.raises(ConfigError, match="between -1 and 1"):
        fusion.best_linear_unbiased(*SCENE_FACE, rho)


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        (*SCENE_FACE, (0.30, 0.15, 1.8823529412, 0.15)),
        ([0.5, -0.5, 0.1], [0.1, 0.2, 0.4], (0.0904116906, 0.1095121914, 3.3428571429, 0.1342857143)),
    ],
)
def test_random_effects_golden(mean, variance, expected):
    fused = fusion.random_effects(mean, variance)
    np.testing.assert_allclose([fused.mean, fused.variance, fused.q, fused.tau2], expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_fixed_and_random_effects_agree_with_statsmodels(seed):
    meta_analysis = pytest.importorskip("statsmodels.stats.meta_analysis")
    rng = np.random.default_rng(seed)
    mean, variance = rng.uniform(-1, 1, 4), rng.uniform(0.01, 0.2, 4)
    oracle = meta_analysis.combine_effects(mean, variance, method_re="dl")
    fixed, random = fusion.inverse_variance(mean, variance), fusion.random_effects(mean, variance)
    np.testing.assert_allclose([fixed.mean, fixed.variance], [oracle.mean_effect_fe, oracle.sd_eff_w_fe**2], atol=1e-12)
    assert random.q == pytest.approx(oracle.q, abs=1e-12)
    # It leaves a negative estimate of the variance between experts as it is; there is none, and then the two agree.
    assert random.tau2 == pytest.approx(max(0.0, oracle.tau2), abs=1e-12)
    effect = (oracle.mean_effect_re, oracle.sd_eff_w_re**2) if oracle.tau2 > 0 else (fixed.mean, fixed.variance)
    np.testing.assert_allclose([random.mean, random.variance], effect, atol=1e-12)


def test_agreeing_experts_are_not_widened():
    fused = fusion.random_effects([0.1, 0.12], [0.04, 0.09])
    assert fused.tau2 == 0
    assert fused.variance == pytest.approx(fusion.inverse_variance([0.1, 0.12], [0.04, 0.09]).variance, abs=1e-15)


def test_naive_fusion_of_correlated_errors_understates_its_variance():
    # v_true / v = 1 + 2 rho sqrt(v1 v2) / (v1 + v2) = 1.4411764706 at rho .5 (closed form), here by the weights.
    fused = fusion.inverse_variance(*SCENE_FACE)
    covariance = 0.5 * np.sqrt(0.09 * 0.25)
    true = fused.weights @ np.array([[0.09, covariance], [covariance, 0.25]]) @ fused.weights
    assert true == pytest.approx(0.0953719723, abs=1e-10)
    assert true / fused.variance == pytest.approx(1.4411764706, abs=1e-10)


ALL = {
    "inverse_variance": fusion.inverse_variance,
    "best_linear_unbiased": lambda m, v, **k: fusion.best_linear_unbiased(m, v, 0.3, **k),
    "random_effects": fusion.random_effects,
    "fixed": fusion.fixed_weights,
    "equal": fusion.equal_weights,
}
BY_VARIANCE = ("inverse_variance", "best_linear_unbiased", "random_effects")


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_a_lone_expert_passes_through_unchanged(rule):
    mean = np.array([[0.123456789, NAN], [NAN, -0.7]])
    variance = np.array([[1e-7, 0.2], [0.3, 0.123]])
    fused = rule(mean, variance)
    np.testing.assert_array_equal(fused.mean, [0.123456789, -0.7])
    np.testing.assert_array_equal(fused.variance, [1e-7, 0.123])
    np.testing.assert_array_equal(fused.weights, [[1, 0], [0, 1]])
    assert fused.source.tolist() == [["model", "none"], ["none", "model"]]


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_no_expert_is_not_a_neutral_one(rule):
    fused = rule(np.full((2, 3, 2), NAN), np.ones((2, 3, 2)))
    assert not fused.valid.any()
    for values in (fused.mean, fused.variance, fused.weights):
        assert np.isnan(values).all()
    assert (fused.source == "none").all()


@pytest.mark.parametrize("unknown", [NAN, 0.0, -0.1, np.inf])
@pytest.mark.parametrize("name", ALL)
def test_unknown_variances_take_the_pooled_ones(name, unknown):
    fused = ALL[name]([[0.6], [-0.2]], [[0.09], [unknown]], pooled=[0.5, 0.25])
    expected = ALL[name]([[0.6], [-0.2]], [[0.09], [0.25]])
    np.testing.assert_array_equal(fused.mean, expected.mean)
    np.testing.assert_array_equal(fused.variance, expected.variance)
    assert fused.source.tolist() == [["model"], ["pooled"]]


@pytest.mark.parametrize("unknown", [NAN, 0.0, -0.1, np.inf])
@pytest.mark.parametrize("name", BY_VARIANCE)
def test_an_unknown_variance_is_endlessly_wide(name, unknown):
    fused = ALL[name]([0.6, -0.2], [0.09, unknown])
    assert (fused.mean, fused.variance) == (0.6, 0.09)
    assert fused.weights.tolist() == [1, 0]
    assert fused.source.tolist() == ["model", "none"]
    limit = ALL[name]([0.6, -0.2], [0.09, 1e12])
    assert limit.mean == pytest.approx(0.6, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in ALL if name != "fixed"])
def test_two_unknown_variances_are_never_silently_sixty_to_forty(name):
    fused = ALL[name]([0.6, -0.2], [0.0, NAN])
    assert fused.mean == pytest.approx(0.2, abs=1e-12)
    assert np.isnan(fused.variance)
    np.testing.assert_allclose(fused.weights, [0.5, 0.5], atol=1e-12)
    assert fused.source.tolist() == ["none", "none"]


def test_fixed_weights_and_their_variance():
    fused = fusion.fixed_weights([0.6, -0.2], [0.09, 0.25])
    assert fused.mean == pytest.approx(0.28, abs=1e-12)
    assert fused.variance == pytest.approx(0.36 * 0.09 + 0.16 * 0.25, abs=1e-12)
    assert np.isnan(fusion.fixed_weights([0.6, -0.2], [0.09, NAN]).variance)
    assert fusion.fixed_weights([NAN, -0.2], [0.09, 0.25], [1, 0]).mean == -0.2
    assert fusion.equal_weights([0.6, -0.2], [0.09, 0.25]).mean == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("weights", [(-0.1, 1.1), (0, 0), (NAN, 1)])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ConfigError, match="fixed weights"):
        fusion.fixed_weights([0.6, -0.2], [0.09, 0.25], weights)


def test_precision_is_capped_by_the_weight_ratio():
    fused = fusion.inverse_variance([0.6, -0.2], [0.01, 1.0], max_weight_ratio=4)
    np.testing.assert_allclose(fused.weights, [0.8, 0.2], atol=1e-12)
    assert fused.variance == pytest.approx(0.64 * 0.01 + 0.04 * 1.0, abs=1e-12)
    assert fusion.inverse_variance(*SCENE_FACE, max_weight_ratio=10).mean == fusion.inverse_variance(*SCENE_FACE).mean
    with pytest.raises(ConfigError, match="at least 1"):
        fusion.inverse_variance(*SCENE_FACE, max_weight_ratio=0.5)


means = arrays(np.float64, (3, 4, 2), elements=st.floats(-1, 1) | st.just(NAN))
variances = arrays(np.float64, (3, 4, 2), elements=st.floats(1e-6, 10) | st.sampled_from([NAN, 0.0, -1.0, np.inf]))


@settings(max_examples=60, deadline=None)
@given(means, variances, st.sampled_from(sorted(ALL)), st.permutations(range(3)))
def test_what_holds_for_any_numbers(mean, variance, name, order):
    def rule(m, v):
        return fusion.fixed_weights(m, v, (1, 1, 1)) if name == "fixed" else ALL[name](m, v)

    fused = rule(mean, variance)
    np.testing.assert_array_equal(fused.valid, np.isfinite(mean).any(axis=0))
    np.testing.assert_array_equal(np.isfinite(fused.mean), fused.valid)
    np.testing.assert_allclose(fused.weights.sum(axis=0)[fused.valid], 1, atol=1e-12)
    assert not fused.weights[:, fused.valid][~np.isfinite(mean)[:, fused.valid]].any()
    other = rule(mean[list(order)], variance[list(order)])
    np.testing.assert_allclose(other.mean, fused.mean, atol=1e-9)
    np.testing.assert_allclose(other.variance, fused.variance, rtol=1e-9)
    np.testing.assert_allclose(other.weights, fused.weights[list(order)], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(means, arrays(np.float64, (3, 4, 2), elements=st.floats(1e-4, 10)))
def test_fused_variance_is_at_most_the_least(mean, variance):
    fused = fusion.inverse_variance(mean, variance)
    least = np.where(np.isfinite(mean), variance, np.inf).min(axis=0)
    assert (fused.variance[fused.valid] <= least[fused.valid] * (1 + 1e-12)).all()
    inside = fused.mean[fused.valid]
    assert (inside >= np.nanmin(mean, axis=0, initial=9)[fused.valid] - 1e-12).all()
    assert (inside <= np.nanmax(mean, axis=0, initial=-9)[fused.valid] + 1e-12).all()


def test_each_element_is_joined_by_itself():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(2, 5, 2)), rng.uniform(0.01, 1, (2, 5, 2))
    mean[0, 1], variance[1, 2] = NAN, NAN
    for rule in ALL.values():
        whole = rule(mean, variance)
        for row in range(5):
            np.testing.assert_array_equal(rule(mean[:, row], variance[:, row]).mean, whole.mean[row])


def test_constant_weight_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    truth = rng.uniform(-1, 1, (4000, 2))
    mean = truth + rng.normal(size=(2, 4000, 2)) * np.array([0.2, 0.4])[:, None, None]
    mean[1, :100] = NAN
    weights = fusion.fit_constant_weight(truth, mean)
    # Independent errors of variance .04 and .16: weights .8 and .2.
    np.testing.assert_allclose(weights, [[0.8, 0.8], [0.2, 0.2]], atol=0.02)
    grid = np.linspace(0, 1, 1001)
    rows = slice(100, None)
    error = [((truth[rows, 0] - w * mean[0, rows, 0] - (1 - w) * mean[1, rows, 0]) ** 2).mean() for w in grid]
    assert grid[int(np.argmin(error))] == pytest.approx(weights[0, 0], abs=1e-3)
    with pytest.raises(DataError, match="two rows"):
        fusion.fit_constant_weight(truth, np.full_like(mean, NAN))


def test_gates_say_which_one_shut():
    config = FusionConfig(min_face_score=0.5, max_face_std=0.6, min_luma=50)
    score = [0.9, 0.4, 0.9, 0.9, NAN, 0.9]
    variance = np.array([[0.1, 0.1], [0.1, 0.1], [0.1, 0.37], [0.1, 0.1], [NAN, NAN], [NAN, 0.1]])
    shut = fusion.gate(score, variance, [100, 100, 100, 20, NAN, 100], config)
    assert shut["gate_score"].tolist() == [False, True, False, False, False, False]
    assert shut["gate_std"].tolist() == [False, False, True, False, False, True]
    assert shut["gate_luma"].tolist() == [False, False, False, True, False, False]
    assert not any(each.any() for each in fusion.gate(score, variance, np.zeros(6), FusionConfig()).values())


def test_every_method_of_the_config_is_there():
    import typing

    hints = typing.get_type_hints(FusionConfig)
    assert set(typing.get_args(hints["method"])) == {"auto", *fusion.METHODS}
    mean, variance = np.array([[[0.6, 0.1]], [[-0.2, 0.3]]]), np.full((2, 1, 2), 0.1)
    stack = fusion.Stack(np.zeros(2), np.full((2, 2), 0.6), np.ones(2))
    joint = assumed_joint_parameters([0.0, 0.0], [0.2, 0.2])
    known = fusion.FusionParameters(joint=joint, weights=np.array([[0.7, 0.7], [0.3, 0.3]]), stack=stack)
    for method in ("auto", *fusion.METHODS):
        fused = fusion.fuse(mean, variance, FusionConfig(method=method), known)
        assert fused.mean.shape == (1, 2)
        assert fused.valid.all()
    for method in ("constant", "stacked"):
        with pytest.raises(ConfigError, match="fitted on valid"):
            fusion.fuse(mean, variance, FusionConfig(method=method))
    with pytest.raises(ConfigError, match="how the experts were fitted"):
        fusion.fuse(mean, variance, FusionConfig(method="joint_gaussian"))
    with pytest.raises(ConfigError, match="must be one of"):
        fusion.fuse(mean, variance, FusionConfig(method="magic"))
    with pytest.raises(ConfigError, match="max_weight_ratio"):
        fusion.fuse(mean, variance, FusionConfig(method="equal", max_weight_ratio=3))


def test_a_gate_on_a_deviation_that_never_changes_is_refused():
    check_gate(FusionConfig(max_face_std=0.3), [False, False])
    check_gate(FusionConfig(min_face_score=0.3), [True, True])
    with pytest.raises(ConfigError, match="valence variance is the same on every row"):
        check_gate(FusionConfig(max_face_std=0.3), [True, False])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="one shape"):
        fusion.inverse_variance([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="pooled"):
        fusion.inverse_variance(np.ones((2, 3, 2)), np.ones((2, 3, 2)), pooled=[1, 2, 3])
    with pytest.raises(ConfigError, match="floor"):
        fusion.inverse_variance([0.1], [0.1], floor=0)


class TestGivenAndNotGiven:
    """What is given stands above a calibration's choice, also where it is what would stand without one."""

    FITTED = FusionConfig(method="equal", variance_floor=1e-3, min_face_score=0.7, max_face_std=0.3)

    def test_a_gate_of_the_calibration_is_switched_off(self) -> None:
        chosen = chosen_fusion(FusionConfig(min_face_score="none"), self.FITTED)
        assert (chosen.min_face_score, chosen.max_face_std) == (None, 0.3)

    def test_the_usual_floor_is_given_over_the_calibrations(self) -> None:
        assert chosen_fusion(FusionConfig(variance_floor=1e-4), self.FITTED).variance_floor == 1e-4
        assert chosen_fusion(FusionConfig(), self.FITTED).variance_floor == 1e-3
        assert chosen_fusion(FusionConfig(), None).variance_floor == 1e-4

    def test_another_rule_takes_over_no_gate(self) -> None:
        chosen = chosen_fusion(FusionConfig(method="fixed", min_luma=40), self.FITTED)
        assert chosen == FusionConfig(method="fixed", variance_floor=1e-4, min_luma=40)

    def test_none_is_read_from_the_command_line(self) -> None:
        asked = tyro.cli(FusionConfig, args=["--min-face-score", "none", "--max-weight-ratio", "2"])
        assert (asked.min_face_score, asked.max_weight_ratio, asked.max_face_std) == ("none", 2.0, None)

    def test_a_gate_that_is_switched_off_is_open_wherever_it_is_asked(self) -> None:
        shut = fusion.gate([0.1], [[0.1, 0.1]], [10], FusionConfig(min_face_score="none", min_luma="none"))
        assert not any(closed.any() for closed in shut.values())
