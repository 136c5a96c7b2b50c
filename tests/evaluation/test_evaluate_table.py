from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse.calibration import fit_calibration
from emofuse.config import CalibrationConfig, EvaluationConfig, FusionConfig, StabilizerConfig, StatisticsConfig
from emofuse.errors import ConfigError, DataError
from emofuse.evaluation.evaluate_table import EvaluationResult, evaluate_table
from emofuse.evaluation.rows import rows_sentence
from emofuse.fusion.select import recalibrated
from emofuse.metrics import accuracy
from emofuse.tables.columns import both, column, texts
from emofuse.tables.schema import COMPARISONS, FUSED, METRICS, PREDICTIONS, conform, read_metadata, with_metadata

QUICK = EvaluationConfig()
CARDS = {
    "scene": {"variance_scale": [2.0, 2.0], "pooled_error": [0.1, 0.1]},
    "face": {"variance_scale": [1.0, 1.0], "pooled_error": [0.2, 0.2]},
}


def predictions(n: int = 120, *, seed: int = 0, splits: bool = False, labels: bool = True) -> pa.Table:
    """Predictions of known quality: the scene errs with sd .2, the face, on every other row, with sd .3."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-0.8, 0.8, (n, 2))
    scene, face = truth + rng.normal(0, 0.2, (n, 2)), truth + rng.normal(0, 0.3, (n, 2))
    found = np.arange(n) % 2 == 0
    face[~found] = np.nan
    names = np.array(["train", "valid", "test"])[np.arange(n) // 4 % 3]
    columns: dict[str, object] = {
        "sample_id": [f"s{i:04d}" for i in range(n)],
        "uri": [f"/p/{i}.jpg" for i in range(n)],
        "group": [f"g{i // 4}" for i in range(n)],
        "split": names if splits else [None] * n,
        "face_count": found.astype(int),
        "face_score": np.where(found, 0.9, np.nan),
        "luma": np.full(n, 100.0),
        "in_sample": np.zeros(n, dtype=bool),
        "status": np.where(found, "ok", "no_face"),
    }
    for i, axis in enumerate(("valence", "arousal")):
        if labels:
            columns[axis] = truth[:, i]
        columns |= {f"scene_{axis}": scene[:, i], f"scene_{axis}_variance": np.full(n, 0.02)}
        columns |= {f"face_{axis}": face[:, i], f"face_{axis}_variance": np.where(found, 0.09, np.nan)}
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    return with_metadata(conform(table, PREDICTIONS, "predictions"), experts=CARDS)


def value(metrics: pa.Table, system: str, metric: str, axis: str = "valence", subset: str = "all", **more: object):
    for row in metrics.to_pylist():
        wanted = {"system": system, "metric": metric, "axis": axis, "subset": subset, **more}
        if all(row[key] == each for key, each in wanted.items()):
            return row
    return None


def test_the_tables_have_the_form_of_the_schema() -> None:
    done = evaluate_table(predictions(), QUICK)
    assert done.fused.schema.names == FUSED.names
    assert done.metrics.schema.equals(METRICS)
    assert done.comparisons.schema.equals(COMPARISONS)
    systems = set(done.metrics.column("system").to_pylist())
    assert {"scene", "face", "fused", "inverse_variance", "equal", "fixed_60_40"} <= systems


def test_the_cards_scale_variances_before_they_weigh() -> None:
    done = evaluate_table(predictions(), replace(QUICK, fusion=FusionConfig(method="inverse_variance")))
    found = column(done.fused, "face_count") > 0
    weight = both(done.fused, "scene_weight")
    # .02 x 2 against .09: the scene's weight is .09 / .13.
    np.testing.assert_allclose(weight[found], 0.09 / 0.13, atol=1e-6)
    np.testing.assert_allclose(weight[~found], 1.0)
    np.testing.assert_allclose(both(done.fused, "scene", "variance"), 0.04, atol=1e-6)
    np.testing.assert_allclose(both(done.fused, "fused", "variance")[found], 1 / (1 / 0.04 + 1 / 0.09), atol=1e-6)


def test_a_missing_face_passes_the_scene_through_unchanged() -> None:
    done = evaluate_table(predictions(), QUICK).fused
    alone = column(done, "face_count") == 0
    np.testing.assert_array_equal(both(done, "fused")[alone], np.clip(both(done, "scene")[alone], -1, 1))
    np.testing.assert_array_equal(both(done, "fused", "variance")[alone], both(done, "scene", "variance")[alone])


def test_unknown_variances_are_pooled_and_say_so() -> None:
    full, source = recalibrated(np.zeros((2, 2)), np.array([[0.01, np.nan], [np.nan, np.nan]]), CARDS["face"])
    np.testing.assert_allclose(full, [[0.01, 0.2], [0.2, 0.2]])
    assert source.tolist() == [["model", "pooled"], ["pooled", "pooled"]]
    _, none = recalibrated(np.zeros((1, 2)), np.full((1, 2), np.nan), {})
    assert none.tolist() == [["none", "none"]]


def test_metrics_are_those_of_the_rows_with_prediction_and_label() -> None:
    table = predictions()
    done = evaluate_table(table, QUICK)
    truth, scene = both(table), both(table, "scene")
    row = value(done.metrics, "scene", "mae")
    assert row["value"] == pytest.approx(accuracy.mae(truth, np.clip(scene, -1, 1))[0], abs=1e-6)
    assert (row["n"], row["n_groups"]) == (120, 30)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert value(done.metrics, "face", "mae")["n"] == 60
    assert value(done.metrics, "fused", "mae", subset="face")["n"] == 60


def compared(done: EvaluationResult, **wanted: object) -> list[dict]:
    return [row for row in done.comparisons.to_pylist() if all(row[key] == each for key, each in wanted.items())]


def test_fusing_two_independent_experts_is_shown_to_help_where_a_face_was_used() -> None:
    table = predictions(1200)
    rows = compared(evaluate_table(table, QUICK), family="primary")
    assert [(row["a"], row["b"], row["axis"], row["subset"]) for row in rows] == [
        ("fused", "scene", "valence", "face"),
        ("fused", "scene", "arousal", "face"),
    ]
    for row in rows:
        assert row["verdict"] == "better"
        assert row["difference"] < 0
        assert row["ci_low"] < row["difference"] < row["ci_high"] < 0
        # 300 groups of four rows, two of which have a face.
        assert (row["n"], row["n_groups"], row["n_effective_groups"]) == (600, 300, pytest.approx(300))
        assert row["df"] == pytest.approx(299)
        assert row["p_holm"] >= row["p"]


def test_verdicts_are_on_declared_comparisons_alone_and_each_is_made_once() -> None:
    table = predictions(240, splits=True)
    done = evaluate_table(table, QUICK)
    families = {row["family"] for row in compared(done)}
    assert families == {"primary", "baseline", "exploratory"}
    for row in compared(done):
        judged = row["family"] != "exploratory"
        assert (row["verdict"] is not None) == (row["p_holm"] is not None) == (row["margin"] is not None) == judged
        assert judged or row["confidence"] == 0.95
    keys = [tuple(row[name] for name in ("subset", "a", "b", "axis", "metric", "in_sample")) for row in compared(done)]
    assert len(keys) == len(set(keys))
    assert {(row["b"], row["subset"]) for row in compared(done, family="baseline")} <= {
        ("constant_mean", "all"),
        ("constant_median", "all"),
    }


def test_systems_of_the_same_numbers_are_not_compared() -> None:
    done = evaluate_table(predictions(), replace(QUICK, fusion=FusionConfig(method="fixed")))
    assert compared(done, a="fused", b="fixed_60_40") == []
    assert compared(done, a="fused", b="scene", subset="no_face") == []
    shut = evaluate_table(predictions(), replace(QUICK, fusion=FusionConfig(min_face_score=1.0)))
    assert compared(shut, family="primary") == []
    assert value(shut.metrics, "fused", "mae", subset="face") is None


def test_no_verdict_depends_on_the_options_of_another_question() -> None:
    table = in_sequences(predictions(90))
    each = [
        evaluate_table(table, replace(QUICK, stabilizer=StabilizerConfig(filter=name)))
        for name in ("ema", "kalman", "none")
    ]
    first, *others = ([row for row in compared(done) if row["verdict"]] for done in each)
    assert first
    assert all(first == other for other in others)


def test_options_of_the_statistics_reach_the_verdicts() -> None:
    table = predictions(1200)
    wide = StatisticsConfig(margin=0.5, min_effect=0.4, confidence=0.9)
    rows = compared(evaluate_table(table, replace(QUICK, statistics=wide)), family="primary")
    assert [row["verdict"] for row in rows] == ["equivalent", "equivalent"]
    assert {row["margin"] for row in rows} == {0.5}
    assert all(row["confidence"] in (pytest.approx(0.9), pytest.approx(0.95)) for row in rows)


@pytest.mark.parametrize(("loss", "metric"), [("mse", "rmse"), ("mae", "mae"), ("ccc", "ccc")])
def test_a_calibration_is_judged_in_the_metric_it_was_fitted_for(tmp_path: Path, loss: str, metric: str) -> None:
    table = predictions(400, splits=True)
    valid = texts(table, "split") == "valid"
    experts = {name: (both(table, name)[valid], both(table, name, "variance")[valid]) for name in ("scene", "face")}
    config = CalibrationConfig(loss=loss)
    calibration = fit_calibration(both(table)[valid], experts, config, split="valid", fingerprint="")
    calibration.save(tmp_path / "calibration.json")
    done = evaluate_table(table, replace(QUICK, calibration=str(tmp_path / "calibration.json")))
    rows = compared(done, family="calibration")
    assert [(row["a"], row["b"], row["metric"]) for row in rows] == [("fused", "fused_raw", metric)] * 2


def test_what_a_human_reaches_stands_among_the_systems() -> None:
    table = predictions(400)
    for name, values in {"valence_std": np.full(400, 0.3), "valence_n": np.full(400, 100)}.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(values, table.schema.field(at).type))
    metrics = evaluate_table(table, QUICK).metrics
    # SE = .3 / sqrt(100); r = sqrt(1 - SE^2 / var), MAE = sqrt(2/pi) SE; one rater errs by .3 sqrt(1 + 1/99).
    variance = both(table)[:, 0].var(ddof=1)
    perfect, rater = (value(metrics, name, "mae") for name in ("ceiling", "one_rater"))
    assert perfect["value"] == pytest.approx(0.03 * np.sqrt(2 / np.pi), rel=1e-5)
    assert rater["value"] == pytest.approx(0.3 * np.sqrt((1 + 1 / 99) * 2 / np.pi), rel=1e-5)
    assert value(metrics, "ceiling", "pearson")["value"] == pytest.approx(np.sqrt(1 - 0.03**2 / variance), rel=1e-5)
    assert (perfect["n"], perfect["n_groups"], perfect["ci_low"]) == (400, 100, None)
    assert value(metrics, "ceiling", "mae", axis="arousal") is None


def marked(table: pa.Table, in_sample: np.ndarray) -> pa.Table:
    return table.set_column(table.schema.get_field_index("in_sample"), "in_sample", pa.array(in_sample))


def test_every_labelled_row_that_nothing_was_fitted_on_is_evaluated_whatever_its_split() -> None:
    table = predictions(240, splits=True)
    table = table.set_column(table.schema.get_field_index("valence"), "valence", pa.nulls(240, pa.float32()))
    arousal = column(table, "arousal").copy()
    arousal[:10] = np.nan
    table = table.set_column(table.schema.get_field_index("arousal"), "arousal", pa.array(arousal, from_pandas=True))
    done = evaluate_table(table, QUICK)
    assert done.split == "held_out"
    assert value(done.metrics, "scene", "mae", axis="arousal")["n"] == 230
    assert done.rows == {"split": "held_out", "evaluated": 230, "left_out": {"without a label": 10}}
    assert rows_sentence(done.rows) == "230 labelled rows evaluated (held_out); left out: 10 without a label"


def test_where_train_was_fitted_on_valid_is_not_held_out_either() -> None:
    table = predictions(240, splits=True)
    done = evaluate_table(marked(table, texts(table, "split") == "train"), QUICK)
    assert value(done.metrics, "scene", "mae")["n"] == 80
    assert set(done.metrics.column("in_sample").to_pylist()) == {False}
    assert done.rows["left_out"] == {
        "an expert was fitted on": 80,
        "of valid, by which an expert's training was chosen": 80,
    }


def test_where_everything_was_fitted_on_all_rows_stand_apart_and_none_are_evaluated() -> None:
    done = evaluate_table(marked(predictions(), np.ones(120, dtype=bool)), QUICK)
    assert done.split == "all"
    assert set(done.metrics.column("in_sample").to_pylist()) == {True}
    assert done.rows == {"split": "all", "evaluated": 0, "left_out": {"an expert was fitted on": 120}}


def test_a_split_may_be_named_and_constants_come_from_train() -> None:
    table = predictions(240, splits=True)
    done = evaluate_table(table, replace(QUICK, split="test"))
    assert done.split == "test"
    assert done.rows["left_out"] == {"of other splits": 160}
    assert set(done.metrics.column("split").to_pylist()) == {"test"}
    assert value(done.metrics, "scene", "mae")["n"] == 80
    train = texts(table, "split") == "train"
    test = texts(table, "split") == "test"
    expected = np.abs(both(table)[test, 0] - np.median(both(table)[train, 0])).mean()
    assert value(done.metrics, "constant_median", "mae")["value"] == pytest.approx(expected, abs=1e-6)


def test_shuffling_test_labels_changes_no_estimate() -> None:
    table = predictions(240, splits=True)
    test = np.flatnonzero(texts(table, "split") == "test")
    valence = column(table, "valence").copy()
    valence[test] = valence[np.random.default_rng(0).permutation(test)]
    at = table.schema.get_field_index("valence")
    shuffled = table.set_column(at, "valence", pa.array(valence, pa.float32()))
    first, second = evaluate_table(table, QUICK).fused, evaluate_table(shuffled, QUICK).fused
    kept = [name for name in first.column_names if name != "valence"]
    assert first.select(kept).equals(second.select(kept))


def test_rows_an_expert_was_trained_on_stay_out_of_every_headline() -> None:
    table = predictions()
    done = evaluate_table(marked(table, np.arange(120) < 40), replace(QUICK, split="all"))
    assert value(done.metrics, "scene", "mae", in_sample=False)["n"] == 80
    assert value(done.metrics, "scene", "mae", in_sample=True)["n"] == 40
    assert set(done.comparisons.column("in_sample").to_pylist()) == {False, True}
    assert {row["family"] for row in compared(done, in_sample=True)} == {"exploratory"}
    assert all(row["n"] == 40 for row in compared(done, family="primary"))


def test_data_without_labels_gets_everything_that_needs_none() -> None:
    done = evaluate_table(predictions(labels=False), QUICK)
    assert done.metrics.num_rows == 0
    assert np.isfinite(both(done.fused, "fused")).all()


def test_gates_shut_the_face_out_and_say_which() -> None:
    table = predictions()
    found = column(table, "face_count") > 0
    wide = found & (np.arange(120) % 4 == 0)
    for axis in ("valence", "arousal"):
        name = f"face_{axis}_variance"
        values = pa.array(np.where(found, np.where(wide, 0.09, 0.04), np.nan), pa.float32(), from_pandas=True)
        table = table.set_column(table.schema.get_field_index(name), name, values)
    done = evaluate_table(table, replace(QUICK, fusion=FusionConfig(max_face_std=0.29))).fused
    np.testing.assert_array_equal(column(done, "gate_std") > 0, wide)
    assert not (column(done, "gate_score") > 0).any()
    np.testing.assert_allclose(both(done, "scene_weight")[wide | ~found], 1.0)
    assert (both(done, "scene_weight")[found & ~wide] < 1).all()


def test_a_constant_deviation_is_named_and_is_no_gate() -> None:
    facts = read_metadata(evaluate_table(predictions(), QUICK).fused.schema)["fusion"]
    assert facts["constant_weight"] == {"scene": ["valence", "arousal"], "face": ["valence", "arousal"]}
    with pytest.raises(ConfigError, match="valence and arousal variance is the same on every row"):
        evaluate_table(predictions(), replace(QUICK, fusion=FusionConfig(max_face_std=0.29)))


def test_experts_of_whom_nothing_is_known_together_are_taken_as_correlated() -> None:
    done = evaluate_table(predictions(), QUICK).fused
    found = column(done, "face_count") > 0
    # v = .04 and .09, c = .5 sqrt(.04 * .09): w1 = (.09 - c) / (.04 + .09 - 2 c).
    np.testing.assert_allclose(both(done, "scene_weight")[found], 0.06 / 0.07, atol=1e-6)
    facts = read_metadata(done.schema)["fusion"]
    assert (facts["rule"], facts["correlation"]) == ("best_linear_unbiased", "assumed correlation")
    plain = evaluate_table(predictions(), replace(QUICK, fusion=FusionConfig(method="inverse_variance")))
    assert read_metadata(plain.fused.schema)["fusion"]["correlation"] is None
    same = [
        value(each.metrics, "inverse_variance", "mae")["value"]
        for each in (evaluate_table(predictions(), QUICK), plain)
    ]
    assert same[0] == same[1] == value(plain.metrics, "fused", "mae")["value"]


def test_a_calibration_serves_conformal_intervals_of_what_it_fuses(tmp_path) -> None:
    table = predictions(1200, splits=True)
    rows = texts(table, "split") == "valid"
    experts = {name: (both(table, name)[rows], both(table, name, "variance")[rows]) for name in ("scene", "face")}
    path = tmp_path / "calibration.json"
    fit_calibration(both(table)[rows], experts, split="valid", fingerprint="f").save(path)
    config = replace(QUICK, calibration=str(path), statistics=StatisticsConfig(confidence=0.8))
    done = evaluate_table(table, config).fused
    truth, low, high = (
        both(done, name, end) if end else both(done) for name, end in (("", ""), ("fused", "low"), ("fused", "high"))
    )
    inside = (low <= truth) & (truth <= high)
    kinds = column(done, "face_count") > 0
    for kind in (kinds, ~kinds):
        # 400 evaluated rows and 400 fitted: three standard errors of coverage are below .1.
        test = kind & (texts(done, "split") == "test")
        np.testing.assert_allclose(inside[test].mean(axis=0), 0.8, atol=0.1)
    other = evaluate_table(table, replace(config, fusion=FusionConfig(method="equal"))).fused
    assert np.isnan(both(other, "fused", "low")).all()
    with pytest.raises(ConfigError, match="no interval of level"):
        evaluate_table(table, replace(config, statistics=StatisticsConfig(confidence=0.999)))


def in_sequences(table: pa.Table) -> pa.Table:
    """The rows as frames of clips of 30, at 25 a second."""
    frames = np.arange(table.num_rows) % 30
    names = np.array([f"clip{i // 30}" for i in range(table.num_rows)], dtype=object)
    for name, values in (
        ("sequence", pa.array(names)),
        ("frame_index", pa.array(frames)),
        ("timestamp", pa.array(frames / 25.0)),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def test_sequences_are_smoothed_in_order_however_the_rows_come() -> None:
    table = in_sequences(predictions(90))
    config = replace(QUICK, stabilizer=StabilizerConfig(alpha=0.5, uncertainty_threshold=10.0))
    done = evaluate_table(table, config)
    shuffled = evaluate_table(table.take(np.random.default_rng(1).permutation(90)), config)
    assert shuffled.fused.equals(done.fused)
    fused, steady = both(done.fused, "fused"), both(done.fused, "smoothed")
    np.testing.assert_allclose(steady[0], fused[0])
    np.testing.assert_allclose(steady[1], 0.5 * fused[1] + 0.5 * fused[0], atol=1e-6)
    np.testing.assert_allclose(steady[30], fused[30], atol=1e-6)
    jitter = value(done.metrics, "smoothed", "jitter", subset="sequences")
    assert jitter["value"] < value(done.metrics, "fused", "jitter", subset="sequences")["value"]
    assert jitter["n_groups"] == 3
    # docs/methods.md: frames to 90 % of a step are ceil(ln .1 / ln(1 - alpha)).
    assert value(done.metrics, "smoothed", "response_time", subset="sequences")["value"] == 4


def test_a_split_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="no row belongs to split 'valid'; there are: none"):
        evaluate_table(predictions(), replace(QUICK, split="valid"))


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="the predictions have no rows"):
        evaluate_table(predictions().slice(0, 0), QUICK)


def test_a_row_that_stands_there_twice_is_refused() -> None:
    table = predictions()
    with pytest.raises(DataError, match=r"unique in predictions; 120 row\(s\)"):
        evaluate_table(pa.concat_tables([table, table]), QUICK)


def test_labels_of_one_axis_alone_make_its_constants() -> None:
    table = predictions(splits=True)
    place = table.schema.get_field_index("arousal")
    table = table.set_column(place, "arousal", pa.nulls(table.num_rows, pa.float32()))
    done = evaluate_table(table, replace(QUICK, split="test"))
    train = both(table)[texts(table, "split") == "train", 0]
    test = both(table)[texts(table, "split") == "test", 0]
    found = value(done.metrics, "constant_mean", "mae")
    assert found["value"] == pytest.approx(np.abs(test - train.mean()).mean())
    assert value(done.metrics, "constant_mean", "mae", axis="arousal") is None


def test_another_table_is_refused() -> None:
    with pytest.raises(DataError, match="lacks sample_id"):
        evaluate_table(pa.table({"x": [1]}), QUICK)
