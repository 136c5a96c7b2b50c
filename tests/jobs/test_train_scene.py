from __future__ import annotations

import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).resolve().parents[2] / "jobs" / "train_scene.py"


def test_a_remote_output_is_refused_in_one_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(JOB), "--manifest", "m.parquet", "--out", "s3://bucket/scene"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 1
    assert "s3://bucket/scene" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "s3:").exists()
