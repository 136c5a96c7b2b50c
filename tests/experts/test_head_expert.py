"""The expert as it is served: an image's numbers depend on the image alone; wrong pairs are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.config import ComputeConfig, SceneConfig
from emofuse.errors import CheckpointError
from emofuse.experts.backbone import load_backbone
from emofuse.experts.card import FORMAT, embedded_head, is_in_sample, preprocessing_of, read_card
from emofuse.experts.head import Head, HeadSpec
from emofuse.experts.head_expert import HeadExpert, SceneExpert
from emofuse.experts.head_file import load_head, save_head
from emofuse.tables.hashes import pack_hashes

COMPUTE = ComputeConfig(batch_size=8)


@pytest.fixture(scope="module")
def expert() -> SceneExpert:
    return SceneExpert(SceneConfig(), COMPUTE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, 240, 240, 3), dtype=np.uint8)


@pytest.mark.slow
def test_neighbours_order_and_padding_change_no_bit(expert: SceneExpert, images: np.ndarray) -> None:
    whole = expert(images)
    backwards = expert(images[::-1])[::-1]
    singly = [expert(images[i : i + 1]) for i in range(3)]
    for name in ("mean", "variance"):
        assert np.array_equal(getattr(whole, name), getattr(backwards, name))
        assert np.array_equal(getattr(whole, name)[:3], np.concatenate([getattr(one, name) for one in singly]))
    assert whole.valid.all()
    assert (whole.variance > 0).all()
    assert len(expert(images[:0])) == 0


def test_another_batch_shape_agrees_to_1e_5(expert: SceneExpert, images: np.ndarray) -> None:
    other = SceneExpert(SceneConfig(), replace(COMPUTE, batch_size=3))(images)
    whole = expert(images)
    assert np.abs(other.mean - whole.mean).max() < 1e-5
    assert np.abs(other.variance - whole.variance).max() < 1e-5


def test_images_of_another_form_are_refused(expert: SceneExpert, images: np.ndarray) -> None:
    for wrong in (images[:, :200], images.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            expert(wrong)


@pytest.mark.parametrize("name", ["scene", "face"])
def test_the_shipped_cards_say_what_they_must(name: str) -> None:
    card = read_card(embedded_head(name))
    assert card["format"] == FORMAT
    assert card["expert"] == name
    assert "research use only" in card["licence"]
    assert card["data"]["dataset"] == "oasis"
    assert len(card["training_images"]) == 16 * card["data"]["split"]["all"]
    assert all(value > 0 for value in card["pooled_error"] + card["mean_squared_z"])
    served = np.array(card["variance_floor"]) + np.array(card["variance_scale"]) * 0.02
    assert (served > 0.25 * np.array(card["pooled_error"])).all()
    assert embedded_head(name).stat().st_size < 100_000


def test_the_shipped_scene_head_reaches_what_was_asked() -> None:
    figures = read_card(embedded_head("scene"))["metrics"]["out_of_fold"]
    assert figures["valence"]["pearson"] >= 0.56
    assert figures["arousal"]["pearson"] >= 0.58
    assert figures["rows"] == 551


def test_training_images_are_known_by_their_content() -> None:
    card = {"training_images": pack_hashes(["ab" * 32, "CD" * 32, "ab" * 32])}
    assert len(card["training_images"]) == 32
    assert is_in_sample(card, ["ab" * 32, "cd" * 32, "ef" * 32, None]).tolist() == [True, True, False, False]


def test_preprocessing_is_read_from_the_card() -> None:
    assert preprocessing_of(SceneConfig()).size == 240


def test_other_weights_than_the_heads_own_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    load_backbone("embedded", "random").save(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"sha256 ce7b30f77916….*--scene.weights"):
        SceneExpert(SceneConfig(weights=str(tmp_path / "other.safetensors")), COMPUTE)


def test_files_that_are_no_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no head at"):
        read_card(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no head")
    with pytest.raises(CheckpointError, match="not a head"):
        read_card(tmp_path / "text.safetensors")
    head, card = load_head(embedded_head("scene"))
    with pytest.raises(CheckpointError, match="lacks backbone"):
        save_head(tmp_path / "h.safetensors", head, {key: value for key, value in card.items() if key != "backbone"})
    other = {**card, "head": {**card["head"], "inputs": 7}}
    save_head(tmp_path / "h.safetensors", head, other)
    with pytest.raises(CheckpointError, match="does not hold the head"):
        load_head(tmp_path / "h.safetensors")


def two_layer_file(path: Path) -> Path:
    """The embedded backbone with a random two-layer head, which has to be sampled."""
    _, card = load_head(embedded_head("scene"))
    torch.manual_seed(0)
    head = Head(HeadSpec(2848, "two_layer", 0.3))
    spec: dict[str, Any] = {"inputs": 2848, "kind": "two_layer", "dropout": 0.3, "log_variance": False}
    save_head(path, head, {**card, "head": spec})
    return path


@pytest.mark.slow
def test_sampling_uses_one_fixed_set_of_masks(tmp_path: Path, images: np.ndarray) -> None:
    file = two_layer_file(tmp_path / "head.safetensors")
    one, again, other = (HeadExpert(file, COMPUTE, seed=seed)(images) for seed in (0, 0, 1))
    assert np.array_equal(one.variance, again.variance)
    assert not np.array_equal(one.variance, other.variance)
    expert = HeadExpert(file, COMPUTE, seed=0)
    assert np.array_equal(expert(images[4:6]).variance, one.variance[4:6])
    single = HeadExpert(file, COMPUTE, passes=1)(images[:2])
    assert np.isnan(single.variance).all()
    assert single.valid.all()


def test_the_backbone_runs_once_whatever_the_passes(tmp_path: Path) -> None:
    """Timing belongs to `make proof`; here it is counted: the backbone's stem sees each batch once at T = 20."""
    expert = HeadExpert(two_layer_file(tmp_path / "head.safetensors"), COMPUTE, passes=20)
    calls: list[torch.Size] = []
    trunk = expert._backbone.network.trunk
    trunk.conv_stem.register_forward_hook(lambda *args: calls.append(args[1][0].shape))  # type: ignore[union-attr]
    expert(np.zeros((10, 240, 240, 3), np.uint8))
    assert calls == [torch.Size([8, 3, 240, 240])] * 2


def test_importing_the_preprocessing_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from emofuse.experts.card import preprocessing_of; from emofuse.config import SceneConfig;"
        "preprocessing_of(SceneConfig()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
