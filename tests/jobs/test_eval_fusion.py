"""`emofuse evaluate` as people run it: its output, its exit status, its files; as a process where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from emofuse.config import ComputeConfig, InferenceConfig
from emofuse.errors import DataError
from emofuse.experts.card import embedded_head
from emofuse.io import storage
from emofuse.pipeline import evaluate, predict
from emofuse.runs.run import Run
from emofuse.tables.schema import FUSED, PREDICTIONS
from tests.commandline import run_command

JOB = Path(__file__).resolve().parents[2] / "jobs" / "eval_fusion.py"
QUICK = ("--local", "--compute.batch-size", "4")


def process(*arguments: object, cwd: Path, check: int) -> None:
    """The job as a file, as `ray job submit` runs it."""
    environment = {key: value for key, value in os.environ.items() if key != "EMOFUSE_RUNS"}
    command = [sys.executable, str(JOB), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)
    assert done.returncode == check, done.stdout + done.stderr


def run(*arguments: object, cwd: Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_command("evaluate", *arguments, cwd=cwd)
    assert done.returncode == check, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the job has run without arguments but those that make it quick."""
    folder = tmp_path_factory.mktemp("work")
    process(*QUICK, "--out", "first", cwd=folder, check=0)
    return folder


def test_a_run_leaves_everything_where_the_documents_say(finished: Path) -> None:
    first = finished / "first"
    assert {path.name for path in first.iterdir()} == {
        "run.json", "predictions", "fused", "metrics.parquet", "comparisons.parquet", "report.html", "_SUCCESS",
    }  # fmt: skip
    record = json.loads((first / "run.json").read_text())
    assert record["counts"]["in"] == record["counts"]["out"] == pq.read_table(first / "fused").num_rows
    assert set(record["fingerprints"]) == {"predict", "evaluate"}
    assert {"predict", "evaluate", "report"} <= set(record["stages"])
    assert record["stages"]["predict"]["images_per_second"] > 0
    assert len(record["weights"]["scene.head"]) == 64
    assert record["libraries"]["torch"]
    assert storage.read_table(str(first / "predictions")).schema.names == [*PREDICTIONS.names, "theme"]
    assert storage.read_table(str(first / "fused")).schema.names == [*FUSED.names, "theme"]


def test_a_finished_run_is_a_no_op_that_says_so(finished: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (finished / "first").rglob("*") if path.is_file()}
    done = run(*QUICK, "--out", "first", cwd=finished)
    assert "nothing was done" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == f"report: {finished / 'first' / 'report.html'}"
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_stored_predictions_are_evaluated_anew_without_images(finished: Path) -> None:
    run("--predictions", "first", "--out", "second", "--fusion.method", "equal", cwd=finished)
    first, second = (pq.read_table(finished / name / "fused") for name in ("first", "second"))
    assert first.column("scene_valence").equals(second.column("scene_valence"))
    assert not first.column("fused_valence").equals(second.column("fused_valence"))
    assert not (finished / "second" / "predictions").exists()
    weights = json.loads((finished / "second" / "run.json").read_text())["weights"]
    assert weights == json.loads((finished / "first" / "run.json").read_text())["weights"]


