"""EmoNet state dicts that anyone can regenerate: the published names and shapes, Philox weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch


def tensor_of(name: str, shape: tuple[int, ...], *, floating: bool = True) -> torch.Tensor:
    """The entry `name` as the parity vectors' README defines it."""
    if not floating:
        return torch.zeros(shape, dtype=torch.int64)
    rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = rng.normal(0, 0.1, shape)
    elif name.endswith("weight") and len(shape) == 1:
        values = rng.uniform(0.5, 1.0, shape)
    elif name.endswith("bias"):
        values = rng.normal(0, 0.05, shape)
    else:
        values = rng.normal(0, 1, shape) * np.sqrt(0.35 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


def philox_state(like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of `like` and the README's weights."""
    return {
        name: tensor_of(name, tuple(tensor.shape), floating=tensor.is_floating_point()) for name, tensor in like.items()
    }


def emonet_state(n_expression: int = 8, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """EmoNet's state dict with the README's weights; `prefix` as in the checkpoints that have `module.`."""
    from emofuse.experts.face.emonet import EmoNet

    with torch.device("meta"):
        like = EmoNet(n_expression).state_dict()
    return {prefix + name: tensor for name, tensor in philox_state(like).items()}


def write_checkpoint(path: Path, n_expression: int = 8, *, prefix: str = "") -> Path:
    """Write EmoNet's state dict in the published form (`torch.save`) and return the path."""
    torch.save(emonet_state(n_expression, prefix=prefix), path)
    return path


def parity_input(name: str) -> torch.Tensor:
    """The input `noise<seed>` or `smooth<seed>` of the README, float32 (2, 3, 256, 256) in [0, 1]."""
    kind = name.rstrip("0123456789")
    seed = int(name.removeprefix(kind))
    rng = np.random.Generator(np.random.Philox(key=1000 + seed))
    if kind == "noise":
        return torch.from_numpy(rng.uniform(0, 1, (2, 3, 256, 256)).astype(np.float32))
    coarse = rng.uniform(0, 1, (2, 16, 16, 3))
    fine = np.stack([cv2.resize(a, (256, 256), interpolation=cv2.INTER_LINEAR) for a in coarse])
    return torch.from_numpy(np.clip(fine, 0, 1).transpose(0, 3, 1, 2).astype(np.float32))
