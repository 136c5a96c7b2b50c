"""EmoNet as an expert: the views of all faces of a batch through the network in chunks of one fixed shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofuse.affect import Affect
from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import CheckpointError
from emofuse.experts.device import device_of
from emofuse.experts.face.alignment import CROP_SIZE
from emofuse.experts.face.emonet import EXPRESSIONS, EmoNet, load_emonet, missing_message
from emofuse.experts.face.precision import CANDIDATES, dtype_of, probe_chunk, smooth_images
from emofuse.experts.face.tta import Views, jitter_scales, moments
from emofuse.experts.prefetch import DevicePrefetcher, compiled
from emofuse.io.malloc import reuse_memory
from emofuse.io.weights import KNOWN, resolve, sha256_of

BFLOAT16_BOUND = 0.01
"""Largest difference from float32 in valence or arousal that "auto" puts up with."""
_CHECKED = 2


class EmoNetExpert:
    """Valence and arousal of face crops by EmoNet, with test-time augmentation.

    Attributes:
        card: what it is, where its weights come from, and how it was run.
        expressions: the names of its expression classes.
        chunk: views in one network call.
    """

    def __init__(self, face: FaceConfig, compute: ComputeConfig, seed: int = 0) -> None:
        """Loads the checkpoint and settles precision and chunk size.

        Raises:
            ConfigError: if the device is not here.
            CheckpointError: if the checkpoint is missing or not EmoNet's.
        """
        path = emonet_checkpoint(face)
        reuse_memory()
        self._device = device_of(compute)
        network = load_emonet(path).to(self._device).to(memory_format=torch.channels_last)
        self.expressions = EXPRESSIONS[network.n_expression]
        self._views = Views(face.views, seed, self._device)
        self._dtype, difference = _select_precision(network, compute, self._device)
        self._evaluate = compiled(network.evaluate, self._device) if compute.compile else network.evaluate
        self._upload = DevicePrefetcher(self._device)
        self.chunk = compute.face_chunk or self._best_chunk(compile=compute.compile)
        self.card = emonet_card(face, seed) | {
            "n_expression": network.n_expression,
            "dtype": str(self._dtype).removeprefix("torch."),
            "bfloat16_difference": difference,
        }

    def __call__(self, crops: np.ndarray) -> Affect:
        """Affect (N, 2) of uint8 crops (N, 256, 256, 3): mean over views, not clamped, and their unbiased variance."""
        return self.evaluate(crops)[0]

    def evaluate(self, crops: np.ndarray) -> tuple[Affect, np.ndarray]:
        """As `__call__`, and the expression probabilities, float32 (N, classes), averaged over views.

        Raises:
            ValueError: if the crops have another shape or type.
        """
        if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise ValueError(f"expected uint8 (N, {CROP_SIZE}, {CROP_SIZE}, 3), got {crops.dtype} {crops.shape}")
        if not len(crops):
            return Affect.missing((0, 2)), np.empty((0, len(self.expressions)), np.float32)
        outputs = self._outputs(crops).reshape(len(crops), self._views.count, -1)
        mean, variance = moments(outputs[..., :2])
        return Affect.of(mean, variance), outputs[..., 2:].mean(axis=1)

    def _outputs(self, crops: np.ndarray) -> np.ndarray:
        """Valence, arousal and probabilities of every view of every crop, (N * K, 2 + classes)."""
        (faces,) = self._upload([np.ascontiguousarray(crops)])
        total = len(crops) * self._views.count
        parts = []
        with torch.inference_mode():
            for start in range(0, total, self.chunk):
                # Past the end the first view of the first face pads the chunk; its outputs are cut off.
                which = torch.arange(start, start + self.chunk)
                which[which >= total] = 0
                crop = torch.div(which, self._views.count, rounding_mode="floor").to(self._device)
                parts.append(self._run(self._views.make(faces[crop], which % self._views.count)))
            return torch.cat(parts)[:total].cpu().numpy()

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        out = self._evaluate(images.to(self._dtype, memory_format=torch.channels_last))
        return torch.cat([_affect(out), out["expression"].softmax(dim=1)], dim=1).float()

    def _best_chunk(self, *, compile: bool) -> int:
        candidates = CANDIDATES.get(self._device.type, CANDIDATES["cuda"])
        if compile:
            return candidates[0]
        sample = smooth_images(max(candidates)).to(self._device)
        with torch.inference_mode():
            return probe_chunk(self._run, sample, candidates)[0]


def _select_precision(
    network: EmoNet, compute: ComputeConfig, device: torch.device
) -> tuple[torch.dtype, float | None]:
    """Bring the network to the precision of the options, in place.

    "auto" takes bfloat16 where the hardware gains by it and where, on fixed images, valence and arousal stay
    within `BFLOAT16_BOUND` of float32's.

    Returns:
        The precision, and the largest difference where it was measured.
    """
    dtype = dtype_of(compute, device)
    if dtype == torch.float32:
        return dtype, None
    if compute.dtype != "auto":
        _to_bfloat16(network)
        return dtype, None
    exact = {name: value.clone() for name, value in network.state_dict().items()}
    images = smooth_images(_CHECKED).to(device)
    with torch.inference_mode():
        before = _affect(network.evaluate(images.to(memory_format=torch.channels_last)))
        _to_bfloat16(network)
        after = _affect(network.evaluate(images.to(dtype, memory_format=torch.channels_last)))
    difference = float((after - before).abs().max())
    if difference <= BFLOAT16_BOUND:
        return dtype, difference
    network.float().load_state_dict(exact)
    return torch.float32, difference


def _to_bfloat16(network: EmoNet) -> None:
    """Halve the convolutions' precision; the small head keeps its own, so that the outputs keep their digits."""
    for name, part in network.named_children():
        if name != "emo_fc_2":
            part.to(torch.bfloat16)


def _affect(out: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([out["valence"], out["arousal"]], dim=1)


def emonet_checkpoint(face: FaceConfig) -> Path:
    """The checkpoint file of the options, checked to be there.

    Raises:
        CheckpointError: one line that says which file, where it is published, under which licence.
    """
    if face.checkpoint is None:
        raise CheckpointError(missing_message(None))
    return resolve(face.checkpoint, KNOWN["emonet_8"])


def emonet_card(face: FaceConfig, seed: int) -> dict[str, Any]:
    """What is known of the expert without loading its network."""
    path = emonet_checkpoint(face)
    known = KNOWN["emonet_8"]
    return {
        "expert": "emonet",
        "network": "EmoNet (Toisoul et al. 2021)",
        "file": path.name,
        "sha256": sha256_of(path),
        "licence": known.licence,
        "source": known.page,
        "views": face.views,
        "scales": [round(float(s), 6) for s in jitter_scales(face.views, seed)],
    }
