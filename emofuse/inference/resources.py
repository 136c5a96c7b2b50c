"""How a job is spread over what there is: GPUs where the cluster has them, one actor a core where not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from emofuse.config import ComputeConfig
from emofuse.errors import ConfigError

CPU_ACTOR_SHARE = 0.75
"""Logical CPUs of a model actor's thread on a CPU cluster, at most; the rest is for reading and writing tasks."""
MIN_SHARE = 0.1
TASK_SHARE = 0.25
"""Logical CPUs of a decoding or writing task beside CPU actors."""
READER_CPUS = 1.0
"""Logical CPUs of the task that reads and cuts the manifest: Ray's own, and not to be changed."""
DETECTOR_SHARE = 0.5
"""The part of a model actor's GPU share that goes to a detector that is a torch network itself. Equal halves fit
however Ray deals them out: of quarters and three quarters it puts two quarters on one GPU, and a model stays out."""
MAX_BLOCK_ROWS = 256
"""Images and crops of a block this size stay below Ray's block size of 128 MiB."""
ROUNDS = 8
"""Blocks that each actor gets at least, so that the last ones end together."""


@dataclass(frozen=True)
class Plan:
    """The widths of a run.

    Attributes:
        actors: model actors, fewest and most.
        actor_cpus: logical CPUs of one.
        actor_gpus: GPU share of one.
        task_cpus: logical CPUs of a decoding or writing task, or of a detector.
        rows_per_block: manifest rows that travel, and are committed, together.
        detectors: decoding actors, where faces are found by a torch network; 0 for plain tasks.
        detector_gpus: GPU share of one.
        separate_decode_stage: whether decoding is a stage of its own, or done by the model actors.
    """

    actors: tuple[int, int]
    actor_cpus: float
    actor_gpus: float
    task_cpus: float
    rows_per_block: int
    detectors: int = 0
    detector_gpus: float = 0.0
    separate_decode_stage: bool = True


def plan(compute: ComputeConfig, cluster: Mapping[str, float], rows: int, *, torch_detector: bool = False) -> Plan:
    """Pools for a cluster, checked before anything starts.

    Args:
        compute: the options.
        cluster: what the cluster has, as `cluster.ray_cluster` tells: "CPU", "GPU", the number of "machines" that
            have CPUs (by default 1), and the CPUs of the "largest" (by default all of them).
        rows: of the manifest.
        torch_detector: whether decoding needs actors of its own, with a share of the GPU.

    Raises:
        ConfigError: if the pools and the manifest's reader can never run together.
    """
    cpus, gpus, machines = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0), cluster.get("machines", 1.0)
    most = max(1, math.ceil(rows / compute.batch_size))  # an actor without a batch only costs its start
    on_gpu = compute.device == "cuda" or (compute.device == "auto" and gpus > 0)
    # Beside CPU actors decoding overlaps with nothing: tasks of its own only move pixels and fight for the cores.
    separate_decode_stage = compute.decode == "tasks" or (compute.decode == "auto" and on_gpu)
    torch_detector = torch_detector and separate_decode_stage
    if on_gpu:
        room = _gpu_room(gpus, compute.gpu_fraction)
        actors = compute.actors or min(most, max(1, room))
        _check_gpus(actors, compute.gpu_fraction, room, gpus)
        cpu_share, gpu_share, task = 0.0, compute.gpu_fraction, 1.0
        detectors = min(actors, max(1, int(cpus - READER_CPUS))) if torch_detector else 0
        _check_decoding(detectors, cpus)
    else:
        actors = compute.actors or min(most, max(1, math.floor(cpus / compute.threads)))
        detectors = max(1, actors // 2) if torch_detector else 0
        cpu_share, gpu_share, task = _cpu_share(actors, detectors, compute.threads, cluster), 0.0, TASK_SHARE
        if cpu_share < MIN_SHARE and compute.actors is None and machines > 1:
            # Machines of one CPU each: one of them is the reader's.
            actors = min(actors, max(1, int(machines - 1) // (2 if torch_detector else 1)))
            detectors = min(detectors, actors // 2)
            cpu_share = _cpu_share(actors, detectors, compute.threads, cluster)
        _check_cpus(actors, cpu_share, cpus)
    kept = gpu_share * (1 - DETECTOR_SHARE) if detectors else gpu_share
    size = compute.rows_per_block or block_rows(rows, actors, compute.batch_size)
    return Plan((actors, actors), cpu_share, kept, task, size, detectors, gpu_share - kept, separate_decode_stage)


def local_plan(compute: ComputeConfig, rows: int) -> Plan:
    """One process, one block after another."""
    return Plan((1, 1), 0.0, 0.0, 0.0, compute.rows_per_block or block_rows(rows, 1, compute.batch_size))


def block_rows(rows: int, actors: int, batch: int) -> int:
    """Rows of a block: whole batches, enough blocks for every actor, and none so large that a loss hurts."""
    batches = round(rows / (actors * ROUNDS) / batch)
    return max(1, min(batches, MAX_BLOCK_ROWS // batch)) * batch


def _cpu_share(actors: int, detectors: int, threads: int, cluster: Mapping[str, float]) -> float:
    """Logical CPUs of a CPU actor, so that the manifest's reader finds its CPU on some machine wherever actors land.

    Otherwise the pools, which start first, and the reader wait for each other.
    """
    cpus, machines = cluster.get("CPU", 0.0), cluster.get("machines", 1.0)
    # With one CPU left for each machine, some machine has a whole one; so has one on which there is no actor.
    left = cpus - machines * READER_CPUS - detectors * TASK_SHARE
    share = CPU_ACTOR_SHARE if actors + detectors < machines else 0.0
    share = max(share, min(CPU_ACTOR_SHARE * threads, left / actors))
    return min(share, cluster.get("largest", cpus))


def _gpu_room(gpus: float, share: float) -> int:
    """How many actors with this share of a GPU find room; what is left over on one GPU cannot join that on another."""
    return math.floor(gpus) * math.floor(1 / share + 1e-9)


def _check_gpus(actors: int, share: float, room: int, gpus: float) -> None:
    if actors > room:
        raise ConfigError(
            f"{actors} actor(s) of {share:g} GPU do not fit the cluster's {gpus:g} GPU(s), which have room for {room}; "
            "lower --compute.actors or --compute.gpu-fraction, or take --compute.device cpu"
        )


def _check_decoding(detectors: int, cpus: float) -> None:
    """That the manifest's reader has a CPU beside the detectors' actors, which keep theirs."""
    least = READER_CPUS + min(detectors, 1)
    if cpus < least:
        raise ConfigError(f"reading and decoding need at least {least:g} CPU(s), the cluster has {cpus:g}")


def _check_cpus(actors: int, share: float, cpus: float) -> None:
    if share < MIN_SHARE:
        raise ConfigError(
            f"{actors} model actor(s) beside the manifest's reader (1 CPU) do not fit the cluster's {cpus:g} CPU(s); "
            "lower --compute.actors, start Ray with more logical CPUs (--num-cpus), or run with --local"
        )
