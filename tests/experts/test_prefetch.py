from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from emofuse.experts.prefetch import DevicePrefetcher, compiled


def test_for_a_cpu_nothing_is_copied() -> None:
    arrays = [np.full((2, 3), i, np.uint8) for i in range(3)]
    tensors = list(DevicePrefetcher(torch.device("cpu"))(arrays))
    assert [tensor.data_ptr() for tensor in tensors] == [array.ctypes.data for array in arrays]
    assert list(DevicePrefetcher(torch.device("cpu"))([])) == []


class Log(list[str]):
    """What a GPU would have been asked for; a stream and an event at once."""

    def __call__(self, *_: object) -> Log:
        return self

    def record(self, stream: object) -> None:
        self.append("copied")

    def wait_event(self, event: object) -> None:
        self.append("wait")


def test_for_a_gpu_the_next_batch_is_on_its_way_before_the_last_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()

    @contextmanager
    def stream(_: object) -> Iterator[None]:
        log.append("[")
        yield
        log.append("]")

    def to(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        assert (device.type, non_blocking) == ("cuda", True)
        log.append(f"send {int(tensor[0])}")
        return tensor

    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        log.append("pin")
        return tensor

    for name, value in (("Stream", log), ("Event", log), ("stream", stream), ("current_stream", log)):
        monkeypatch.setattr(torch.cuda, name, value)
    for name, value in (("pin_memory", pinned), ("to", to), ("record_stream", lambda *_: log.append("keep"))):
        monkeypatch.setattr(torch.Tensor, name, value)
    for tensor in DevicePrefetcher(torch.device("cuda"))(np.full(1, i) for i in range(3)):
        log.append(f"use {int(tensor[0])}")
    sent = [f"[ pin send {i} copied ]" for i in range(3)]
    used = [f"wait keep use {i}" for i in range(3)]
    assert " ".join(log) == " ".join([sent[0], sent[1], used[0], sent[2], used[1], used[2]])


@pytest.mark.parametrize(("device", "mode"), [("cpu", "default"), ("cuda", "reduce-overhead")])
def test_networks_are_compiled_for_one_shape_and_on_a_gpu_as_a_graph(
    device: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.update(options) or function)
    assert compiled(abs, torch.device(device)) is abs
    assert asked == {"dynamic": False, "mode": mode}
