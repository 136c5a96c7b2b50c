"""How a job is spread over what there is: GPUs where the cluster has them, one actor a core where not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from emofuse.config import ComputeConfig
from emofuse.errors import ConfigError

CPU_ACTOR_SHARE = 0.75
"""Logical CPUs of a model actor's thread on a CPU cluster, at most; the rest of the core is for decoding."""
TASK_SHARE = 0.25
"""Logical CPUs of a decoding or writing task beside CPU actors."""
READER_CPUS = 1.0
"""Logical CPUs of the task that reads and cuts the manifest: Ray's own, and not to be changed."""
MAX_BLOCK_ROWS = 512
ROUNDS = 4
"""Blocks that each actor gets at least, so that the last ones end together."""


@dataclass(frozen=True)
class Plan:
    """The widths of a run.

    Attributes:
        actors: model actors, fewest and most; a pool grows between them as the cluster does.
        actor_cpus: logical CPUs of one.
        actor_gpus: GPU share of one.
        task_cpus: logical CPUs of a reading, decoding or writing task.
        rows_per_block: manifest rows that travel, and are committed, together.
    """

    actors: tuple[int, int]
    actor_cpus: float
    actor_gpus: float
    task_cpus: float
    rows_per_block: int


def resolve_device(device: str) -> str:
    """ "cuda" or "cpu" for "auto", by what this process sees; anything else as it is."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def plan(compute: ComputeConfig, cluster: Mapping[str, float], rows: int) -> Plan:
    """Pools for a cluster, checked before anything starts.

    Args:
        compute: the options.
        cluster: what the cluster has, as `ray.cluster_resources()` tells ("CPU", "GPU").
        rows: of the manifest.

    Raises:
        ConfigError: if the actors and one reading task can never run together.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    on_gpu = compute.device == "cuda" or (compute.device == "auto" and gpus > 0)
    if on_gpu:
        actors = compute.actors or max(1, math.floor(gpus / compute.gpu_fraction + 1e-9))
        share, task = (0.0, compute.gpu_fraction), 1.0
    else:
        actors = compute.actors or max(1, math.floor(cpus / compute.threads))
        # The manifest's reader must always find its CPU, or the pool and the reader wait for each other.
        share = (max(0.0, min(CPU_ACTOR_SHARE * compute.threads, (cpus - READER_CPUS) / actors)), 0.0)
        task = TASK_SHARE
    _check(actors, share, cpus, gpus)
    return Plan((actors, actors), *share, task, compute.rows_per_block or block_rows(rows, actors, compute.batch_size))


def local_plan(compute: ComputeConfig, rows: int) -> Plan:
    """One process, one block after another."""
    return Plan((1, 1), 0.0, 0.0, 0.0, compute.rows_per_block or block_rows(rows, 1, compute.batch_size))


def block_rows(rows: int, actors: int, batch: int) -> int:
    """Rows of a block: whole batches, enough blocks for every actor, and none so large that a loss hurts."""
    wanted = rows / (actors * ROUNDS)
    return int(min(MAX_BLOCK_ROWS, max(1, round(wanted / batch)) * batch))


def _check(actors: int, share: tuple[float, float], cpus: float, gpus: float) -> None:
    if actors * share[1] > gpus + 1e-9:
        raise ConfigError(
            f"{actors} actor(s) of {share[1]:g} GPU need {actors * share[1]:g} GPU(s), the cluster has {gpus:g}; "
            "lower --compute.actors or --compute.gpu-fraction, or take --compute.device cpu"
        )
    if share[0] < 0.1 and not share[1]:
        raise ConfigError(
            f"{actors} model actor(s) beside the manifest's reader (1 CPU) do not fit the cluster's {cpus:g} CPU(s); "
            "lower --compute.actors, start Ray with more logical CPUs (--num-cpus), or run with --local"
        )
    if cpus < READER_CPUS:
        raise ConfigError(f"decoding needs at least 1 CPU, the cluster has {cpus:g}")
