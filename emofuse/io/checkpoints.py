"""Checkpoints read strictly: named tensors of the very network they are for; no code that a file holds is run."""

from __future__ import annotations

import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from emofuse.errors import CheckpointError

SHOWN = 3
"""Differences of a kind that a message lists."""
_UNREADABLE = (
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch and safetensors raise on files that are damaged or something else."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file or of a torch state dict, on the CPU; runs no code of the file.

    Raises:
        CheckpointError: if the file is damaged, holds anything but named tensors, or holds NaN or infinity.
    """
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except pickle.UnpicklingError as error:
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip()
        if "GLOBAL" in reason or _names_code(path):
            raise CheckpointError(
                f"{path} holds pickled code, which is refused and was not run; a checkpoint may hold tensors only"
            ) from None
        raise CheckpointError(_damaged(path, reason)) from None
    except _UNREADABLE as error:
        raise CheckpointError(_damaged(path, str(error).strip() or type(error).__name__)) from None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    ):
        raise CheckpointError(f"{path} is not a state dict: expected names and tensors, found {_kind(found)}")
    bad = [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{path} holds NaN or infinity in {', '.join(bad[:SHOWN])}")
    return dict(found)


def _unpickled(path: Path) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
                # torch never compresses, and a few kB could inflate to more than there is memory.
                raise zipfile.BadZipFile("its entries are compressed, which torch's never are")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pickle's protocol: what is wrong is said by the error
        return torch.load(path, map_location="cpu", weights_only=True)


def _names_code(path: Path) -> bool:
    """Whether a bare pickle names a class or function to call; its opcodes are listed, none is run."""
    with path.open("rb") as file:
        if file.read(1) != pickle.PROTO:
            return False
        file.seek(0)
        try:
            return any(opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST") for opcode, _, _ in pickletools.genops(file))
        except ValueError:
            return False


def _damaged(path: Path, reason: str) -> str:
    # What the unpickler stumbled over in a file of another kind means nothing to anybody.
    told = "" if reason.startswith("Unsupported operand") else f": {reason.splitlines()[0][:160]}"
    return f"{path} ({path.stat().st_size} bytes) is truncated or not a weights file{told}"


def _kind(found: object) -> str:
    if isinstance(found, Mapping):
        odd = next(f"{name!r}: {type(value).__name__}" for name, value in found.items() if not hasattr(value, "shape"))
        return f"a mapping with {odd}"
    return type(found).__name__


def check_names(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], what: str, hint: str) -> None:
    """Hold a state dict to the names and shapes of a network.

    Raises:
        CheckpointError: with the first differences of each kind, and `hint`.
    """
    differences = {
        "lacks": [name for name in wanted if name not in found],
        "has unknown": [name for name in found if name not in wanted],
        "has other shapes in": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
        ],
    }
    told = [
        f"{kind} {', '.join(names[:SHOWN])}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for kind, names in differences.items()
        if names
    ]
    if told:
        raise CheckpointError(f"{what}: it {'; it '.join(told)}; {hint}")
