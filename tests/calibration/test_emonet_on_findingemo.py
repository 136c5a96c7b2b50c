"""Real predictions of EmoNet on images of another domain; `tests/proof/calibration.py` is the full run."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from emofuse.config import CalibrationSweepConfig
from emofuse.tuning.calibration import CrossValidationData, sweep
from emofuse.tuning.calibration.losses import dealt

pytestmark = pytest.mark.slow
PROOF = Path(__file__).resolve().parents[1] / "proof" / "calibration.py"


@pytest.fixture(scope="module")
def proof():
    spec = importlib.util.spec_from_file_location("proof_calibration", PROOF)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(proof, shared_data):
    if not (shared_data / "emonet_on_findingemo").is_dir():
        pytest.skip("needs the predictions of EmoNet on FindingEmo among the development data")
    return {
        part: {(r["system"], r["axis"], r["metric"]): r for r in rows}
        for part, rows in proof.run(shared_data, 8).items()
    }


def test_an_affine_fit_beats_the_constant_for_valence(results):
    # Published figures of this data: raw about .554, affine about .459, constant median about .480 (± split noise).
    means = results["means"]
    assert means["raw", "valence", "mae"]["value"] == pytest.approx(0.554, abs=0.015)
    assert means["affine", "valence", "mae"]["value"] == pytest.approx(0.459, abs=0.012)
    assert means["constant median", "valence", "mae"]["value"] == pytest.approx(0.480, abs=0.015)
    assert means["affine", "valence", "mae"]["verdict"] == "better"


def test_two_outputs_and_curves_do_better_still(results):
    means = results["means"]
    quadratic = means["both outputs, quadratic, absolute error", "valence", "mae"]
    assert quadratic["verdict"] == "better"
    assert quadratic["value"] < means["affine", "valence", "mae"]["value"] - 0.004


def test_medians_on_the_lattice_of_the_labels_do_best(results):
    # Seven integers: .4476 by grouped cross-validation with an independent ordinal fit, .448 to .450 on rows kept back.
    means = results["means"]
    ordinal = means["both outputs, ordinal, absolute error", "valence", "mae"]
    assert ordinal["value"] == pytest.approx(0.449, abs=0.008)
    assert ordinal["value"] < means["both outputs, quadratic, absolute error", "valence", "mae"]["value"] - 0.003
    assert ordinal["verdict"] == "better"


def test_the_default_sweep_takes_the_ordinal_medians_for_valence_and_the_constant_for_arousal(proof, shared_data):
    if not (shared_data / "emonet_on_findingemo").is_dir():
        pytest.skip("needs the predictions of EmoNet on FindingEmo among the development data")
    labels, predictions, groups = proof.read(shared_data)
    silent, unknown = np.full_like(labels, np.nan), np.full(len(labels), np.nan)
    fold, bundle = dealt(groups, 5, 0)
    mean, variance = np.stack([silent, predictions]), np.full((2, *labels.shape), np.nan)
    ids = np.arange(len(labels)).astype(str)
    heard = np.ones(len(labels), dtype=bool)
    sweep_data = CrossValidationData(labels, mean, variance, unknown, unknown, groups, ids, fold, bundle, heard)
    swept = sweep(sweep_data, CalibrationSweepConfig(), storage_path=None)
    assert (swept.layers["face"].mean, swept.layers["face"].loss) == (("ordinal", "constant"), "mae")
    chosen = {row["axis"]: row for row in swept.tried.to_pylist() if row["layer"] == "mean" and row["chosen"]}
    assert chosen["valence"]["objective"] < 0.450
    constant = np.abs(labels[:, 1] - np.median(labels[:, 1])).mean()
    assert chosen["arousal"]["objective"] == pytest.approx(constant, abs=1e-3)


def test_arousal_does_not_beat_the_constant_and_it_is_said(results):
    means = results["means"]
    assert means["affine", "arousal", "mae"]["value"] == pytest.approx(0.449, abs=0.012)
    assert means["constant median", "arousal", "mae"]["value"] == pytest.approx(0.446, abs=0.012)
    for (_, axis, metric), row in means.items():
        if axis == "arousal" and metric == "mae":
            assert row.get("verdict") != "better"


@pytest.mark.parametrize("axis", ["valence", "arousal"])
@pytest.mark.parametrize("system", ["constant, conformal", "from answers, affine, conformal"])
def test_coverage_holds_on_held_out_groups(results, axis, system):
    row = results["intervals"][system, axis, "coverage_90"]
    assert 0.88 <= row["value"] <= 0.92
    assert row["sd"] < 0.03


def test_the_verdict_on_variances_is_in_the_table(results):
    assert results["intervals"]["from answers, affine", "valence", "nll"]["verdict"] == "better"
    assert results["intervals"]["from answers, affine", "arousal", "nll"]["verdict"] in ("better", "equivalent")


def test_groups_share_neither_query_nor_file(proof):
    import pandas as pd

    rows = pd.DataFrame(
        {
            "group": ["Run_1/happy rally", "Run_2/happy rally", "Run_2/sad man", "Run_2/calm dog"],
            "image_path": ["/a/1.jpg", "/b/2.jpg", "/c/2.jpg", "/d/4.jpg"],
        }
    )
    groups = proof.whole_groups(rows)
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_splits_are_grouped_seventy_fifteen_fifteen(proof):
    groups = np.arange(2000) // 2
    for train, valid, test in proof.splits(groups, 3):
        assert sorted(np.concatenate([train, valid, test])) == list(range(2000))
        np.testing.assert_allclose([len(train), len(valid), len(test)], [1400, 300, 300], atol=2)
        assert sum(len(set(groups[part])) for part in (train, valid, test)) == 1000
