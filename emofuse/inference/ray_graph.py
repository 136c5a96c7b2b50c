"""The Ray Data graph of predict: read → repartition → decode → predict → commit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from emofuse.inference.manifest import manifest_parts
from emofuse.inference.ray_io import Committing, commit_block, remaining, shared
from emofuse.inference.resources import READER_CPUS, Plan
from emofuse.io.addresses import is_remote

if TYPE_CHECKING:
    from emofuse.inference.job import Job

IN_FLIGHT = 2
"""Blocks that an actor holds: one under way and the next one, so that it never waits for the driver."""
READ_AHEAD = 16
"""Blocks that a task may have ready: Ray's driver fetches them ten times a second, and its own 2 starve a wide pool."""
LOOKS_SECONDS = 0.05
"""A block that came sooner lay ready."""
REST = 0.75
"""The part of the time between two blocks in which nobody looks for the next one."""
LONGEST_REST_SECONDS = 5.0


@dataclass(frozen=True)
class Stages:
    """The stages after reading, as arguments of `Dataset.map_batches`.

    Attributes:
        decode: None where `predict` decodes too.
        predict: the pool of model actors.
        commits: whether `predict` commits its rows itself; tasks of their own do it otherwise.
    """

    decode: dict[str, Any] | None
    predict: dict[str, Any]
    commits: bool = False


def build_graph(job: Job, done: ray.ObjectRef | None, stages: Stages | None = None) -> Dataset:
    """The lazy data set of committed files' names.

    Args:
        job: what is predicted.
        done: reference to the sorted hashes of committed ids; None where nothing is committed.
        stages: other stages than the real ones, for measuring.
    """
    stages = stages or real_stages(job)
    rows = job.plan.rows_per_block
    # Ray's own reader, and a task that read all of it, would hold a large manifest's rows in memory.
    parts = [{"groups": groups} for groups in manifest_parts(job.manifest)]
    ds: Dataset = ray.data.from_items(parts, override_num_blocks=len(parts))
    read: Any = remaining
    where = {"manifest": job.manifest, "rows": rows, "done": done}
    ds = ds.map_batches(read, fn_kwargs=where, batch_size=None, batch_format="pyarrow")
    # What a task reads is one block; without the repartition one actor would get all of it.
    ds = ds.repartition(target_num_rows_per_block=rows)
    if stages.decode is not None:
        ds = ds.map_batches(**_whole(stages.decode, rows), udf_modifying_row_count=False)
    ds = ds.map_batches(**_whole(stages.predict, rows), udf_modifying_row_count=stages.commits)
    if stages.commits:
        return ds
    to = {"folder": job.predictions, "metadata": job.metadata, "marker": job.marker}
    put = {"fn": commit_block, "fn_kwargs": to, "num_cpus": job.plan.task_cpus}
    return ds.map_batches(**_whole(put, rows))


def _whole(stage: dict[str, Any], rows: int) -> dict[str, Any]:
    """A stage that gets whole blocks and cuts its own batches of the one fixed shape: fewer calls, less padding.

    Where it asks for a GPU Ray wants a number, and a block's rows mean the same.
    """
    return _prevent_operator_fusion(stage) | {
        "batch_size": rows if stage.get("num_gpus") else None,
        "batch_format": "pyarrow",
    }


def _prevent_operator_fusion(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage that Ray does not fuse with the reader, which it does where both ask for the same.

    In one task with it a block that was cut would not leave the task: the stage would be serial.
    """
    return stage | ({"num_cpus": READER_CPUS - 0.01} if stage["num_cpus"] == READER_CPUS else {})


def real_stages(job: Job) -> Stages:
    """Both experts in one actor class; before them decoding, as tasks or, where a torch network finds faces, actors.

    Where decoding is not a stage apart, the same actors do it, one block after another.
    """
    from emofuse.inference.decode import Decoder, decode
    from emofuse.inference.predictor import DecodeAndPredict, Predictor

    plan, config = job.plan, job.config
    if not plan.separate_decode_stage:
        return with_experts(job, None, DecodeAndPredict, (config,))
    if plan.detectors:
        decoding = actors(Decoder, (config,), (plan.detectors, plan.detectors), plan.task_cpus, plan.detector_gpus)
    else:
        decoding = {"fn": decode, "fn_kwargs": {"config": config}, "num_cpus": plan.task_cpus}
    return with_experts(job, decoding, Predictor, (config,))


def with_experts(job: Job, decode: dict[str, Any] | None, model: type, arguments: tuple[Any, ...]) -> Stages:
    """Stages that end in actors of `model(*arguments)`.

    Actors that leave nothing to overlap with commit to their own disk themselves: a task for it costs the same core
    and Ray's work besides. Beside a GPU, or where a write waits for a network, tasks do it meanwhile.
    """
    within = not job.plan.separate_decode_stage and not is_remote(job.predictions)
    if within:
        model, arguments = Committing, (model, arguments, job.predictions, job.metadata, job.marker)
    return Stages(decode, predict_stage(job.plan, model, arguments), within)


def predict_stage(plan: Plan, model: type, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The pool of model actors."""
    return actors(model, arguments, plan.actors, plan.actor_cpus, plan.actor_gpus)


def actors(model: type, arguments: tuple[Any, ...], size: tuple[int, int], cpus: float, gpus: float) -> dict[str, Any]:
    """Arguments of `map_batches` for a pool of `model(*arguments)`, from size[0] to size[1] actors."""
    # Despite its name it only leaves out Ray's extra thread: an actor's calls come one at a time all the same, and
    # memory that is freed on a process's main thread can be used again (emofuse.io.malloc).
    pool = ActorPoolStrategy(
        min_size=size[0],
        max_size=size[1],
        max_tasks_in_flight_per_actor=IN_FLIGHT,
        enable_true_multi_threading=True,
    )
    # Ray asks for one CPU even for a GPU actor unless it is told 0.
    share = {"num_cpus": cpus} | ({"num_gpus": gpus} if gpus else {})
    return {"fn": model, "fn_constructor_args": arguments, "compute": pool, **share}


def write(ds: Dataset, job: Job) -> None:
    """Run the graph, whose stages commit its rows as they come."""
    with shared(job.predictions, job.marker):
        names, before = ds.iter_internal_ref_bundles(), 0.0
        while True:
            began = time.monotonic()
            if next(names, None) is None:
                return
            now = time.monotonic()
            # Ray's iterator looks for the next block a hundred times a second, which busy cores feel. So one that
            # had to be waited for is followed by a rest: the next one will take about as long.
            if now - began > LOOKS_SECONDS:
                time.sleep(min(REST * (now - before), LONGEST_REST_SECONDS) if before else 0.0)
                before = now


def configure(patience: int = 300) -> None:
    """Ray Data's options for our graphs: a stall ends after `patience` seconds, and no row is ever dropped."""
    context = DataContext.get_current()
    context.max_errored_blocks = 0
    context.execution_no_progress_timeout_s = patience
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context._max_num_blocks_in_streaming_gen_buffer = READ_AHEAD
