from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from emofuse.config import ComputeConfig, FaceConfig, EvaluationConfig, InferenceConfig, SceneConfig, StatisticsConfig
from emofuse.errors import ConfigError
from emofuse.io import storage
from emofuse.runs import run as runs
from emofuse.runs.run import Run

MARKS = {"predict": "a" * 64, "evaluate": "b" * 64}


def test_what_can_change_a_prediction_changes_predicts_fingerprint() -> None:
    base = InferenceConfig()
    mark = runs.inference_fingerprint("m", base, {"scene": "1"})
    changes = [
        runs.inference_fingerprint("n", base, {"scene": "1"}),
        runs.inference_fingerprint("m", base, {"scene": "2"}),
        runs.inference_fingerprint("m", replace(base, seed=1), {"scene": "1"}),
        runs.inference_fingerprint("m", replace(base, scene=SceneConfig(passes=5)), {"scene": "1"}),
        runs.inference_fingerprint("m", replace(base, face=FaceConfig(min_score=0.4)), {"scene": "1"}),
        runs.inference_fingerprint("m", replace(base, compute=ComputeConfig(batch_size=8)), {"scene": "1"}),
    ]
    assert mark not in changes
    assert len(set(changes)) == len(changes)


def test_how_wide_a_run_is_changes_no_fingerprint() -> None:
    base = InferenceConfig()
    wide = replace(base, compute=ComputeConfig(actors=9, gpu_fraction=0.5, rows_per_block=8))
    assert runs.inference_fingerprint("m", base, {}) == runs.inference_fingerprint("m", wide, {})


def test_evaluates_fingerprint_adds_its_own_options_and_the_calibration() -> None:
    base = EvaluationConfig()
    marks = {
        runs.evaluation_fingerprint("p", base, None),
        runs.evaluation_fingerprint("q", base, None),
        runs.evaluation_fingerprint("p", base, "calibration"),
        runs.evaluation_fingerprint("p", replace(base, split="all"), None),
        runs.evaluation_fingerprint("p", replace(base, statistics=StatisticsConfig(margin=0.1)), None),
    }
    assert len(marks) == 5


def test_a_directory_takes_the_same_run_again_and_no_other(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "run"))
    run.save(run.open(MARKS))
    assert run.open(MARKS)["fingerprints"] == MARKS
    with pytest.raises(ConfigError, match="another predict fingerprint"):
        run.open({**MARKS, "predict": "c" * 64})
    # Nothing is evaluated yet: the corrected options may take the place of the first.
    assert run.open({**MARKS, "evaluate": "c" * 64})["fingerprints"]["evaluate"] == "c" * 64
    run.commit()
    with pytest.raises(ConfigError, match="--predictions"):
        run.open({**MARKS, "evaluate": "c" * 64})


def test_a_directory_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="holds no run"):
        Run(str(tmp_path)).open(MARKS)
    (tmp_path / "run.json").write_text('{"name": "other"}')
    with pytest.raises(ConfigError, match="not written by emofuse"):
        Run(str(tmp_path)).open(MARKS)
    (tmp_path / "run.json").write_text("{half")
    with pytest.raises(ConfigError, match="not JSON"):
        Run(str(tmp_path)).open(MARKS)


def test_no_secret_reaches_run_json(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    run.save(
        {
            "emofuse": "0",
            "manifest": "s3://AKIA123:hunter2@bucket/m.parquet?token=abc&region=eu",
            "list": ["https://user:hunter2@host/x?X-Amz-Signature=deadbeef"],
            "secret_key": "hunter2",
            "config": {"auth_token": "hunter2", "keyboard": "fine"},
        }
    )
    text = (tmp_path / "run.json").read_text()
    for secret in ("hunter2", "AKIA123", "abc", "deadbeef"):
        assert secret not in text
    assert json.loads(text)["config"]["keyboard"] == "fine"
    assert "region=eu" in text


@pytest.mark.parametrize("out", ["runs/a", "a", "./a"])
def test_a_submitted_job_refuses_relative_outputs(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs.check_output(out).startswith("/")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match="temporary copy"):
        runs.check_output(out)
    assert runs.check_output("/data/a") == "/data/a"
    assert runs.check_output("s3://bucket/a") == "s3://bucket/a"


def test_the_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EMOFUSE_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert runs.folder() == str(tmp_path / "runs")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert runs.folder() == str(Path.home() / "emofuse" / "runs")
    monkeypatch.setenv("EMOFUSE_RUNS", "s3://bucket/runs")
    assert runs.folder() == "s3://bucket/runs"


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    target = str(tmp_path / "a" / "file.bin")
    storage.write_bytes(target, b"first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    from emofuse.errors import DataError

    with pytest.raises(DataError, match="No space left"):
        storage.write_bytes(target, b"second")
    assert storage.read_bytes(target) == b"first"
    assert os.listdir(tmp_path / "a") == ["file.bin"]


def test_a_folder_lists_committed_files_only(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.parquet", ".pending-1", "_SUCCESS"):
        (tmp_path / name).write_bytes(b"")
    assert storage.names(str(tmp_path)) == ["a.parquet", "b.parquet"]
    assert storage.names(str(tmp_path / "absent")) == []
