from __future__ import annotations

from pathlib import Path

import pytest

from tests.commandline import run_command


def test_a_remote_output_is_refused_in_one_line(tmp_path: Path) -> None:
    run = run_command("train", "--manifest", "m.parquet", "--out", "s3://bucket/scene", cwd=tmp_path)
    assert run.returncode == 1
    assert "s3://bucket/scene" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--trials", "3"), "--trials"),
        (("--face.views", "3"), "--face.views"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    run = run_command("train", "--manifest", "m.parquet", "--out", "run", *arguments, cwd=tmp_path)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert f"{named} would have no effect" in run.stderr
    assert not list(tmp_path.iterdir())
