"""Joining a Ray cluster, or starting one on this machine for as long as a run takes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emofuse.errors import ConfigError


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[dict[str, float]]:
    """Join the Ray cluster at `address` (or RAY_ADDRESS), or start one here for as long as the block runs.

    Yields:
        What the cluster has ("CPU", "GPU", …).

    Raises:
        ConfigError: if there is no cluster to join at the address.
    """
    import ray

    from emofuse.pipeline.graph import configure

    ours = not ray.is_initialized()
    if ours:
        joined = address or os.environ.get("RAY_ADDRESS")
        try:
            quieten()
            ray.init(logging_level=logging.ERROR, **({"address": joined} if joined else local_options()))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"cannot join the Ray cluster at {joined or 'this machine'}: {error}") from None
    try:
        configure()
        yield ray.cluster_resources()
    finally:
        if ours:
            ray.shutdown()


def quieten() -> None:
    """Keep Ray's running commentary out of a job's log; errors and what a worker raised still come through."""
    # Each actor pool makes Ray's core print an error line of a known false alarm (ray-project/ray#53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")


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
    }
