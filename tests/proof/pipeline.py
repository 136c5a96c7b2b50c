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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "jobs"


def job(name: str, *arguments: object) -> None:
    """Run a job of the repository and fail with it."""
    subprocess.run([sys.executable, str(JOBS / f"{name}.py"), *map(str, arguments)], check=True)


def manifest_of(data: Path, out: Path) -> Path:
    """OASIS as a manifest."""
    path = out / "oasis.parquet"
    if not path.exists():
        job("prepare_dataset", "oasis", "--root", data / "oasis", "--out", path, "--split", "70/15/15")
    return path


def oasis(data: Path, out: Path) -> None:
    """Both heads on train, evaluated on test."""
    manifest = manifest_of(data, out)
    heads = {}
    for kind in ("scene", "face"):
        heads[kind] = out / f"{kind}-head" / "head.safetensors"
        if not heads[kind].exists():
            job("train_scene", "--manifest", manifest, "--out", heads[kind].parent, "--expert", kind)
    options = ("--manifest", manifest, "--scene.head", heads["scene"], "--face.checkpoint", heads["face"])
    job("eval_fusion", *options, "--out", out / "oasis-run")
    record = json.loads((out / "oasis-run" / "run.json").read_text())
    print("counts:", record["counts"], "stages:", record["stages"])


def throughput(data: Path, out: Path) -> None:
    """The benchmark on OASIS's images."""
    job("benchmark", "--manifest", manifest_of(data, out), "--rows", 448, "--workers", 1, 2, "--out", out / "benchmark")


def memory(data: Path, out: Path) -> None:
    """Peaks at 551 rows and at ten times as many."""
    from emofuse.benchmark import benchmark
    from emofuse.config import ComputeConfig, InferenceConfig
    from emofuse.inference.cluster import ray_cluster
    from emofuse.inference.run import resolved

    # Blocks of one size, so that the two runs differ in their rows alone.
    config = resolved(InferenceConfig(compute=ComputeConfig(rows_per_block=64)))
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
    """Large manifests on eight timed experts of 1 ms a batch: rows/s, memory, first row."""
    for rows in (100_000, 1_000_000):
        print(f"{rows} rows", flush=True)
        widths = ("--rows", rows // 8, "--workers", 8, "--milliseconds", 1, "--compute.rows-per-block", 2048)
        job("benchmark", "--simulate", *widths, "--out", out / f"million-{rows}")


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
