"""Hostile weights, cards and calibrations."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path

from attacks.common import Owner, attack, memory, refused


@attack("a pickle that runs code, as a scene head, as EmoNet, as a detector and as a calibration")
def pickled_weights(folder: Path) -> str:
    import torch

    from emofuse.calibration import Calibration
    from emofuse.experts.card import read_card
    from emofuse.experts.face.emonet import load_emonet
    from emofuse.experts.head_file import load_head

    plain, zipped = folder / "plain.pth", folder / "zipped.pth"
    plain.write_bytes(pickle.dumps(Owner(folder)))
    torch.save({"conv1.weight": Owner(folder)}, zipped)
    for path in (plain, zipped):
        for load in (read_card, load_head, load_emonet, Calibration.load):
            line = refused(lambda path=path, load=load: load(path))
    return line


@attack("safetensors whose header claims 2^60 bytes, is no JSON, or points beyond the file")
def hostile_header(folder: Path) -> str:
    from emofuse.experts.card import read_card
    from emofuse.experts.face.emonet import load_emonet

    beyond = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    contents = (struct.pack("<Q", 2**60), struct.pack("<Q", 4) + b"{{{{", struct.pack("<Q", len(beyond)) + beyond)
    for data in contents:
        (folder / "a.safetensors").write_bytes(data)
        for load in (read_card, load_emonet):
            line = refused(lambda load=load: load(folder / "a.safetensors"))
    return line


@attack("a head whose card is a list, is 100,000 brackets deep, or has NaN and 1e308 for its scales")
def hostile_card(folder: Path) -> str:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from emofuse.experts.card import embedded_head, read_card

    with safe_open(embedded_head("scene"), framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        card = json.loads(file.metadata()["card"])
    for text in ("[]", "[" * 100_000, "null", json.dumps({**card, "format": "other/9"})):
        save_file(tensors, folder / "a.safetensors", metadata={"card": text})
        line = refused(lambda: read_card(folder / "a.safetensors"))
    for value in (float("nan"), float("inf"), -1.0, 1e308):
        hostile = {**card, "variance_scale": [value, value]}
        save_file(tensors, folder / "a.safetensors", metadata={"card": json.dumps(hostile)})
        refused(lambda: read_card(folder / "a.safetensors"))
    return line


@attack("an EmoNet file with NaN in it, one with shapes of another network, one of 40 MB of zeros")
def hostile_tensors(folder: Path) -> str:
    import torch

    from emofuse.experts.face.emonet import EmoNet, load_emonet

    state = EmoNet(8).state_dict()
    for name, tensors in {
        "nan.pth": {**state, "conv1.bias": torch.full((64,), float("nan"))},
        "other.pth": {**state, "conv1.weight": torch.zeros(1, 1, 1, 1)},
        "list.pth": [torch.zeros(10)],
    }.items():
        torch.save(tensors, folder / name)
        line = refused(lambda name=name: load_emonet(folder / name))
    (folder / "zeros.pth").write_bytes(bytes(40_000_000))
    refused(lambda: load_emonet(folder / "zeros.pth"))
    return line


@attack("a torch file that is a zip bomb")
def zip_bomb(folder: Path) -> str:
    from emofuse.experts.face.emonet import load_emonet

    with zipfile.ZipFile(folder / "a.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(500_000_000))
        file.writestr("archive/version", b"3")
    before = memory()
    line = refused(lambda: load_emonet(folder / "a.pth"))
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a calibration of another format, with infinities, 100,000 brackets deep")
def hostile_calibration(folder: Path) -> str:
    from emofuse.calibration import Calibration

    for text in ("[]", "[" * 100_000, '{"format": "emofuse-calibration", "version": 1e400}', "\xff\xfe"):
        (folder / "c.json").write_bytes(text.encode("latin-1"))
        line = refused(lambda: Calibration.load(folder / "c.json"))
    return line
