"""Running a face network fast: precision, memory layout, and the number of views it takes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from emofuse.config import ComputeConfig

CANDIDATES = {"cpu": (8, 4), "cuda": (32, 64, 128, 16)}
"""Views in a network call; the first is taken unless another is faster and gives the same bits."""
_WORTH = 1.05


def gains_by_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself: tensor cores, AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def dtype_of(compute: ComputeConfig, device: torch.device) -> torch.dtype:
    """The precision of EmoNet's convolutions: as named, or bfloat16 where the hardware gains by it."""
    if compute.dtype == "auto":
        return torch.bfloat16 if gains_by_bfloat16(device) else torch.float32
    return torch.bfloat16 if compute.dtype == "bfloat16" else torch.float32


def smooth_images(count: int, size: int = 256) -> torch.Tensor:
    """Fixed images that are neither flat nor noise, float32 (count, 3, size, size) in [0, 1], on the CPU."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, size // 16, size // 16, generator=generator)
    return functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)


def probe_chunk(
    run: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor, candidates: Sequence[int]
) -> tuple[int, dict[int, float]]:
    """The number of inputs that `run` is best given at once.

    A candidate counts only where its outputs equal those of the first to the last bit: so the choice, which
    depends on the machine and its load, never changes a result.

    Args:
        run: maps inputs (N, ...) to outputs (N, ...).
        sample: at least as many inputs as the largest candidate.
        candidates: the first is the default.

    Returns:
        The chosen number, and inputs per second of each candidate that counts.
    """
    rates: dict[int, float] = {}
    expected: torch.Tensor | None = None
    run(sample[: candidates[0]])
    for size in candidates:
        whole = len(sample) // size * size
        began = time.perf_counter()
        out = torch.cat([run(part) for part in sample[:whole].split(size)]).cpu()
        seconds = time.perf_counter() - began
        if expected is None:
            expected = out
        shared = min(len(out), len(expected))
        if torch.equal(out[:shared], expected[:shared]):
            rates[size] = whole / seconds
    default = candidates[0]
    best = max(rates, key=lambda size: rates[size])
    return (best if rates[best] > _WORTH * rates[default] else default), rates
