"""Checkpoints read strictly: named, finite tensors and nothing else; no code that a file holds is run.

Every weights file that the package reads comes through here, whoever published it and however it came.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from emofuse.errors import CheckpointError

SHOWN = 3
"""Differences of a kind that a message lists."""
WRAPPER = "state_dict"
"""Where a training checkpoint keeps its state dict beside other things."""
_PREAMBLE = 3
"""Pickles of a legacy torch file before the one that names its tensors: magic number, protocol, machine."""
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


def read_tensors(path: Path, *, wrapped: bool = False) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file or of a torch state dict, on the CPU; runs no code of the file.

    Args:
        path: the file; what it is shows in its content, safetensors also in its name.
        wrapped: whether the state dict may also stand under "state_dict" of a training checkpoint.

    Raises:
        CheckpointError: if the file is missing or damaged, holds anything but named tensors, announces more data
            than it has, or holds NaN or infinity.
    """
    found = read_plain(path)
    if wrapped and isinstance(found, Mapping) and isinstance(found.get(WRAPPER), Mapping):
        found = found[WRAPPER]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and _is_plain(tensor) for name, tensor in found.items()
    ):
        raise CheckpointError(f"{path} is not a state dict: expected names and tensors, found {_kind(found)}")
    spread = [name for name, tensor in found.items() if tensor.nbytes > tensor.untyped_storage().nbytes()]
    if spread:
        raise CheckpointError(f"{path} announces more data than it holds for {', '.join(spread[:SHOWN])}")
    bad = [name for name, tensor in found.items() if not _is_finite(tensor)]
    if bad:
        raise CheckpointError(f"{path} holds NaN or infinity in {', '.join(bad[:SHOWN])}")
    return dict(found)


def read_plain(path: Path) -> Any:
    """What a weights file or a training checkpoint holds: tensors and plain Python values, on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, holds code, or announces more data than it has.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}: expected a state dict (safetensors or torch)")
    try:
        return load_file(path) if _is_safetensors(path) else _unpickled(path)
    except pickle.UnpicklingError as error:
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip()
        if "GLOBAL" in reason or _names_code(path):
            raise CheckpointError(
                f"{path} holds pickled code, which is refused and was not run; a checkpoint may hold tensors only"
            ) from None
        raise CheckpointError(_damaged(path, reason)) from None
    except _UNREADABLE as error:
        raise CheckpointError(_damaged(path, str(error).strip() or type(error).__name__)) from None


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"  # after the header's length


def _unpickled(path: Path) -> object:
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"  # as torch itself tells
    (_check_zip if zipped else _check_legacy)(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pickle's protocol: what is wrong is said by the error
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_zip(path: Path) -> None:
    """Refuse an archive whose entries take more room than the file before any of them is read."""
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        # torch never compresses, and a few kB could inflate to more than there is memory.
        raise zipfile.BadZipFile("its entries are compressed, which torch's never are")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise zipfile.BadZipFile("its entries announce more data than the file holds")


def _check_legacy(path: Path) -> None:
    """Refuse a file of torch's old form that announces more elements than it has bytes: torch makes room first."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            for _ in range(_PREAMBLE):
                for _ in pickletools.genops(file):
                    pass
        except ValueError:
            return  # not of this form, which torch says as well
        if max((value for _, value, _ in pickletools.genops(file) if isinstance(value, int)), default=0) > size:
            raise ValueError("it announces more data than the file holds")


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


def _is_plain(value: object) -> bool:
    """Whether it is an array of numbers in memory: not sparse, not quantised, not without data."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _is_finite(tensor: torch.Tensor) -> bool:
    small = tensor.is_floating_point() and tensor.element_size() == 1  # for which torch has no such question
    return bool(torch.isfinite(tensor.float() if small else tensor).all())


def _damaged(path: Path, reason: str) -> str:
    # What the unpickler stumbled over in a file of another kind means nothing to anybody.
    told = "" if reason.startswith("Unsupported operand") else f": {reason.splitlines()[0][:160]}"
    return f"{path} ({path.stat().st_size} bytes) is truncated or not a weights file{told}"


def _kind(found: object) -> str:
    if isinstance(found, Mapping):
        odd = next(
            f"{str(name)[:40]!r}: {type(value).__name__}"
            for name, value in found.items()
            if not isinstance(name, str) or not _is_plain(value)
        )
        return f"a mapping with {odd}"
    return type(found).__name__


def check_names(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], what: str, hint: str) -> None:
    """Hold a state dict to the names, shapes and kinds of number of a network.

    Args:
        found: what a file holds.
        wanted: the network's state dict; its tensors may be on the device "meta", which holds no data.
        what: the file and what it should be, as the message begins.
        hint: what to do, as the message ends.

    Raises:
        CheckpointError: with the first differences of each kind, and `hint`.
    """
    shared = [name for name in wanted if name in found]
    differences = {
        "lacks": [name for name in wanted if name not in found],
        "has unknown": [name for name in found if name not in wanted],
        "has other shapes in": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in shared
            if found[name].shape != wanted[name].shape
        ],
        "has another kind of number in": [
            f"{name} {found[name].dtype} instead of {wanted[name].dtype}"
            for name in shared
            if found[name].is_floating_point() != wanted[name].is_floating_point() or found[name].is_complex()
        ],
    }
    told = [
        f"{kind} {', '.join(names[:SHOWN])}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for kind, names in differences.items()
        if names
    ]
    if told:
        raise CheckpointError(f"{what}: it {'; it '.join(told)}; {hint}")