def test_another_predict_or_evaluate_fingerprint_is_refused_in_the_same_directory(finished: Path) -> None:
    other = run(*QUICK, "--seed", "1", "--out", "first", cwd=finished, check=1)
    assert "another predict fingerprint" in other.stderr
    evaluated = run(*QUICK, "--fusion.method", "equal", "--out", "first", cwd=finished, check=1)
    assert "another evaluate fingerprint" in evaluated.stderr
    assert "--predictions" in evaluated.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--manifest", "absent.parquet"), "no manifest at"),
        (("--manifest", "words.txt"), "cannot be read as a Parquet manifest"),
        (("--predictions", "absent"), "no predictions at"),
        (("--predictions", "words.txt"), "cannot be read as Parquet"),
        (("--manifest", "m.parquet", "--predictions", "p"), "--manifest would have no effect"),
        (("--scene.head", "absent.safetensors"), "no head at"),
        (("--face.expert", "emonet"), "CC BY-NC-ND"),
        (("--face.expert", "emonet", "--face.checkpoint", "absent.pth"), "absent.pth"),
        (("--face.expert", "emonet", "--face.checkpoint", "words.txt"), "words.txt (11 bytes) is truncated or not a"),
        (("--face.detector", "nothing"), "face.detector must be one of"),
        (("--out", "occupied"), "holds no run"),
        (("--address", "auto"), "give one of them"),
        (("--predictions", "p", "--face.views", "3"), "--face.views would have no effect"),
        (("--predictions", "p", "--scene.passes", "3", "--address", "a"), "--address, --scene.passes would have"),
        (("--fusion.min-face-score", "2"), "fusion.min_face_score must be at least 0 and at most 1; got 2"),
        (("--calibration", "words.txt"), "words.txt"),
        (("--fusion.method", "constant"), "give a calibration"),
        (("--statistics.confidence", "95"), "above 0.5 and below 1"),
        (("--statistics.margin", "0"), "must be above 0"),
        (("--statistics.min-effect", "-1"), "at least 0"),
        (("--split", "valid"), "no row belongs to split 'valid'"),
        (("--stabilizer.alpha", "7"), "alpha"),
        (("--stabilizer.autocorrelation", "7"), "stabilizer.autocorrelation must be"),
        (("--stabilizer.file", "words.txt"), "words.txt"),
        (("--compute.batch-size", "0"), "compute.batch_size must be at least 1"),
        (("--compute.actors", "-2"), "compute.actors must be at least 1"),
        (("--face.min-score", "2"), "face.min_score"),
        (("--compute.device", "cuda"), "no GPU on this machine"),
        (("--compute.device", "banana"), "one of auto, cpu, cuda; got 'banana'"),
        (("--scene.head", str(embedded_head("face"))), "is a head for the face"),
        (("--face.checkpoint", str(embedded_head("scene"))), "is a head for the scene"),
    ],
)
def test_a_user_error_is_one_line_and_status_1(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "words.txt").write_text("not Parquet")
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "thesis.tex").write_text("x")
    done = run("--local", *arguments, cwd=tmp_path, check=1)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not list(tmp_path.rglob("run.json"))


def test_a_process_that_read_parquet_ends_with_its_own_status(finished: Path) -> None:
    # Threads of pyarrow and torch that outlive the interpreter abort about every third such process.
    for i in range(6):
        absent = ("--calibration", "absent.json", "--out", f"never-{i}")
        process("--predictions", "first", *absent, cwd=finished, check=1)


def test_a_wrong_option_is_told_by_the_command_line(tmp_path: Path) -> None:
    done = run("--face.viws", "3", cwd=tmp_path, check=2)
    assert "--face.views" in done.stderr + done.stdout


@pytest.mark.parametrize("address", [None, "auto"])
def test_no_cluster_is_joined_for_what_cannot_be_run(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.pipeline.joined", lambda _: pytest.fail("joined"))
    with pytest.raises(DataError, match="no manifest at"):
        evaluate("absent.parquet", address=address)


def test_predictions_alone_are_taken_up_by_an_evaluation(finished: Path, tmp_path: Path) -> None:
    inference, out = InferenceConfig(compute=ComputeConfig(batch_size=4)), str(tmp_path / "run")
    predicted = predict(out=out, inference=inference, local=True, console=Console(quiet=True))
    stored = storage.read_table(str(finished / "first" / "predictions"))
    assert predicted.sort_by("sample_id").equals(stored.sort_by("sample_id"))
    assert not Run(out).finished
    evaluated = evaluate(out=out, inference=inference, local=True, console=Console(quiet=True))
    assert evaluated.finished
    assert evaluated.read_metrics().num_rows


def test_relative_output_is_refused_in_a_submitted_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    done = run("--local", "--out", "runs/x", cwd=tmp_path, check=1)
    assert "temporary copy" in done.stderr
