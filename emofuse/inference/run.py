"""Predict: manifest → decode and find faces → both experts → predictions, on Ray Data or in this process.

The same stages run either way; a row's numbers depend on its image alone, so they are the same too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from emofuse.config import InferenceConfig
from emofuse.experts.device import resolve_device
from emofuse.inference.job import Job
from emofuse.inference.manifest import manifest_blocks
from emofuse.inference.predictor import DecodeAndPredict
from emofuse.inference.sink import commit, committed_ids, drop_completed


def predict_local(job: Job) -> None:
    """All of the manifest that is not committed yet, in this process, without Ray."""
    eye: DecodeAndPredict | None = None
    done = committed_ids(job.predictions)
    for block in manifest_blocks(job.manifest, job.plan.rows_per_block):
        todo = drop_completed(block, done)
        if not todo.num_rows:
            continue
        eye = eye or DecodeAndPredict(job.config)
        commit(job.predictions, eye(todo), job.metadata)


def predict_ray(job: Job) -> None:
    """The same on the Ray cluster that this process has joined; blocks are committed as they come."""
    import ray

    from emofuse.inference.errors import reraise_worker_errors
    from emofuse.inference.ray_graph import build_graph, write

    done = committed_ids(job.predictions)
    reference = ray.put(done) if len(done) else None
    with reraise_worker_errors():
        write(build_graph(job, reference), job)


def resolved(config: InferenceConfig, cluster: Mapping[str, float] | None = None) -> InferenceConfig:
    """The options with the device decided, as they stand in the fingerprint.

    Args:
        config: the options as asked for.
        cluster: what the cluster that is joined has; None decides by what this machine has.
    """
    device = config.compute.device
    if device == "auto" and cluster is not None:
        # The head that a job starts on need not have what the workers have.
        device = "cuda" if cluster.get("GPU") else "cpu"
    return replace(config, compute=replace(config.compute, device=resolve_device(device)))
