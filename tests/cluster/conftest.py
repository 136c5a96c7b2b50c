"""A Ray head of the tests' own: its own ports, folder, home and token; ended by its process id alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port of the loopback address that nobody listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment with a home of its own, no Ray address, and this Python first on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "EMOFUSE_"))}
    own = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return kept | own | more


@dataclass
class Head:
    """A running head.

    Attributes:
        address: of its dashboard.
        home: of the user whom it belongs to; holds the token.
        process: the `ray start --block` that is waited for.
    """

    address: str
    home: Path
    process: subprocess.Popen[bytes]

    def ray(self, *arguments: str, home: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the `ray` command as a user would, from the checkout; by default as the user of the head."""
        known = environment(home or self.home, RAY_AUTH_MODE="token", RAY_API_SERVER_ADDRESS=self.address, NO_COLOR="1")
        return subprocess.run(
            [str(BIN / "ray"), *arguments], cwd=ROOT, env=known | more, capture_output=True, text=True, timeout=580
        )

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit`, waited for."""
        return self.ray("job", "submit", *arguments)


def plain_lines(output: str) -> list[str]:
    """The lines of an output that are the job's own: without colours, Ray's log lines and empty ones."""
    bare = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [line for line in bare.splitlines() if line.strip() and not re.match(r"\d{4}-\d\d-\d\d ", line)]


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """`ray start --head` with token authentication, four logical CPUs, everything on the loopback address."""
    # Ray's sockets have long names and the kernel allows 107 characters, so pytest's own folder is too deep.
    folder = Path(tempfile.mkdtemp(prefix="ef-", dir="/tmp"))
    home = folder / "home"
    home.mkdir()
    known = environment(home, RAY_AUTH_MODE="token", RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0")
    subprocess.run(
        [str(BIN / "ray"), "get-auth-token", "--generate"], env=known, check=True, capture_output=True, timeout=120
    )
    port = free_port()
    options = ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(port), "--port", str(free_port())]
    # Beside another Ray the agent's own port is taken, and a head without an agent takes no jobs.
    options += ["--dashboard-agent-listen-port", str(free_port())]
    options += ["--temp-dir", str(folder / "ray"), "--num-cpus", "4", "--object-store-memory", "300000000"]
    with open(folder / "head.log", "wb") as log:
        process = subprocess.Popen(
            [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", *options],
            cwd=ROOT,
            env=known,
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process, folder / "head.log")
        yield Head(address, home, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    """Until the dashboard answers, if only to turn us away."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the head did not start: {log.read_text()[-2000:]}")
