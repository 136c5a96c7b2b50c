from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from emofuse.io.malloc import REUSE, reuse_memory

PROGRAM = """
import resource, sys
import numpy as np
from emofuse.io.malloc import reuse_memory
reused = len(sys.argv) > 1 and reuse_memory()
np.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def storage_exceptions(*arguments: str) -> int:
    run = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=True, capture_output=True, text=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again_without_asking_the_kernel() -> None:
    assert storage_exceptions("reuse") < 100 < storage_exceptions()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.io.malloc.ctypes.CDLL", lambda _: object())
    assert not reuse_memory()


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REUSE, "0")
    assert not reuse_memory()
