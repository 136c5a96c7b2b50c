"""Running the main job as a user would, killing what it needs, and counting what that cost.

Used by the suite's resume test and by the proof of kills. Only processes that were started
here are ever ended: those of the job's own session or folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.io import storage
from emofuse.io.addresses import is_remote
from emofuse.tables.schema import MANIFEST

ROOT = Path(__file__).resolve().parents[2]
CALLS, PAUSE = "EMOFUSE_TEST_CALLS", "EMOFUSE_TEST_PAUSE"
SITE = """
import os
if folder := os.environ.get("{calls}"):
    import importlib.abc, importlib.util, sys, time

    class Counting(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "emofuse.inference.predictor":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            run = spec.loader.exec_module
            def exec_module(module):
                run(module)
                plain = module.Predictor.__call__
                def counted(self, batch):
                    time.sleep(float(os.environ["{pause}"]))
                    out = plain(self, batch)
                    with open(os.path.join(folder, str(os.getpid())), "a") as file:
                        file.write(str(batch.num_rows) + chr(10))
                    return out
                module.Predictor.__call__ = counted
            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Counting())
"""


def counting(folder: Path, pause: float = 0.0) -> dict[str, str]:
    """Environment in which every process notes the rows of each call of the models, below `folder`.

    Args:
        folder: where the notes are kept.
        pause: seconds before each call, so that a kill need not be quick to fall into a run.
    """
    site = folder / "site"
    site.mkdir(parents=True, exist_ok=True)
    (folder / "calls").mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE.replace("{calls}", CALLS).replace("{pause}", PAUSE))
    return {"PYTHONPATH": str(site), CALLS: str(folder / "calls"), PAUSE: str(pause)}


def called(folder: Path) -> int:
    """Rows that went through the models since the folder was emptied."""
    return sum(sum(map(int, file.read_text().split())) for file in (folder / "calls").iterdir())


def forget(folder: Path) -> None:
    """Count from nothing again."""
    for file in (folder / "calls").iterdir():
        file.unlink()


def make_manifest(source: Path, path: Path, copies: int = 1) -> int:
    """A manifest of the images of another, each under `copies` ids; how many rows it has."""
    rows = pq.read_table(source).to_pylist()
    many = [{**row, "sample_id": f"{row['sample_id']}-{copy}"} for copy in range(copies) for row in rows]
    pq.write_table(pa.Table.from_pylist(many, schema=MANIFEST), path)
    return len(many)


def count(names: Iterable[str]) -> int:
    """Rows of committed files, by their names."""
    return sum(int(name.removesuffix(".parquet").rsplit("-", 1)[1]) for name in names if name.endswith(".parquet"))


@dataclass
class Work:
    """One run of the main job, to be started as often as it takes.

    Attributes:
        manifest: what is evaluated.
        out: the run directory.
        options: of the command line.
        environment: beside this process's own.
        folder: of the calls that are counted.
    """

    manifest: str | Path
    out: str | Path
    folder: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def predictions(self) -> str:
        """Where files are committed."""
        return storage.join(str(self.out), "predictions")

    def start(self, *more: str) -> subprocess.Popen[str]:
        """The job in a session of its own."""
        command = [sys.executable, str(ROOT / "jobs" / "eval_fusion.py"), "--manifest", str(self.manifest)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "EMOFUSE_"))}
        return subprocess.Popen(
            [*command, "--out", str(self.out), *self.options, *more],
            env=kept | {"OMP_NUM_THREADS": "1"} | counting(self.folder) | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, *more: str) -> str:
        """The job, waited for; its output.

        Raises:
            AssertionError: with the output, if it fails.
        """
        process = self.start(*more)
        output = process.communicate(timeout=580)[0]
        assert process.returncode == 0, output
        return output

    def committed(self) -> int:
        """Rows in committed files, by their names."""
        return count(storage.names(self.predictions))

    def files(self) -> dict[str, datetime]:
        """Committed files and when each was written."""
        names = [name for name in storage.names(self.predictions) if name.endswith(".parquet")]
        fs, path = storage.filesystem(self.predictions)
        return {name: fs.modified(f"{path}/{name}") for name in names}

    def table(self) -> pa.Table:
        """The predictions by id."""
        return storage.read_table(self.predictions).sort_by("sample_id")

    def wait_for(self, rows: int, process: subprocess.Popen[str], seconds: float = 400) -> int:
        """Until that many rows are committed; how many are by then.

        Raises:
            AssertionError: if the job ends first, or time does.
        """
        ends = time.monotonic() + seconds
        while (done := self.committed()) < rows:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < ends, f"only {done} rows in {seconds:g} s"
            time.sleep(0.2 if is_remote(self.predictions) else 0.02)
        return done


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A job's process and all that it started, Ray's daemons and workers too."""
    try:
        top = psutil.Process(process.pid)
        return [*top.children(recursive=True), top]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> int:
    """SIGKILL to each; how many were still there."""
    hit = 0
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
            hit += 1
        except psutil.NoSuchProcess:
            continue
    return hit


def named(processes: list[psutil.Process], *words: str) -> list[psutil.Process]:
    """Those whose title holds one of the words."""
    return [process for process in processes if any(word in _title(process) for word in words)]


def gone(processes: list[psutil.Process], seconds: float = 60) -> bool:
    """Whether all of them end within that time."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@dataclass(frozen=True)
class Outcome:
    """What a kill cost.

    Attributes:
        committed: rows committed when it fell.
        rows: of the manifest.
        lost, doubled, differing: rows, after the resume, against an undisturbed run.
        touched: committed files that the resume wrote again.
        calls: rows that went through the models in the resume.
    """

    committed: int
    rows: int
    lost: int
    doubled: int
    differing: int
    touched: int
    calls: int

    def line(self) -> str:
        """One line of it."""
        return (
            f"committed before {self.committed} of {self.rows}, lost {self.lost}, doubled {self.doubled}, "
            f"differing {self.differing}, model calls saved {self.rows - self.calls} of {self.rows}"
        )

    @property
    def exact(self) -> bool:
        """Whether the kill fell between the first and the last commit, and the resume was exact and cheaper."""
        between = 0 < self.committed < self.rows
        return between and self.whole and self.calls < self.rows

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, doubled, changed, or written again."""
        return not (self.lost + self.doubled + self.differing + self.touched)


def compare(work: Work, undisturbed: pa.Table, before: dict[str, datetime], calls: int) -> Outcome:
    """What stands in a resumed run against an undisturbed one."""
    table = work.table()
    ids = table.column("sample_id").to_pylist()
    wanted = undisturbed.column("sample_id").to_pylist()
    mine, theirs = (
        {row["sample_id"]: {k: v for k, v in row.items() if v == v} for row in each.to_pylist()}
        for each in (table, undisturbed)
    )
    after = work.files()
    return Outcome(
        committed=count(before),
        rows=len(wanted),
        lost=len(set(wanted) - set(ids)),
        doubled=len(ids) - len(set(ids)),
        differing=sum(mine[key] != theirs[key] for key in mine if key in theirs),
        touched=sum(after.get(name) != when for name, when in before.items()),
        calls=calls,
    )
