"""Reuse of freed memory by the C library in processes that run networks on the CPU."""

from __future__ import annotations

import ctypes
import os

REUSE = "EMOFUSE_REUSE_MEMORY"
"""Environment variable; 0 leaves the C library as it is."""
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Numbers of the parameters, from glibc's malloc.h."""
KEPT_BYTES = 1 << 30
"""Freed memory that stays with the process, at most."""
STEP_BYTES = 128 << 20
"""What the heap grows by, so that a network's large tensors find room at once."""


def reuse_memory() -> bool:
    """Let this process use its freed memory again instead of giving it back after every layer.

    By default glibc returns large blocks to the kernel and gets them back as zeroed pages: for the
    tensors of a convolutional network that is a third of the time (README, "Measured"). It works on the
    main thread: the other threads' parts of the heap hold no block of more than 64 MiB.

    Returns:
        Whether it does; where the C library has no such knob (musl, macOS) nothing changes.
    """
    if os.environ.get(REUSE) == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = {TRIM_THRESHOLD: KEPT_BYTES, TOP_PAD: STEP_BYTES, MMAP_THRESHOLD: KEPT_BYTES}
    return all(mallopt(name, value) == 1 for name, value in wanted.items())
