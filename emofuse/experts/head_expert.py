"""An expert: a backbone, a head, and the numbers they give for fixed-size images.

An image's numbers depend on the image alone: every network call has the one batch shape of the config, padded
where short, and the dropout masks are one fixed set from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from emofuse.affect import Affect
from emofuse.config import ComputeConfig, SceneConfig
from emofuse.errors import CheckpointError
from emofuse.experts.backbone import EMBEDDED, Backbone, load_backbone
from emofuse.experts.card import head_path, is_in_sample
from emofuse.experts.device import device_of
from emofuse.experts.head import Head, Moments, closed_form_moments, sampled_moments
from emofuse.experts.head_file import load_head
from emofuse.experts.prefetch import DevicePrefetcher, compiled
from emofuse.experts.preprocess import Preprocessing


class HeadExpert:
    """A trained head on its backbone.

    Args:
        head_file: a head file of `emofuse train`.
        compute: batch shape, precision and device.
        seed: fixes the dropout masks.
        passes: MC-dropout passes T; a head with a closed form needs none and uses it.
        weights: the backbone's weights; by default the file beside the head, or what the card names.

    Attributes:
        card: the head's card.
        preprocessing: what `__call__` expects to have been applied.

    Raises:
        CheckpointError: if head, backbone and weights do not belong together.
    """

    def __init__(
        self,
        head_file: Path,
        compute: ComputeConfig,
        *,
        seed: int = 0,
        passes: int = 20,
        weights: str | None = None,
    ) -> None:
        self._head, self.card = load_head(head_file)
        self.preprocessing = Preprocessing.from_json(self.card["preprocessing"])
        self._device = device_of(compute)
        loaded = backbone_of(head_file, self.card, weights)
        self._backbone = loaded.to(self._device).to(memory_format=torch.channels_last)
        self._backbone.normalise_with(self.preprocessing)
        self._head.to(self._device)
        self._features = compiled(self._backbone, self._device) if compute.compile else self._backbone
        self._upload = DevicePrefetcher(self._device)
        self._dtype = torch.bfloat16 if compute.dtype == "bfloat16" else torch.float32
        self._batch = compute.batch_size
        self._masks = [mask.to(self._device) for mask in self._head.masks(passes, seed)]

    @property
    def variance_source(self) -> str:
        """ "model" where the head says how sure it is, "none" where it cannot."""
        return "model" if self._head.spec.dropout > 0 or self._head.spec.log_variance else "none"

    def in_sample(self, hashes: Iterable[str | None]) -> np.ndarray:
        """Whether images with these content hashes were in the head's training set; bool (N,)."""
        return is_in_sample(self.card, hashes)

    def __call__(self, images: np.ndarray) -> Affect:
        """Affect (B, 2) of preprocessed uint8 images (B, S, S, 3), for any B; raw variances.

        Raises:
            ValueError: if the images have another shape or type.
        """
        return self.launch(images)()

    def launch(self, images: np.ndarray) -> Callable[[], Affect]:
        """As a call, but the answer is waited for where it is asked for: a GPU computes meanwhile.

        Raises:
            ValueError: if the images have another shape or type.
        """
        size = self.preprocessing.size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(f"expected uint8 (B, {size}, {size}, 3), got {images.dtype} {images.shape}")
        found: list[torch.Tensor] = []
        with torch.inference_mode():
            for batch in self._upload(self._batches(images)):
                with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
                    features = self._features(batch)
                moments = head_moments(self._head, features.float(), self._masks)
                found.append(torch.stack([moments.mean, moments.variance]))

        def answer() -> Affect:
            if not found:
                return Affect.missing((0, 2))
            mean, variance = torch.cat(found, dim=1)[:, : len(images)].cpu().numpy().astype(np.float64)
            return Affect.of(mean, variance)

        return answer

    def _batches(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """The images in batches of the one shape; blank ones fill the last."""
        for start in range(0, len(images), self._batch):
            batch = images[start : start + self._batch]
            missing = self._batch - len(batch)
            blank = np.zeros((missing, *batch.shape[1:]), np.uint8)
            yield np.concatenate([batch, blank]) if missing else np.ascontiguousarray(batch)


def head_moments(head: Head, features: torch.Tensor, masks: list[torch.Tensor]) -> Moments:
    """The moments of MC dropout on features (B, D): in closed form where the head has one, else over `masks`."""
    if head.is_closed_form:
        return closed_form_moments(head, features)
    return sampled_moments(*head.split(head.sample(features, masks)))


class SceneExpert(HeadExpert):
    """The scene expert of a config: by default the embedded backbone and the head that ships with the package."""

    def __init__(self, scene: SceneConfig, compute: ComputeConfig, seed: int = 0) -> None:
        super().__init__(head_path(scene), compute, seed=seed, passes=scene.passes, weights=scene.weights)


def backbone_of(head_file: Path, card: dict, weights: str | None = None) -> Backbone:
    """The backbone that a head was trained on, with the very weights it was trained on.

    Raises:
        CheckpointError: if its weights are missing or have another hash.
    """
    trained = card["backbone"]
    beside = head_file.parent / trained["file"] if trained.get("file") else None
    source = weights or (str(beside) if beside else trained["weights"])
    loaded = load_backbone(trained["name"], None if trained["name"] == EMBEDDED and source == "package" else source)
    found = loaded.fingerprint()
    if found != trained["sha256"]:
        raise CheckpointError(
            f"{head_file} was trained on {trained['name']} with weights {trained['weights']} "
            f"(sha256 {trained['sha256'][:12]}…), but {source} has sha256 {found[:12]}…; "
            "name the right file with --scene.weights"
        )
    return loaded
