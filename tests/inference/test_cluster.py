"""Joining clusters, what may be asked of them, and failures of their workers told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from emofuse.config import ComputeConfig, InferenceConfig
from emofuse.errors import CheckpointError, ConfigError, DataError
from emofuse.inference import cluster
from emofuse.inference.errors import raised_by_worker, reraise_worker_errors
from emofuse.inference.ray_io import commit_block, shared
from emofuse.inference.resources import plan
from emofuse.inference.run import resolved
from emofuse.io import storage


def test_the_device_is_that_of_the_cluster_not_of_the_head() -> None:
    auto, named = InferenceConfig(), InferenceConfig(compute=ComputeConfig(device="cpu"))
    assert resolved(auto, {"CPU": 8.0, "GPU": 2.0}).compute.device == "cuda"
    assert resolved(auto, {"CPU": 8.0}).compute.device == "cpu"
    assert resolved(named, {"CPU": 8.0, "GPU": 2.0}).compute.device == "cpu"


def test_a_cluster_that_starts_from_nothing_is_planned_by_what_it_may_become(
    ray_cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.data import DataContext

    monkeypatch.setattr(cluster, "attainable", lambda: {"CPU": 64.0, "GPU": 8.0})
    with cluster.ray_cluster() as found:
        assert (found["CPU"], found["GPU"], found["machines"]) == (64.0, 8.0, 32.0)
        assert DataContext.get_current().execution_no_progress_timeout_s == cluster.GROWING_PATIENCE
        assert plan(ComputeConfig(), found, 100_000).actors == (8, 8)
    monkeypatch.undo()
    with cluster.ray_cluster() as found:
        assert (found["CPU"], found["machines"], found["largest"]) == (8, 1, 8)
        assert DataContext.get_current().execution_no_progress_timeout_s == cluster.PATIENCE


def test_nothing_is_joined_where_no_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with cluster.joined(cluster.cluster_address(None)) as found:
        assert found is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster.cluster_address(None) == "10.0.0.1:6379"
    assert cluster.cluster_address("other:1") == "other:1"


def test_a_machine_that_does_not_see_the_run_directory_says_so(tmp_path: Path) -> None:
    import pyarrow as pa

    block = pa.table({"sample_id": ["a"]})
    folder = str(tmp_path / "predictions")
    with pytest.raises(DataError, match=r"every machine can write, as s3://"):
        commit_block(block, folder, {}, "_writing-1")
    with shared(folder, "_writing-1"):
        assert storage.exists(storage.join(folder, "_writing-1"))
        (name,) = commit_block(block, folder, {}, "_writing-1").column("file").to_pylist()
        assert commit_block(block.slice(0, 0), folder, {}, "_writing-1").num_rows == 0
    assert (tmp_path / "predictions").joinpath(name).is_file()
    assert storage.names(folder) == [name]
    assert not storage.exists(storage.join(folder, "_writing-1"))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("ray::Write()\n  File x\nemofuse.errors.DataError: cannot write a: No space", DataError, "cannot write a: No"),
        ("died\nemofuse.errors.CheckpointError: no head at x\n", CheckpointError, "no head at x"),
        ("emofuse.io.images.MediaError: missing: no file", DataError, "missing: no file"),
        ("emofuse.errors.DataError: first\nthen\nemofuse.errors.ConfigError: last", ConfigError, "last"),
    ],
)
def test_what_a_worker_raised_is_found_in_rays_text(text: str, kind: type[Exception], message: str) -> None:
    found = raised_by_worker(text)
    assert type(found) is kind
    assert message in str(found)
    assert raised_by_worker("ValueError: a defect of ours") is None


def test_a_task_that_fails_on_ray_ends_in_its_one_line(ray_cluster: object) -> None:
    import ray

    def task(batch: object) -> object:
        raise DataError("the storage is full")

    with pytest.raises(DataError, match=r"^the storage is full$"), reraise_worker_errors():
        ray.data.range(2).map_batches(task).materialize()
