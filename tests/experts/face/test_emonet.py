from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emofuse.errors import CheckpointError
from emofuse.experts.face.emonet import EXPRESSIONS, EmoNet, load_emonet, missing_message
from tests.experts.face.checkpoints import emonet_state, parity_input, write_checkpoint

pytestmark = pytest.mark.slow

PARITY = 1e-4


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return emonet_state(8)


def outputs(network: EmoNet, images: torch.Tensor) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return {name: value.numpy() for name, value in network(images).items()}


def test_the_published_network_gives_these_numbers_for_these_weights(checkpoint: Path) -> None:
    # Outputs of the published code (Toisoul et al. 2021) for the Philox weights and the input "noise0".
    out = outputs(load_emonet(checkpoint), parity_input("noise0"))
    assert out["valence"] == pytest.approx([0.02128309, 0.02162586], abs=PARITY)
    assert out["arousal"] == pytest.approx([0.05235191, 0.05339942], abs=PARITY)
    assert out["expression"][0, :4] == pytest.approx([0.08342265, 0.03928868, -0.11791661, -0.0429814], abs=PARITY)
    assert out["heatmap"].shape == (2, 68, 64, 64)


@pytest.mark.parametrize(("classes", "name"), [(8, "noise0"), (8, "smooth1"), (5, "noise2")])
def test_equals_the_published_network(shared_data: Path, tmp_path: Path, classes: int, name: str) -> None:
    published = np.load(shared_data / "emonet_parity" / "outputs.npz")
    out = outputs(load_emonet(write_checkpoint(tmp_path / "emonet.pth", classes)), parity_input(name))
    out["heatmap_mean"] = out["heatmap"].mean(axis=(2, 3))
    for key in ("valence", "arousal", "expression", "heatmap_mean"):
        assert out[key] == pytest.approx(published[f"n{classes}_{name}_{key}"], abs=PARITY), key


def test_state_dict_is_the_published_one(shared_data: Path) -> None:
    published = json.loads((shared_data / "emonet_parity" / "state_dict_8.json").read_text())
    ours = EmoNet(8).state_dict()
    assert list(ours) == list(published)
    assert {name: list(tensor.shape) for name, tensor in ours.items()} == {k: v["shape"] for k, v in published.items()}
    assert all(str(ours[k].dtype) == f"torch.{v['dtype']}" for k, v in published.items())


def test_state_dict_has_the_published_size() -> None:
    names = list(EmoNet(8).state_dict())
    assert len(names) == 682
    assert sum(name.endswith("num_batches_tracked") for name in names) == 111
    assert names[:2] == ["conv1.weight", "conv1.bias"]
    assert names[-2:] == ["emo_fc_2.3.weight", "emo_fc_2.3.bias"]


def test_five_classes_differ_in_the_last_layer_only() -> None:
    eight, five = EmoNet(8).state_dict(), EmoNet(5).state_dict()
    assert list(eight) == list(five)
    other = [name for name in eight if eight[name].shape != five[name].shape]
    assert other == ["emo_fc_2.3.weight", "emo_fc_2.3.bias"]
    assert tuple(five["emo_fc_2.3.weight"].shape) == (7, 128)


