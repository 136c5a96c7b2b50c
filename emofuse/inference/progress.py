"""How far a run is: a bar on a terminal, a line now and then in a log. It counts committed rows, nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from emofuse.errors import EmofuseError

LOG_EVERY_SECONDS = 30.0
POLL_SECONDS = 1.0
SLOWEST_POLL_SECONDS = 15.0


@contextmanager
def watch(count: Callable[[], int], total: int, console: Console) -> Iterator[None]:
    """Show, while the block runs, how many of `total` rows `count` finds.

    Args:
        count: how many rows are done; called from another thread, about once a second, less often if it is slow.
        total: rows there are.
        console: a terminal gets a bar with rate and time left, anything else a line every half minute.
    """
    stop = threading.Event()
    show = _bar if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(count, total, console, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=SLOWEST_POLL_SECONDS)


def _poll(count: Callable[[], int], stop: threading.Event) -> Iterator[int]:
    """Counts until told to stop, and once more after that; takes at most a tenth of the time."""
    while True:
        ending = stop.is_set()
        began = time.monotonic()
        # Storage that is away for a moment must not end a run that outlasts it.
        with suppress(OSError, EmofuseError):
            yield count()
        if ending:
            return
        stop.wait(min(max(POLL_SECONDS, 10 * (time.monotonic() - began)), SLOWEST_POLL_SECONDS))


def _bar(count: Callable[[], int], total: int, console: Console, stop: threading.Event) -> None:
    columns = (
        TextColumn("predict"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        began, first = time.monotonic(), None
        task = progress.add_task("predict", total=total, rate="")
        for done in _poll(count, stop):
            first = done if first is None else first
            rate = (done - first) / max(time.monotonic() - began, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:.1f} images/s" if rate else "")


def _lines(count: Callable[[], int], total: int, console: Console, stop: threading.Event) -> None:
    began, first, said = time.monotonic(), None, -LOG_EVERY_SECONDS
    told = -1
    for done in _poll(count, stop):
        first = done if first is None else first
        now = time.monotonic() - began
        if done == told or (now - said < LOG_EVERY_SECONDS and not stop.is_set()):
            continue
        rate = (done - first) / max(now, 1e-9)
        left = f", about {(total - done) / rate:.0f} s left" if rate and done < total else ""
        console.print(f"predict: {done:,} of {total:,} rows, {rate:.1f} images/s{left}", highlight=False)
        said, told = now, done


@contextmanager
def timed(record: dict[str, Any], stage: str, rows: int) -> Iterator[None]:
    """Write a stage's seconds and images per second to a run's record; start-up counts."""
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    record.setdefault("stages", {})[stage] = {
        "seconds": round(seconds, 3),
        "rows": rows,
        "images_per_second": round(rows / seconds, 3),
    }
