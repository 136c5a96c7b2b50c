"""The main path on OASIS, and what the pipeline costs: end to end, throughput, memory, orchestration.

    python tests/proof/pipeline.py --data DIR [--out DIR] [--parts oasis throughput memory simulate million]

oasis       prepare, train both heads on train, evaluate on test; rows in and out
throughput  steady images/s of the pipeline against as many plain processes and against one plain loop
memory      peak memory of driver and workers at 551 and at 5,510 rows
simulate    timed experts of 10 ms a batch of 32: efficiency at 1, 4, 16 and 64 actors
million     timed experts: 100,000 and 1,000,000 manifest rows, rows/s, memory, time to the first row
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "jobs"


def job(name: str, *arguments: object) -> None:
    """Run a job of the repository and fail with it."""
    subprocess.run([sys.executable, str(JOBS / f"{name}.py"), *map(str, arguments)], check=True)


def manifest_of(data: Path, out: Path) -> Path:
    """OASIS as a manifest."""
    path = out / "oasis.parquet"
    if not path.exists():
        job("prepare_dataset", "oasis", "--root", data / "oasis", "--out", path)
    return path


def oasis(data: Path, out: Path) -> None:
    """Both heads on train, judged on test."""
    manifest = manifest_of(data, out)
    heads = {}
    for kind in ("scene", "face"):
        heads[kind] = out / f"{kind}-head" / "head.safetensors"
        if not heads[kind].exists():
            job("train_scene", "--manifest", manifest, "--out", heads[kind].parent, "--input", kind)
    options = ("--manifest", manifest, "--scene.head", heads["scene"], "--face.checkpoint", heads["face"])
    job("eval_fusion", *options, "--out", out / "oasis-run")
    record = json.loads((out / "oasis-run" / "run.json").read_text())
    print("counts:", record["counts"], "stages:", record["stages"])


def throughput(data: Path, out: Path) -> None:
    """The benchmark on OASIS's pictures."""
    job("benchmark", "--manifest", manifest_of(data, out), "--rows", 448, "--workers", 1, 2, "--out", out / "benchmark")


def memory(data: Path, out: Path) -> None:
    """Peaks at 551 rows and at ten times as many."""
    from emofuse.config import ComputeConfig, PerceiveConfig
    from emofuse.pipeline import benchmark
    from emofuse.pipeline.cluster import ray_cluster
    from emofuse.pipeline.perceive import resolved

    # Blocks of one size, so that the two runs differ in their rows alone.
    config = resolved(PerceiveConfig(compute=ComputeConfig(rows_per_block=64)))
    for rows in (551, 5510):
        table = benchmark.repeated(str(manifest_of(data, out)), rows)
        path = benchmark.write_manifest(table, str(out / f"memory-{rows}.parquet"))
        with ray_cluster() as cluster:
            for figure in benchmark.piped(path, rows, config, 2, cluster):
                print(f"{rows} rows, {figure.name}: {figure.value:,.4g} {figure.unit}", flush=True)


def simulate(_: Path, out: Path) -> None:
    """The cost of orchestration by width."""
    # Half of a run is not measured; sixty-four fill this machine's cores at half the rows already.
    for rows, workers in ((128_000, (1, 4, 16)), (64_000, (64,))):
        widths = ("--rows", rows, "--workers", *workers, "--compute.rows-per-block", 2048)
        job("benchmark", "--simulate", *widths, "--out", out / f"simulate-{rows}")


def million(_: Path, out: Path) -> None:
    """Large manifests: rows/s, memory, first row."""
    # Manifests and runs have a process each, so that the memory of one is not counted with another's.
    for rows in (100_000, 1_000_000):
        path = str(out / f"million-{rows}.parquet")
        for step in (write_rows, run_rows):
            process = get_context("spawn").Process(target=step, args=(path, rows))
            process.start()
            process.join()
            if process.exitcode:
                raise RuntimeError(f"{step.__name__} ended with {process.exitcode}")


def write_rows(path: str, rows: int) -> None:
    """A manifest of `rows` rows, without pictures."""
    from emofuse import storage
    from emofuse.schema import MANIFEST, conform

    ids = [f"row-{i:09d}" for i in range(rows)]
    columns = {"sample_id": ids, "uri": [f"/p/{name}.jpg" for name in ids], "group": ids}
    storage.write_table(path, conform(pa.table(columns), MANIFEST, "manifest"))


def run_rows(path: str, rows: int) -> None:
    """The pipeline on it, with eight timed experts of 1 ms a batch of 32."""
    import ray

    from emofuse.config import ComputeConfig
    from emofuse.pipeline import benchmark
    from emofuse.pipeline.cluster import local_options
    from emofuse.pipeline.graph import configure
    from emofuse.pipeline.resources import plan

    ray.init(**{**local_options(), "num_cpus": 12}, logging_level="ERROR")
    configure()
    width = replace(plan(ComputeConfig(device="cpu", actors=8), {"CPU": 12.0}, rows), rows_per_block=2048)
    for figure in benchmark.simulated(path, rows, width, 0.001, 32):
        print(f"{rows} rows, {figure.name}: {figure.value:,.4g} {figure.unit}", flush=True)
    ray.shutdown()


PARTS = {"oasis": oasis, "throughput": throughput, "memory": memory, "simulate": simulate, "million": million}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("runs/proof/pipeline"), help="where tables go")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.parts:
        print(f"--- {name}", flush=True)
        PARTS[name](options.data.absolute(), out)


if __name__ == "__main__":
    main()
