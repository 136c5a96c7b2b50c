"""Batches on their way to a device, and networks compiled for it: what keeps a GPU from waiting for its host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import numpy as np
import torch

Function = TypeVar("Function", bound=Callable[..., Any])


class DevicePrefetcher:
    """Brings arrays to a device, each on its way while the one before is computed on.

    To a GPU they go from page-locked memory and on a stream of their own. For a CPU they stay where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, arrays: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
        """The arrays as tensors on the device, in order; while one is in use the next one is being copied."""
        before: tuple[torch.Tensor, Any] | None = None
        for array in arrays:
            sent = self._send(torch.from_numpy(array))
            if before is not None:
                yield self._wait(*before)
            before = sent
        if before is not None:
            yield self._wait(*before)

    def _send(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        if self._stream is None:
            return tensor, None
        with torch.cuda.stream(self._stream):
            # torch's allocator of page-locked memory keeps a block until the copies out of it are done.
            there = tensor.pin_memory().to(self._device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return there, copied

    def _wait(self, tensor: torch.Tensor, copied: Any) -> torch.Tensor:
        if copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            # Its memory may not go to the next copy before the work that is queued on it is done.
            tensor.record_stream(computing)
        return tensor


def compiled(function: Function, device: torch.device) -> Function:
    """`function` compiled for the one shape that it is called with; on a GPU as a CUDA graph, without launch costs."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return cast("Function", torch.compile(function, dynamic=False, mode=mode))
