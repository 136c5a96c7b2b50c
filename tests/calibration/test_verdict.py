"""Whether a calibration has helped: what it is compared with, and the words."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.calibration import CalibrationEvaluator, fit_mean
from emofuse.calibration.verdict import has_helped, sentence
from emofuse.config import CalibrationConfig, StatisticsConfig
from emofuse.errors import DataError

KWARGS = {"config": StatisticsConfig(), "seed": 0}


def rows(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An expert that is shifted on valence and knows nothing of arousal; the last third is the test set."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-0.9, 0.9, (n, 2))
    mean = np.column_stack([0.5 * truth[:, 0] + 0.3, rng.uniform(-0.9, 0.9, n)]) + 0.1 * rng.normal(size=(n, 2))
    return truth, mean, np.arange(n) // 2, np.arange(n) >= 2 * n // 3


LAYERS = CalibrationConfig(mean=("affine", "constant"), loss="mae")


def test_it_is_compared_with_the_raw_expert_and_the_constant_of_the_rows_it_was_fitted_on() -> None:
    truth, mean, groups, test = rows()
    valence, arousal = has_helped("face", LAYERS, ["mae", "mae"], truth, mean, groups, test, **KWARGS)
    moved = fit_mean("affine", truth[~test], mean[~test], loss="mae").apply(mean[test])
    assert valence["with"] == pytest.approx(np.abs(moved - truth[test])[:, 0].mean())
    assert valence["without"] == pytest.approx(np.abs(mean - truth)[test, 0].mean())
    median = np.median(truth[~test], axis=0)
    constant = np.abs(truth[test] - median).mean(axis=0)
    assert [valence["constant"], arousal["constant"]] == pytest.approx(list(constant))
    assert valence["constant_difference"] == pytest.approx(valence["with"] - valence["constant"])
    assert (valence["verdict"], valence["constant_verdict"], valence["n"]) == ("better", "better", 200)
    assert (arousal["verdict"], arousal["constant_verdict"]) == ("better", "equivalent")
    assert arousal["with"] == pytest.approx(constant[1], abs=1e-12)


def test_labels_of_the_test_set_reach_no_fit() -> None:
    truth, mean, groups, test = rows()
    evaluator = CalibrationEvaluator(layers=LAYERS, names=("mae_v", "rmse_a"))
    before = evaluator.ablation_study(mean, truth, groups=groups, test=test)
    truth[test] = np.random.default_rng(1).uniform(-1, 1, (test.sum(), 2))
    after = evaluator.ablation_study(mean, truth, groups=groups, test=test)
    assert set(before) == {"mae_v", "rmse_a"}
    for name in before:
        assert before[name]["runs"] == after[name]["runs"]
        assert before[name]["with"] != after[name]["with"]


def test_the_root_mean_square_is_compared_with_the_mean_and_the_ccc_with_no_constant() -> None:
    truth, mean, groups, test = rows()
    layers = CalibrationConfig(mean="affine", loss=("ccc", "mse"))
    valence, arousal = has_helped("face", layers, ["ccc", "rmse"], truth, mean, groups, test, **KWARGS)
    assert not any(key.startswith("constant") for key in valence)
    assert "constant" not in sentence(valence)
    expected = np.sqrt(((truth[test, 1] - truth[~test, 1].mean()) ** 2).mean())
    assert arousal["constant"] == pytest.approx(expected)
    assert "RMSE" in sentence(arousal)


def test_without_a_test_set_a_fifth_of_the_groups_is_set_aside() -> None:
    truth, mean, groups, _ = rows()
    valence, _ = has_helped("face", LAYERS, ["mae", "mae"], truth, mean, groups, None, **KWARGS)
    assert (valence["n_groups"], valence["evaluated_on"]) == (60, "set aside")
    assert "60 groups, effectively 60, a fifth of the validation groups, set aside" in sentence(valence)
    with pytest.raises(DataError, match="group"):
        has_helped("face", LAYERS, ["mae", "mae"], truth, mean, np.zeros(600), None, **KWARGS)


@pytest.mark.parametrize(
    ("raw", "constant", "words"),
    [
        ("better", "better", ["yes: MAE 0.4000, 0.5000 without it (-0.1000", "; better than the constant"]),
        ("better", "equivalent", ["yes, but it is no better than a constant:", "; equivalent to the constant"]),
        ("better", "worse", ["yes, but a constant is better still:", "; worse than the constant"]),
        ("inconclusive", "inconclusive", ["inconclusive: MAE", "; not shown to differ from the constant"]),
        ("equivalent", "not_worse", ["no, the two are equivalent: MAE", "; not worse than the constant"]),
        ("not_worse", "better", ["it does no harm, and more is not shown: MAE"]),
        ("worse", "worse", ["no, it harms: MAE"]),
    ],
)
def test_the_words_follow_the_verdicts(raw: str, constant: str, words: list[str]) -> None:
    row = {"expert": "face", "axis": "valence", "metric": "mae", "evaluated_on": "test", "n": 1200, "n_groups": 300}
    row |= {"n_effective_groups": 120.4, "mde": 0.02}
    row |= {"without": 0.5, "with": 0.4, "difference": -0.1, "ci_low": -0.2, "ci_high": -0.05, "verdict": raw}
    row |= {"constant": 0.41, "constant_difference": -0.01, "constant_ci_low": -0.02, "constant_ci_high": 0.01}
    said = sentence(row | {"constant_verdict": constant})
    assert said.startswith("has the calibration helped? face, valence: ")
    assert said.endswith("a difference of 0.020 would have been seen 8 times of 10")
    assert "1,200 rows of 300 groups, effectively 120, the test split; " in said
    for each in words:
        assert each in said
