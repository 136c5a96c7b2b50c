"""The main job through `ray job submit`, on a head of its own, on real photographs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from emofuse.io import storage

from .conftest import ROOT, Head, environment, plain_lines

pytestmark = pytest.mark.slow
SMALL = ("--compute.batch-size", "2", "--compute.rows-per-block", "2", "--compute.actors", "1")


def predictions(run: Path) -> pa.Table:
    """Those of a run, by id."""
    return storage.read_table(str(run / "predictions")).sort_by("sample_id")


def local(out: Path, *arguments: str) -> None:
    """The same job in one process."""
    command = [sys.executable, "jobs/eval_fusion.py", "--local", "--out", str(out), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(Path.home(), EMOFUSE_RUNS=str(out.parent)), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_submitted_with_no_argument_at_all_it_gives_the_same_bits_as_one_process(head: Head, tmp_path: Path) -> None:
    done = head.submit("jobs/eval_fusion.py")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (path for path in (head.home / "emofuse" / "runs").iterdir() if path.is_dir())
    assert plain_lines(done.stdout)[-1] == f"report: {run / 'report.html'}"
    assert (run / "report.html").is_file()
    assert (run / "_SUCCESS").exists()
    local(tmp_path / "local")
    assert predictions(run).equals(predictions(tmp_path / "local"))
    for name in ("metrics.parquet", "comparisons.parquet", "fused"):
        assert storage.read_table(str(run / name)).equals(storage.read_table(str(tmp_path / "local" / name))), name
    told = [line for line in plain_lines(done.stdout) if line.startswith("predict:")]
    assert 1 <= len(told) <= 20, "progress belongs into the log, at a bounded rate"


def test_stopped_and_submitted_again_it_goes_on_where_it_stopped(
    head: Head, demo_manifest: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "run", tmp_path / "run" / "predictions"
    job = ("--working-dir", ".", "--", "jobs/eval_fusion.py", "--manifest", str(demo_manifest), "--out", str(out))
    started = head.submit("--no-wait", "--submission-id", "stopped", *job, *SMALL)
    assert started.returncode == 0, started.stderr
    ends = time.monotonic() + 300
    while not storage.names(str(folder)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert head.ray("job", "stop", "stopped").returncode == 0
    assert "STOPPED" in head.ray("job", "status", "stopped").stdout.upper()
    before = {name: os.stat(folder / name).st_mtime_ns for name in storage.names(str(folder))}
    committed = sum(int(name.removesuffix(".parquet").rsplit("-", 1)[1]) for name in before)
    assert 0 < committed < 14, "the stop must fall after the first committed block and before the last"
    assert not (out / "_SUCCESS").exists()
    again = head.submit(*job, *SMALL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert plain_lines(again.stdout)[-1] == f"report: {out / 'report.html'}"
    after = {name: os.stat(folder / name).st_mtime_ns for name in before}
    assert after == before, "what was committed is not made again"
    local(tmp_path / "local", "--manifest", str(demo_manifest), *SMALL)
    assert predictions(out).equals(predictions(tmp_path / "local"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--out", "runs/mine"), "error: --out runs/mine is relative, and a submitted job runs in a temporary copy"),
        (("--manifest", "/no/such.parquet"), "error: no manifest at /no/such.parquet"),
    ],
)
def test_a_job_that_fails_exits_with_1_and_its_one_line(head: Head, arguments: tuple[str, ...], line: str) -> None:
    done = head.submit("--working-dir", ".", "--", "jobs/eval_fusion.py", *arguments)
    assert done.returncode == 1
    lines = plain_lines(done.stdout)
    assert any(found.startswith(line) for found in lines), done.stdout
    assert not any("Traceback" in found for found in lines)


@pytest.mark.parametrize(
    ("token", "reason"),
    [({}, "couldn't find an authentication token"), ({"RAY_AUTH_TOKEN": "guessed"}, "Invalid authentication token")],
)
def test_without_the_token_a_job_is_turned_away(head: Head, tmp_path: Path, token: dict[str, str], reason: str) -> None:
    done = head.ray("job", "submit", "jobs/eval_fusion.py", home=tmp_path, **token)
    assert done.returncode == 1
    assert reason in done.stderr
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=30)
    assert refused.value.code == 401