def test_eval_returns_the_network_and_leaves_training() -> None:
    network = EmoNet()
    assert network.training
    assert network.eval() is network
    assert not network.training
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(1, 3, 224, 224), r"shape \(N, 3, 256, 256\), got \(1, 3, 224, 224\)"),
        (torch.zeros(3, 256, 256), "shape"),
        (torch.zeros(1, 1, 256, 256), "shape"),
        (torch.full((1, 3, 256, 256), 255.0), "from 255 to 255"),
        (torch.full((1, 3, 256, 256), -0.01), "from -0.01"),
        (torch.full((1, 3, 256, 256), torch.nan), r"in \[0, 1\]"),
        (torch.zeros(1, 3, 256, 256, dtype=torch.uint8), "divide"),
    ],
    ids=["size", "no batch", "grey", "0-255", "negative", "NaN", "integers"],
)
def test_refuses_other_inputs(images: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EmoNet().eval()(images)


def test_reads_classes_prefix_and_safetensors_from_the_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    plain = load_emonet(write_checkpoint(tmp_path / "five.pth", 5, prefix="module."))
    assert plain.n_expression == 5
    save_file(state, tmp_path / "eight.safetensors")
    tensors = load_emonet(tmp_path / "eight.safetensors")
    assert tensors.n_expression == 8
    assert all(torch.equal(value, state[name]) for name, value in tensors.state_dict().items())
    assert not tensors.training
    assert not any(parameter.requires_grad for parameter in tensors.parameters())


def test_published_expressions_have_a_name_each() -> None:
    assert {count: len(names) for count, names in EXPRESSIONS.items()} == {5: 5, 8: 8}


class Malicious:
    """Pickles to a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_hostile_checkpoints_are_each_refused_with_their_own_words(
    tmp_path: Path, checkpoint: Path, state: dict[str, torch.Tensor]
) -> None:
    mark = tmp_path / "executed"
    whole = checkpoint.read_bytes()
    (tmp_path / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("404: Not Found")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({**state, "extra.weight": torch.zeros(1)}, tmp_path / "extra.pth")
    torch.save({**state, "module.conv1.weight": torch.zeros(1)}, tmp_path / "twice.pth")
    torch.save({**state, "conv1.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "shape.pth")
    torch.save({**state, "conv1.bias": torch.full((64,), torch.nan)}, tmp_path / "nan.pth")
    torch.save({"state_dict": state}, tmp_path / "nested.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    torch.save(Malicious(mark), tmp_path / "code.pth")
    (tmp_path / "old_code.pth").write_bytes(pickle.dumps({"conv1.weight": Malicious(mark)}))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    expected = {
        "truncated.pth": "is truncated or not a weights file",
        "empty.pth": r"\(0 bytes\) is truncated",
        "text.pth": r"\(14 bytes\)",
        "other.pth": "lacks conv1.weight, conv1.bias, bn1.weight and 679 more; it has unknown layer.weight",
        "extra.pth": "has unknown extra.weight; the checkpoints are published at https://github.com/face-analysis/emonet",
        "twice.pth": "has unknown module.conv1.weight",
        "shape.pth": r"other shapes in conv1.weight \(64, 3, 5, 5\) instead of \(64, 3, 7, 7\)",
        "nan.pth": "NaN or infinity in conv1.bias",
        "nested.pth": "not a state dict: .*a mapping with 'state_dict': dict",
        "list.pth": "not a state dict: .*found list",
        "code.pth": "pickled code, which is refused and was not run",
        "old_code.pth": "pickled code, which is refused and was not run",
        "cut.safetensors": "truncated",
        "absent.pth": "no EmoNet checkpoint at .*CC BY-NC-ND 4.0",
    }
    for name, said in expected.items():
        with pytest.raises(CheckpointError, match=said) as caught:
            load_emonet(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_wrong_hash_is_refused_before_anything_is_read(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"another hash: expected sha256 0123abcd, found [0-9a-f]{64}"):
        load_emonet(checkpoint, sha256="0123abcd")


@pytest.mark.parametrize(("asked", "said"), [(5, "other shapes in emo_fc_2.3.weight"), (7, "no EmoNet of 5 or 8")])
def test_a_file_of_other_classes_is_refused(checkpoint: Path, asked: int, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_emonet(checkpoint, asked)


def test_the_missing_message_is_one_line_with_file_place_and_licence() -> None:
    said = missing_message(None)
    assert "\n" not in said
    assert all(part in said for part in ("emonet_8.pth", "github.com/face-analysis/emonet", "CC BY-NC-ND 4.0"))
