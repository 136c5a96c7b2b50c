"""Fixtures that every test may use (real images, the shared data, one local Ray cluster), and marks by fixture."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch: the networks are small here, and threads that wait for each other cost more than
# they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("EMOFUSE_SHARED", ROOT.parent / "shared")) / "data"

MARKS = {"ray_cluster": "ray", "head": "ray", "browser": "browser"}
"""What a test is marked with for using a fixture."""
RUNS_JOBS = ("tests/cluster/", "tests/jobs/")
"""Folders whose tests run jobs as processes of their own, most with a Ray cluster; marked `ray` too."""
SHARE_THE_CLUSTER = ("tests/benchmark/", "tests/inference/", "tests/tuning/")
"""Folders with tests of the session's cluster."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs Ray or a browser; where several workers share the tests, the longest groups come first."""
    for item in items:
        for fixture in MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKS[fixture])
        if item.nodeid.startswith(RUNS_JOBS):
            item.add_marker("ray")
    if hasattr(config, "workerinput"):
        groups = (SHARE_THE_CLUSTER, RUNS_JOBS)
        items.sort(key=lambda item: [not item.nodeid.startswith(folders) for folders in groups])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """What one worker of pytest-xdist runs whole: all that shares a cluster, all that submits and kills, any file."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(SHARE_THE_CLUSTER):
                return "the session's cluster"
            return "tests/cluster" if nodeid.startswith("tests/cluster/") else nodeid.split("::")[0]

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the development data, which is not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def demo_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the demonstration photographs."""
    import pyarrow.parquet as pq

    from emofuse.datasets import demo

    path = tmp_path_factory.mktemp("demo") / "demo.parquet"
    pq.write_table(demo.build().table, path)
    return path


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One local Ray cluster with 8 logical CPUs for the whole session."""
    import ray

    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    context = ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=500_000_000,
        logging_level="warning",
        log_to_driver=False,
    )
    yield context
    ray.shutdown()


@pytest.fixture
def restore_data_context() -> Iterator[None]:
    """Put Ray Data's options back after a test has changed them."""
    from ray.data import DataContext

    before = copy.deepcopy(DataContext.get_current())
    yield
    DataContext._set_current(before)
