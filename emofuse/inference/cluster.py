"""Joining a Ray cluster, or starting one on this machine for as long as a run takes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emofuse.errors import ConfigError

PATIENCE = 300
"""Seconds without any progress after which a run is given up."""
GROWING_PATIENCE = 1800
"""The same where machines may have to be started first."""
SMALLEST_MACHINE = 2.0
"""CPUs of a machine that an autoscaler brings, at least."""


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[dict[str, float]]:
    """Join the Ray cluster at `address` (or RAY_ADDRESS), or start one here for as long as the block runs.

    Yields:
        What the cluster has, or has once its autoscaler has brought all that it may ("CPU", "GPU", …); besides
        the number of "machines" with CPUs, and the CPUs of the "largest" where they are known.

    Raises:
        ConfigError: if there is no cluster to join at the address.
    """
    import ray

    from emofuse.inference.ray_graph import configure

    ours = not ray.is_initialized()
    if ours:
        there = cluster_address(address)
        try:
            quieten()
            ray.init(logging_level=logging.ERROR, **({"address": there} if there else local_options()))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"cannot join the Ray cluster at {there or 'this machine'}: {error}") from None
    try:
        now, most = ray.cluster_resources(), attainable()
        grows = any(most[name] > now.get(name, 0.0) for name in ("CPU", "GPU") if name in most)
        configure(GROWING_PATIENCE if grows else PATIENCE)
        found = {name: max(now.get(name, 0.0), most.get(name, 0.0)) for name in {**now, **most}}
        yield found | machines(found.get("CPU", 0.0), grows=grows)
    finally:
        if ours:
            ray.shutdown()


def quieten() -> None:
    """Keep Ray's running commentary out of a job's log; errors and what a worker raised still come through."""
    # Each actor pool makes Ray's core print an error line of a known false alarm (ray-project/ray#53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # A cluster of our own shows nobody its workers' logs and use: no need to list them ten times a second.
    os.environ.setdefault("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "1")
    os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "10")
    os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")


@contextmanager
def joined(address: str | None) -> Iterator[dict[str, float] | None]:
    """`ray_cluster` where there is an address to join; elsewhere nothing is started, and None is what it has."""
    if address is None:
        yield None
        return
    with ray_cluster(address) as cluster:
        yield cluster


def cluster_address(address: str | None) -> str | None:
    """The cluster that a job is to join: the one named, else RAY_ADDRESS, which a submitted job has; else None."""
    return address or os.environ.get("RAY_ADDRESS")


def attainable() -> dict[str, float]:
    """What the cluster's autoscaler may bring at most; empty where there is no autoscaler."""
    # Ray Data and Ray Train size their own workers by this, but it has no public name yet.
    from ray._private.state import state

    return {name: float(most) for name, most in (state.get_max_resources_from_cluster_config() or {}).items()}


def machines(cpus: float, *, grows: bool) -> dict[str, float]:
    """How many machines have CPUs, and the CPUs of the largest; of a cluster that grows, an upper bound of the first.

    Args:
        cpus: of the whole cluster, once it has grown.
        grows: whether machines may still come, of which only the sum of their CPUs is known.
    """
    import ray

    sizes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    sizes = [size for size in sizes if size >= 1]
    if grows:
        return {"machines": float(cpus // min([*sizes, SMALLEST_MACHINE]))}
    return {"machines": float(len(sizes)), "largest": max(sizes, default=cpus)}


def local_options() -> dict[str, Any]:
    """Options of `ray.init` for a cluster of this machine alone, its object store bounded.

    Pixels pass through the store and leave it at once, so a small part of the memory is enough.
    """
    import psutil

    store = int(min(2e9, 0.25 * psutil.virtual_memory().available))
    return {
        "address": "local",
        "num_cpus": max(2, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": max(store, 100_000_000),
        "log_to_driver": False,
        # Without a dashboard nobody reads Ray's metrics and task events; gathering them takes a part of every core.
        # A worker process without work looks for signals a hundred times a second, so it ends after a while.
        "_system_config": {
            "enable_metrics_collection": False,
            "task_events_report_interval_ms": 0,
            "num_workers_soft_limit": 0,
            "idle_worker_killing_time_threshold_ms": 10_000,
        },
    }
