"""How much memory a run took at most: the driver, Ray's workers on this machine, and the object store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

EVERY_SECONDS = 4.0


@contextmanager
def watched_memory(peak: dict[str, float]) -> Iterator[None]:
    """Fill `peak` with the largest unshared bytes of the driver, the largest worker, all workers, and the store."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(peak, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(peak: dict[str, float], stop: threading.Event) -> None:
    me = psutil.Process()
    while True:
        children = me.children(recursive=True)
        sizes = [_private(process) for process in children if _is_worker(process)]
        now = {"the driver": _private(me), "the largest worker": max(sizes, default=0.0), "all workers": sum(sizes)}
        now["the object store"] = max((_shared(process) for process in children if _is_raylet(process)), default=0.0)
        for who, size in now.items():
            peak[who] = max(peak.get(who, 0.0), size)
        if stop.wait(EVERY_SECONDS):
            return


def _private(process: psutil.Process) -> float:
    """Resident less shared bytes; the exact figure would cost the very processor time that is measured here."""
    try:
        size = process.memory_info()
        return float(size.rss - size.shared)
    except psutil.Error:
        return 0.0


def _shared(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().shared)
    except psutil.Error:
        return 0.0


def _is_worker(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("ray::") or any("ray::" in part for part in process.cmdline()[:1])
    except psutil.Error:
        return False


def _is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet"
    except psutil.Error:
        return False
