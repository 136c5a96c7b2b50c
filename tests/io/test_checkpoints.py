"""Every reader of weights refuses the same files, each in one line and before it takes the room they announce."""

from __future__ import annotations

import json
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from emofuse.errors import CheckpointError
from emofuse.experts.backbone import load_backbone
from emofuse.experts.card import embedded_head
from emofuse.experts.face.emonet import load_emonet
from emofuse.experts.head_file import load_head
from emofuse.io.checkpoints import check_names, read_tensors

LOADERS: dict[str, Callable[[Path], Any]] = {
    "the reader": read_tensors,
    "embedded backbone": lambda path: load_backbone("embedded", str(path)),
    "timm": lambda path: load_backbone("timm:test_efficientnet", str(path)),
    "open_clip": lambda path: load_backbone("open_clip:ViT-B-32", str(path)),
    "EmoNet": load_emonet,
}


def bomb(path: Path) -> None:
    """16 MB of zeros in a zip of 16 kB, which inflates where entries are not looked at first."""
    torch.save({"a": torch.zeros(4_000_000)}, path.with_suffix(".whole"))
    with zipfile.ZipFile(path.with_suffix(".whole")) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in whole.infolist():
            out.writestr(entry.filename, whole.read(entry))
    assert path.stat().st_size < 20_000


def overlapping(path: Path) -> None:
    """Stored entries that share their bytes: each is within the file, together they are many times as large."""
    torch.save({"a": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path, "a") as file:
        large = max(file.infolist(), key=lambda entry: entry.file_size)
        file.filelist += [large] * 200
        file._didModify = True  # type: ignore[attr-defined]


def spread(path: Path) -> None:
    """One number that says it is 2^40 of them."""
    torch.save({"a": torch.zeros(1).expand(2**40)}, path)


def legacy(path: Path) -> None:
    """Torch's old form, with room asked for 2^36 numbers that are not there."""
    torch.save({"a": torch.zeros(5003)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    announced = pickle.dumps(5003, protocol=2)[2:-1]
    assert data.count(announced) == 2  # of the storage and of the tensor
    path.write_bytes(data.replace(announced, pickle.dumps(2**36, protocol=2)[2:-1]))


def nan(path: Path) -> None:
    torch.save({"a": torch.tensor([1.0, torch.nan])}, path)


def infinite(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.tensor([torch.inf])}}, path)


def mixed(path: Path) -> None:
    torch.save({"a": torch.zeros(1), "epoch": 3}, path)


HOSTILE = [bomb, overlapping, spread, legacy, nan, infinite, mixed]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("loader", LOADERS)
def test_hostile_weights_are_refused_by_every_reader(tmp_path: Path, loader: str, make: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.pt"
    make(path)
    said = {
        bomb: "compressed", overlapping: "announce more", spread: "announces more", legacy: "announces more",
        nan: "NaN or infinity in a", infinite: "NaN or infinity in a|not a state dict", mixed: "'epoch': int",
    }[make]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=said) as caught:
        LOADERS[loader](path)
    assert "\n" not in str(caught.value)
    # A backbone's own network is made before its weights are read: its own size is not the file's doing.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000, "it was given the room"


def heads(tmp_path: Path, **changes: Any) -> Path:
    """The embedded head with other tensors or another card."""
    from safetensors import safe_open

    with safe_open(embedded_head("scene"), framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in list(file.keys())}
        card = json.loads(file.metadata()["card"])
    tensors["layers.1.bias"] = changes.get("bias", tensors["layers.1.bias"])
    card["head"] |= changes.get("head", {})
    save_file(tensors, tmp_path / "head.safetensors", metadata={"card": json.dumps(card)})
    return tmp_path / "head.safetensors"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bias": torch.tensor([torch.nan, 0.0])}, "NaN or infinity in layers.1.bias"),
        ({"bias": torch.zeros(3)}, r"other shapes in layers.1.bias \(3,\) instead of \(2,\)"),
        ({"bias": torch.zeros(2, dtype=torch.int64)}, "another kind of number in layers.1.bias"),
        ({"head": {"inputs": 2**33}}, "other shapes in"),
        ({"head": {"inputs": "many"}}, "does not hold the head its card announces"),
        ({"head": {"kind": "deep"}}, "linear or two_layer"),
    ],
)
def test_a_head_is_what_its_card_announces(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """The fourth would take 64 GB if it were made before it is looked at."""
    with pytest.raises(CheckpointError, match=said) as caught:
        load_head(heads(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_what_a_hub_serves_is_read_as_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import open_clip
    import timm

    small = timm.create_model("test_efficientnet.r160_in1k", pretrained=False)
    state = small.state_dict()
    save_file(state, tmp_path / "model.safetensors")

    def served(*_: object, **__: object) -> str:
        return str(tmp_path / "model.safetensors")

    for module in (huggingface_hub, timm.models._hub):
        monkeypatch.setattr(module, "hf_hub_download", served)
    backbone = load_backbone("timm:test_efficientnet", "r160_in1k")
    kept = backbone.network.state_dict()
    assert all(torch.equal(kept[name], state[name]) for name in kept)
    save_file({**state, "conv_stem.weight": state["conv_stem.weight"] * torch.nan}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinity in conv_stem\.weight"):
        load_backbone("timm:test_efficientnet", "r160_in1k")
    nan(tmp_path / "clip.pt")
    for module in (open_clip, open_clip.factory):
        monkeypatch.setattr(module, "download_pretrained", lambda *_, **__: str(tmp_path / "clip.pt"))
    with pytest.raises(CheckpointError, match="NaN or infinity in a"):
        load_backbone("open_clip:ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8),
    ],
    ids=["sparse", "no data", "quantised"],
)
def test_a_tensor_is_an_array_of_numbers(tmp_path: Path, odd: torch.Tensor) -> None:
    torch.save({"a": odd}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"state dict|weights file|pickled code") as caught:
        read_tensors(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_small_floats_are_looked_at_too(tmp_path: Path) -> None:
    for value, fine in ((1.0, True), (torch.nan, False)):
        save_file({"a": torch.tensor([value]).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
        if fine:
            assert float(read_tensors(tmp_path / "a.safetensors")["a"].float()) == 1
        else:
            with pytest.raises(CheckpointError, match="NaN"):
                read_tensors(tmp_path / "a.safetensors")


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "weights.bin")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt", _use_new_zipfile_serialization=False)
    for name in ("weights.bin", "weights.pt"):
        assert torch.equal(read_tensors(tmp_path / name)["a"], torch.ones(2))


def test_a_state_dict_may_stand_in_a_training_checkpoint_where_that_is_allowed(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "a.pt")
    assert list(read_tensors(tmp_path / "a.pt", wrapped=True)) == ["a"]
    with pytest.raises(CheckpointError, match="'state_dict': dict"):
        read_tensors(tmp_path / "a.pt")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "a.bin").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="truncated or not a weights file"):
        read_tensors(tmp_path / "a.bin")


def test_differences_are_listed_by_kind() -> None:
    wanted = {"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(1)}
    found = {"a": torch.zeros(3), "b": torch.zeros(1, dtype=torch.complex64), "d": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check_names(found, wanted, "it", "try again")
    assert str(caught.value) == (
        "it: it lacks c; it has unknown d; it has other shapes in a (3,) instead of (2,); "
        "it has another kind of number in b torch.complex64 instead of torch.float32; try again"
    )
