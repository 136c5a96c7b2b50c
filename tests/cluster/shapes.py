"""The graph on a cluster of a stated shape, with timed experts that note where they ran; prints what it found.

    python tests/cluster/shapes.py FOLDER --machines 2 2 2 [--gpus 2] [--fraction 0.5] [--detectors]

GPUs are declared, not there: Ray deals them out all the same.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from emofuse.benchmark.simulate import TimedExperts, write_rows
from emofuse.config import ComputeConfig, InferenceConfig
from emofuse.inference.cluster import ray_cluster
from emofuse.inference.job import Job
from emofuse.inference.ray_graph import Stages, actors, build_graph, configure, real_stages, write
from emofuse.inference.resources import plan
from emofuse.io import storage

ROWS, PATIENCE = 640, 60


def note(folder: str, what: str) -> None:
    """Add this process, and the GPUs that it was given, to what is noted of a stage."""
    context = ray.get_runtime_context()
    line = {"stage": what, "gpus": ray.get_gpu_ids(), "share": context.get_assigned_resources().get("GPU", 0)}
    (Path(folder) / f"{what}-{os.getpid()}.json").write_text(json.dumps(line))


def decoded(batch: pa.Table, folder: str) -> pa.Table:
    """A decoding task that only notes itself."""
    note(folder, "decode")
    return batch


class Detecting:
    """A decoding actor that only notes itself."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch as it came."""
        return decoded(batch, self._folder)


class Noting(TimedExperts):
    """Timed experts that note themselves."""

    def __init__(self, folder: str) -> None:
        super().__init__(0.01, 32)
        self._folder = folder

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As `TimedExperts`."""
        note(self._folder, "model")
        return super().__call__(batch)


def main() -> None:
    """Run it, and print the plan, the rows and who ran where as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machines", type=int, nargs="+", required=True, help="CPUs of each")
    parser.add_argument("--gpus", type=int, default=0, help="of each machine")
    parser.add_argument("--fraction", type=float, default=1.0, help="of a GPU for each model actor")
    parser.add_argument("--detectors", action="store_true", help="faces are found by a torch network")
    options = parser.parse_args()
    cluster = Cluster()
    for cpus in options.machines:
        cluster.add_node(num_cpus=cpus, num_gpus=options.gpus, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    try:
        print(json.dumps(run(options, cluster.address)))
    finally:
        cluster.shutdown()


def run(options: argparse.Namespace, address: str) -> dict[str, object]:
    """The real plan and the real graph, with stages that look where they are."""
    notes, manifest = options.folder / "notes", str(options.folder / "manifest.parquet")
    notes.mkdir()
    write_rows(manifest, ROWS)
    compute = ComputeConfig(device="cuda" if options.gpus else "cpu", gpu_fraction=options.fraction)
    with ray_cluster(address) as found:
        configure(PATIENCE)
        width = plan(compute, found, ROWS, torch_detector=options.detectors)
        job = Job(manifest, str(options.folder / "predictions"), InferenceConfig(compute=compute), width, {})
        real, noted = real_stages(job), {"fn": Noting, "fn_constructor_args": (str(notes),)}
        decode = None
        if width.detectors:
            decode = actors(Detecting, (str(notes),), (width.detectors,) * 2, width.task_cpus, width.detector_gpus)
        elif real.decode is not None:
            decode = real.decode | {"fn": decoded, "fn_kwargs": {"folder": str(notes)}}
        write(build_graph(job, None, Stages(decode, real.predict | noted)), job)
    ids = storage.read_table(job.predictions).column("sample_id").to_pylist()
    places: dict[str, list[dict[str, object]]] = defaultdict(list)
    for file in sorted(notes.iterdir()):
        line = json.loads(file.read_text())
        places[line.pop("stage")].append(line)
    wanted = pq.read_table(manifest).column("sample_id").to_pylist()
    return {"rows": len(ids), "whole": sorted(ids) == sorted(wanted), "actors": width.actors[0], **places}


if __name__ == "__main__":
    main()
