"""Phase 1 as a job: what it recovers, what it refuses, and that test labels reach no fitted number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from emofuse.calibration import Calibration
from emofuse.config import (
    CalibrationConfig,
    CalibrationSweepConfig,
    EvaluationConfig,
    StatisticsConfig,
)
from emofuse.errors import ConfigError, DataError
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.io import storage
from emofuse.pipeline import re_evaluate
from emofuse.runs.run import Run, predictions_of
from emofuse.tables.columns import column, texts
from emofuse.tuning.calibration.losses import CrossValidationData
from emofuse.tuning.calibration.run import CalibrationJob
from tests.commandline import run_command
from tests.tuning.miscalibrated import OVERCONFIDENCE, SCALE, SHIFT, table

FEW = CalibrationSweepConfig(
    means=("identity", "affine"),
    losses=("mse",),
    l2=(1e-4,),
    variances=("none", "scaling"),
    methods=("inverse_variance", "equal"),
    max_weight_ratio=(),
    min_face_score=(0.7,),
    max_face_std=(),
    min_luma=(),
    folds=3,
)
EVALUATION = EvaluationConfig(statistics=StatisticsConfig(gallery=0))
SWEPT = CalibrationJob(options=FEW, evaluation_config=EVALUATION, local=True)
AS_IT_IS = replace(SWEPT, tune=False, layers=CalibrationConfig(variance="scaling"))


def written(rows: pa.Table, folder: Path) -> str:
    path = folder / "predictions.parquet"
    pq.write_table(rows, path)
    return str(path)


def changed(rows: pa.Table, name: str, change: Callable[[np.ndarray], object]) -> pa.Table:
    at = rows.schema.get_field_index(name)
    values = rows.column(name).to_numpy(zero_copy_only=False).copy()
    return rows.set_column(at, rows.schema.field(at), pa.array(change(values), rows.schema.field(at).type))


def fitted(rows: pa.Table, folder: Path, fitting: CalibrationJob = SWEPT) -> bytes:
    """The calibration file that a job writes, and its surface beside it, without the evaluation."""
    run = Run(str(folder / "fitted"))
    fitting.fit(rows.sort_by("sample_id"), run, {"emofuse": "test"}).save(folder / "calibration.json")
    return (folder / "calibration.json").read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("calibration")
    return SWEPT.run(written(table(900), folder), str(folder / "run"))


def test_the_fit_recovers_what_was_done_to_the_experts(tmp_path: Path) -> None:
    fitted(table(6000), tmp_path, AS_IT_IS)
    calibration = Calibration.load(tmp_path / "calibration.json")
    for name, expert in calibration.experts.items():
        found = expert.mean.to_dict()
        # Four standard errors of a slope: residual over the spread of the means, with 2,000 rows.
        assert [found["scale_v"], found["scale_a"]] == pytest.approx(SCALE[name], rel=0.06)
        assert [found["shift_v"], found["shift_a"]] == pytest.approx(SHIFT[name], abs=0.03)
        # Mean squared z of 2,000 (1,400 with a face) Gaussians: four standard errors are 4 sqrt(2 / n) = .15.
        assert np.square(expert.variance.scale) == pytest.approx(OVERCONFIDENCE[name], rel=0.2)


def test_a_run_holds_all_it_promises(run: Run) -> None:
    there = set(storage.names(run.address))
    assert {
        "calibration.json",
        "layers.parquet",
        "surface.parquet",
        "metrics.parquet",
        "comparisons.parquet",
        "report.html",
    } <= there
    assert {"fused", "predictions", "run.json"} <= there
    assert run.finished
    record = run.load()
    assert record["split"] == "held_out"
    assert set(record["fitted_on"]) == {"split", "fingerprint", "rows", "groups"}
    assert record["fitted_on"]["split"] == "valid"
    assert {name: each["mean"] for name, each in record["chosen"]["layers"].items()} == dict.fromkeys(SCALE, "affine")
    # Two rules with and without a gate; behind them two means and two variances for both axes of both experts.
    assert record["sweep"]["rules_and_gates"] == pq.read_table(f"{run.address}/surface.parquet").num_rows == 4
    assert record["sweep"]["layers"] == pq.read_table(f"{run.address}/layers.parquet").num_rows == 16
    page = (Path(run.address) / "report.html").read_text()
    assert "Bland–Altman" in page
    assert "Reliability" in page
    assert "Surface of the sweep" in page


def test_calibrated_is_compared_with_uncalibrated_and_errs_less(run: Run) -> None:
    rows = pq.read_table(run.comparisons).to_pylist()
    for name in ("scene", "face", "fused"):
        (row,) = [
            row
            for row in rows
            if (row["a"], row["b"], row["axis"], row["metric"], row["subset"])
            == (name, f"{name}_raw", "valence", "mae", "all")
        ]
        assert row["ci_high"] < 0


def test_it_ends_by_saying_whether_it_helped(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    replace(SWEPT, console=Console(width=200)).run(run.predictions, run.address)
    last = capsys.readouterr().out
    for name in ("scene", "face"):
        for axis in ("valence", "arousal"):
            assert f"has the calibration helped? {name}, {axis}: yes: MAE" in last
    rows = storage.read_table(run.predictions)
    test = (texts(rows, "split") == "test") & np.isfinite(column(rows, "face_arousal"))
    valid = (texts(rows, "split") == "valid") & np.isfinite(column(rows, "face_arousal"))
    (row,) = [each for each in run.load()["helped"] if (each["expert"], each["axis"]) == ("face", "arousal")]
    truth = column(rows, "arousal")
    assert row["n"] == test.sum()
    assert row["without"] == pytest.approx(np.abs(truth - column(rows, "face_arousal"))[test].mean())
    assert row["constant"] == pytest.approx(np.abs(truth[test] - np.median(truth[valid])).mean())


def test_without_a_test_split_a_part_of_valid_is_set_aside_to_say_it(tmp_path: Path) -> None:
    rows = changed(table(900), "split", lambda values: ["valid"] * len(values))
    for axis in ("valence", "arousal"):
        rows = changed(rows, f"scene_{axis}", lambda values: np.full(len(values), None))
    record = SWEPT.run(written(rows, tmp_path), str(tmp_path / "run")).load()
    assert [(each["expert"], each["evaluated_on"], each["n_groups"]) for each in record["helped"]] == [
        ("face", "set aside", 18)
    ] * 2
    assert all(each["verdict"] == "better" for each in record["helped"])


def test_the_main_job_gives_the_same_numbers_with_the_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation_config = replace(EVALUATION, calibration=f"{run.address}/calibration.json")
    loaded = []
    load = Calibration.load.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Calibration, "load", classmethod(lambda cls, path: loaded.append(path) or load(cls, path)))
    again = re_evaluate(run.predictions, out=str(tmp_path / "again"), evaluation=evaluation_config)
    assert loaded == [evaluation_config.calibration], "a calibration is read once a run"
    assert pq.read_table(again.metrics).equals(pq.read_table(run.metrics))
    assert pq.read_table(again.comparisons).equals(pq.read_table(run.comparisons))


def test_rows_it_was_fitted_on_are_marked_wherever_it_is_applied(run: Run) -> None:
    evaluation_config = replace(EVALUATION, calibration=f"{run.address}/calibration.json", split="valid")
    again = evaluate_table(storage.read_table(run.predictions), evaluation_config)
    assert all(again.metrics.column("in_sample").to_pylist())
    assert all(again.comparisons.column("in_sample").to_pylist())
    assert not any(pq.read_table(run.metrics).column("in_sample").to_pylist())


def test_rows_it_was_fitted_on_are_known_in_another_cut_of_the_data_and_in_another_split(run: Run) -> None:
    rows = storage.read_table(run.predictions)
    valid = texts(rows, "split") == "valid"
    fewer = rows.filter(pa.array(np.arange(rows.num_rows) != np.flatnonzero(valid)[0]))
    dealt = changed(fewer, "split", lambda values: [{"valid": "test", "test": "valid"}.get(v, v) for v in values])
    evaluation_config = replace(EVALUATION, calibration=f"{run.address}/calibration.json", split="test")
    assert all(evaluate_table(dealt, evaluation_config).metrics.column("in_sample").to_pylist())
    marks = evaluate_table(dealt, evaluation_config).fused
    np.testing.assert_array_equal(column(marks, "in_sample") > 0, texts(marks, "split") == "test")


def test_a_group_in_valid_and_another_split_is_refused(tmp_path: Path) -> None:
    rows = changed(table(90), "group", lambda values: ["g"] * len(values))
    with pytest.raises(DataError, match=r"valid and train share 1 group\(s\), first 'g'; split by group anew"):
        SWEPT.run(written(rows, tmp_path), str(tmp_path / "run"))


def test_an_unfinished_run_is_not_fitted_on(tmp_path: Path) -> None:
    part = Run(str(tmp_path / "part"))
    part.save({"emofuse": "test", "manifest": {"rows": 91}})
    storage.write_table(storage.join(part.predictions, "part-0.parquet"), table(90))
    with pytest.raises(DataError, match="90 of 91 predictions: it is not finished"):
        SWEPT.run(part.address, str(tmp_path / "a"))
    with pytest.raises(DataError, match="90 of 91 predictions: it is not finished"):
        re_evaluate(part.predictions, out=str(tmp_path / "b"), evaluation=EVALUATION)


def test_a_calibration_is_read_from_wherever_it_was_written(run: Run) -> None:
    address = "memory://bucket/calibration.json"
    storage.write_bytes(address, storage.read_bytes(f"{run.address}/calibration.json"))
    assert Calibration.load(address).fitted_on == Calibration.load(f"{run.address}/calibration.json").fitted_on


def test_test_labels_reach_no_fitted_number(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = table(900)
    test = np.flatnonzero(texts(rows, "split") == "test")
    for axis in ("valence", "arousal"):
        rows = changed(rows, axis, lambda values: _put(values, test, rng.permutation(values[test])))
    stored = storage.read_bytes(f"{run.address}/calibration.json")
    assert fitted(rows, tmp_path) == stored
    surface = pq.read_table(tmp_path / "fitted" / "surface.parquet")
    assert surface.equals(pq.read_table(f"{run.address}/surface.parquet"))


def _put(values: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    values[rows] = new
    return values


def test_valid_labels_do_reach_them(run: Run, tmp_path: Path) -> None:
    rows = table(900)
    valid = np.flatnonzero(texts(rows, "split") == "valid")
    rows = changed(rows, "valence", lambda values: _put(values, valid, values[valid][::-1]))
    assert fitted(rows, tmp_path) != storage.read_bytes(f"{run.address}/calibration.json")


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_only_valid_is_fitted_on(split: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="valid split alone"):
        replace(SWEPT, split=split).run(written(table(90), tmp_path), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_without_valid_rows_the_job_says_so_in_one_line(tmp_path: Path) -> None:
    rows = changed(table(90), "split", lambda values: ["train" if v == "valid" else v for v in values])
    predictions = written(rows, tmp_path)
    done = run_command("calibrate", "--predictions", predictions, "--out", tmp_path / "run", "--local")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "'valid'" in done.stderr
    assert "Traceback" not in done.stderr
    # The directory is not claimed for it: the corrected fit goes there.
    SWEPT.run(written(table(90), tmp_path), str(tmp_path / "run"))
    assert storage.exists(str(tmp_path / "run" / "_SUCCESS"))


def test_a_face_expert_alone_without_variances_is_calibrated_with_pooled_ones(tmp_path: Path) -> None:
    rows = table(900, variances=False)
    for axis in ("valence", "arousal"):
        rows = changed(rows, f"scene_{axis}", lambda values: np.full(len(values), None))
    fitted(rows, tmp_path)
    calibration = Calibration.load(tmp_path / "calibration.json")
    assert set(calibration.experts) == {"face"}
    assert calibration.experts["face"].variance is None
    assert pq.read_table(tmp_path / "fitted" / "surface.parquet").num_rows == 1
    fused = evaluate_table(rows, replace(EVALUATION, calibration=str(tmp_path / "calibration.json"))).fused.to_pylist()
    assert {row["face_variance_source"] for row in fused if row["face_valence"] is not None} == {"pooled"}
    assert all(row["scene_valence"] is None for row in fused)


def test_a_finished_run_is_left_alone_and_another_is_refused(run: Run) -> None:
    before = (Path(run.address) / "_SUCCESS").stat().st_mtime_ns
    SWEPT.run(run.predictions, run.address)
    assert (Path(run.address) / "_SUCCESS").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another evaluate fingerprint"):
        AS_IT_IS.run(run.predictions, run.address)


def test_an_interrupted_run_is_taken_up_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        (tmp_path / "run" / "left.parquet").touch()
        raise KeyboardInterrupt

    predictions, out = written(table(300), tmp_path), str(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(CrossValidationData, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            AS_IT_IS.run(predictions, out)
    assert not Run(out).finished
    assert AS_IT_IS.run(predictions, out).finished


def test_a_run_directory_or_its_predictions_will_do(run: Run, tmp_path: Path) -> None:
    address, record = predictions_of(run.address)
    assert address == run.predictions
    assert record == predictions_of(run.predictions)[1] == run.load()
    with pytest.raises(DataError, match="no predictions at"):
        predictions_of(str(tmp_path / "nothing"))


def test_without_a_sweep_the_layers_named_are_fitted(tmp_path: Path) -> None:
    stored = json.loads(fitted(table(300), tmp_path, AS_IT_IS))
    assert {name: each["variance"] for name, each in stored["config"].items()} == dict.fromkeys(SCALE, "scaling")
    assert stored["fusion"]["method"] == "auto"
    assert not (tmp_path / "fitted" / "surface.parquet").exists()
