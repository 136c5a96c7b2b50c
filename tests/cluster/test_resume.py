"""A job whose driver is killed between its first and its last commit, and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from .killing import Work, called, compare, family, forget, gone, kill, make_manifest

pytestmark = pytest.mark.slow
OPTIONS = ("--compute.rows-per-block", "2", "--compute.batch-size", "2", "--compute.actors", "1")


def test_a_killed_driver_loses_nothing_and_what_is_committed_is_not_made_again(
    demo_manifest: Path, tmp_path: Path
) -> None:
    rows = make_manifest(demo_manifest, tmp_path / "manifest.parquet")
    undisturbed = Work(tmp_path / "manifest.parquet", tmp_path / "undisturbed", tmp_path, (*OPTIONS, "--local"))
    undisturbed.finish()
    assert called(tmp_path) == rows

    work = Work(tmp_path / "manifest.parquet", tmp_path / "run", tmp_path, OPTIONS)
    process = work.start()
    work.wait_for(2, process)
    others = family(process)[:-1]
    process.kill()
    process.wait()
    # Without its driver the cluster on this machine ends by itself; what is left of it after that is ours to end.
    if not gone(others, 30):
        kill(others)
    before = work.files()
    assert not (tmp_path / "run" / "_SUCCESS").exists()

    forget(tmp_path)
    work.finish()
    outcome = compare(work, undisturbed.table(), before, called(tmp_path))
    assert outcome.exact, outcome.line()
    assert outcome.calls == rows - outcome.committed
    assert (tmp_path / "run" / "_SUCCESS").exists()

    forget(tmp_path)
    assert "finished already" in work.finish()
    assert called(tmp_path) == 0
