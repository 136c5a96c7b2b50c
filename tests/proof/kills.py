"""Kills, one line each: committed before, lost, doubled, differing, model calls saved.

    python tests/proof/kills.py [--only driver actor node everything disk s3] [--copies 2]

The main job, with its real experts, on real photographs, on Ray; each kill falls after the first
committed block and before the last one, and what stands in the end is compared with an undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

from killing import Work, called, compare, counting, family, forget, gone, kill, make_manifest, named

from emofuse.io import storage

OPTIONS = ("--compute.rows-per-block", "2", "--compute.batch-size", "2", "--compute.actors", "1")
NODE = {"num_cpus": 3, "object_store_memory": 150_000_000}


class Proof:
    """A folder, a manifest in it, and what an undisturbed run makes of it."""

    def __init__(self, folder: Path, copies: int) -> None:
        from emofuse.datasets import demo

        self.folder = folder
        self.manifest = folder / "manifest.parquet"
        pq.write_table(demo.build().table, folder / "demo.parquet")
        self.rows = make_manifest(folder / "demo.parquet", self.manifest, copies)
        undisturbed = Work(self.manifest, folder / "undisturbed", folder, (*OPTIONS, "--local"))
        undisturbed.finish()
        self.undisturbed = undisturbed.table()
        self.failed = 0

    def work(self, name: str, *options: str, out: str | None = None) -> Work:
        """A run of its own name."""
        forget(self.folder)
        return Work(self.manifest, out or str(self.folder / name), self.folder, (*OPTIONS, *options))

    def resumed(self, name: str, work: Work, undisturbed: pa.Table | None = None) -> None:
        """Start again what was killed, and tell."""
        before = work.files()
        forget(self.folder)
        work.finish()
        outcome = compare(work, undisturbed or self.undisturbed, before, called(self.folder))
        self.tell(name, outcome.line(), right=outcome.exact)

    def survived(self, name: str, work: Work, before: dict, process: subprocess.Popen[str]) -> None:
        """Wait for a job that must outlive the kill by itself, and tell."""
        output = process.communicate(timeout=900)[0]
        assert process.returncode == 0, output
        outcome = compare(work, self.undisturbed, before, 0)
        right = outcome.whole and 0 < outcome.committed < outcome.rows
        line = outcome.line().rsplit(",", 1)[0]
        again = called(self.folder) - self.rows
        self.tell(name, f"{line}, no restart of the job needed, rows computed twice {max(0, again)}", right=right)

    def tell(self, name: str, line: str, *, right: bool) -> None:
        """Print a line, and remember whether it is as it should be."""
        self.failed += not right
        print(f"{name}: {line}{'' if right else '  NOT AS IT SHOULD BE'}", flush=True)


def driver(proof: Proof) -> None:
    """SIGKILL of the driver at three moments."""
    for number, rows in enumerate((2, proof.rows // 2, proof.rows - 6)):
        work = proof.work(f"driver-{number}")
        process = work.start()
        work.wait_for(rows, process)
        others = family(process)[:-1]
        process.kill()
        process.wait()
        # A cluster of the job's own ends with its driver.
        if not gone(others, 60):
            kill(others)
        proof.resumed(f"driver, after {rows} rows", work)


def everything(proof: Proof) -> None:
    """SIGKILL of the driver, every worker and every daemon of Ray at once."""
    work = proof.work("everything")
    process = work.start()
    work.wait_for(proof.rows // 3, process)
    hit = kill(family(process))
    process.wait()
    proof.resumed(f"everything, {hit} processes", work)


def actor(proof: Proof) -> None:
    """SIGKILL of the model actor; Ray starts another."""
    work = proof.work("actor")
    process = work.start()
    work.wait_for(4, process)
    before = work.files()
    workers = named(family(process), "ray::MapWorker", "Predictor")
    assert workers, "no actor was found"
    kill(workers)
    proof.survived("actor", work, before, process)


def node(proof: Proof) -> None:
    """SIGKILL of a raylet, on a cluster of two nodes beside the head, and on one without a spare."""
    from ray.cluster_utils import Cluster

    # So slow that no run ends while the cluster is still finding out what it lost.
    os.environ.update(counting(proof.folder, pause=2.0))
    for spare in (True, False):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000})
        try:
            first = cluster.add_node(**NODE)
            if spare:
                cluster.add_node(**NODE)
            cluster.wait_for_nodes()
            work = proof.work(f"node-{spare}", "--address", cluster.address)
            process = work.start()
            work.wait_for(4, process)
            before = work.files()
            if spare:
                victim = _busy(cluster, first)
                cluster.remove_node(victim, allow_graceful=False)
                proof.survived("raylet, with a spare node", work, before, process)
            else:
                cluster.remove_node(first, allow_graceful=False)
                time.sleep(5)
                waits = process.poll() is None
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                kill(family(process))
                process.wait()
                cluster.add_node(**NODE)
                cluster.wait_for_nodes()
                how = "waited and was stopped" if waits else f"ended with {process.returncode}"
                proof.resumed(f"raylet, without a spare node (the job {how})", work)
        finally:
            cluster.shutdown()


def _busy(cluster: object, otherwise: object) -> object:
    """The node whose raylet holds the model actor."""
    import psutil

    for each in cluster.worker_nodes:  # type: ignore[attr-defined]
        for info in each.all_processes.get("raylet", []):
            with suppress(psutil.NoSuchProcess):
                if named(psutil.Process(info.process.pid).children(recursive=True), "Predictor"):
                    return each
    return otherwise


def disk(proof: Proof) -> None:
    """A disk that is full in the middle of a run, and has room again."""
    place = proof.folder / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        print("full disk: not tried, a small file system cannot be mounted here")
        return
    try:
        work = proof.work("disk", out=str(place / "run"))
        process = work.start()
        work.wait_for(4, process)
        with suppress(OSError), open(place / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 1, output
        said = next(line for line in output.splitlines() if line.startswith("error: "))
        assert "No space left on device" in said, said
        (place / "filler").unlink()
        proof.resumed("full disk (exit 1, 'No space left on device')", work)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def s3(proof: Proof) -> None:
    """An S3 server that goes away for a moment, and one that goes away for good and returns later."""
    from s3_server import BUCKET, Server

    server = Server()
    server.start()
    own = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ.update(own | {"AWS_DEFAULT_REGION": "us-east-1"})
    import boto3

    boto3.client("s3").create_bucket(Bucket=BUCKET)
    manifest = f"s3://{BUCKET}/manifest.parquet"
    storage.write_bytes(manifest, proof.manifest.read_bytes())
    for seconds in (8, None):
        work = proof.work("", out=f"s3://{BUCKET}/runs/{seconds}")
        work.manifest = manifest
        process = work.start()
        work.wait_for(4, process)
        before = work.files()
        server.stop()
        if seconds:
            time.sleep(seconds)
            server.start()
            proof.survived(f"S3 away for {seconds} s", work, before, process)
        else:
            output = process.communicate(timeout=900)[0]
            said = [line for line in output.splitlines() if line.startswith("error: ")]
            assert process.returncode == 1, output
            assert said, output
            server.start()
            proof.resumed("S3 away for good, and back (exit 1, one line)", work)
    server.stop()


ALL: dict[str, Callable[[Proof], None]] = {each.__name__: each for each in (driver, actor, node, everything, disk, s3)}


def main() -> int:
    """Try those asked for; how many were not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(ALL), default=list(ALL), help="which kills")
    parser.add_argument("--copies", type=int, default=2, help="how often each photograph stands in the manifest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ef-", dir="/tmp") as folder:
        proof = Proof(Path(folder), options.copies)
        for name in options.only:
            ALL[name](proof)
    return proof.failed


if __name__ == "__main__":
    sys.exit(bool(main()))
