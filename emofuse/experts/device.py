"""The device that networks run on."""

from __future__ import annotations

import torch

from emofuse.config import ComputeConfig
from emofuse.errors import ConfigError


def resolve_device(device: str) -> str:
    """ "cuda" or "cpu" for "auto", by what this process sees; these two as they are, wherever they may be."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def device_of(compute: ComputeConfig) -> torch.device:
    """The device of a config on this machine: with `auto` the GPU where there is one.

    Raises:
        ConfigError: if the device is not here.
    """
    name = resolve_device(compute.device)
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device is cuda, but torch finds no GPU on this machine")
    return torch.device(name)
