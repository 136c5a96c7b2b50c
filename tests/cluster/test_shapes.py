"""Clusters of other shapes than this machine: several small machines, and GPUs that are declared but not there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, environment


def found(tmp_path: Path, *options: str) -> dict[str, Any]:
    """What `shapes.py` found on a cluster of its own."""
    command = [sys.executable, str(ROOT / "tests/cluster/shapes.py"), str(tmp_path), *options]
    done = subprocess.run(
        command, env=environment(tmp_path, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    out: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (out["rows"], out["whole"]) == (640, True)
    return out


@pytest.mark.parametrize(("machines", "actors"), [((2, 2, 2), 6), ((1, 1, 1), 2)])
def test_small_machines_have_room_for_the_reader(tmp_path: Path, machines: tuple[int, ...], actors: int) -> None:
    out = found(tmp_path, "--machines", *map(str, machines))
    assert out["actors"] == actors
    assert 1 <= len(out["model"]) <= actors


def test_models_get_a_gpu_each_and_decoding_runs_beside_them(tmp_path: Path) -> None:
    out = found(tmp_path, "--machines", "4", "--gpus", "2")
    assert sorted(line["gpus"] for line in out["model"]) == [[0], [1]]
    assert all(line["share"] == 1 for line in out["model"])
    assert len(out["decode"]) > 1
    assert all(line["share"] == 0 for line in out["decode"])


def test_detectors_and_models_share_gpus_without_waiting_for_each_other(tmp_path: Path) -> None:
    out = found(tmp_path, "--machines", "6", "--gpus", "2", "--fraction", "0.5", "--detectors")
    assert out["actors"] == 4
    assert 1 <= len(out["model"]) <= 4
    used = Counter(line["gpus"][0] for line in out["model"] + out["decode"])
    assert set(used) == {0, 1}
    assert {line["share"] for line in out["model"] + out["decode"]} == {0.25}
