"""EmoNet as an expert: the views of all faces of a batch through the network in chunks of one fixed shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofuse.affect import Affect
from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.face.alignment import CROP_SIZE
from emofuse.face.emonet import EXPRESSIONS, load_emonet, missing_message
from emofuse.face.networks import CANDIDATES, device_of, dtype_of, probe_chunk
from emofuse.face.views import Views, jitter_scales, moments
from emofuse.weights import KNOWN, resolve, sha256_of


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
            ConfigError: if `face.views` is not positive.
            CheckpointError: if the checkpoint is missing or not EmoNet's.
        """
        path = emonet_checkpoint(face)
        if face.views < 1:
            raise ConfigError(f"face.views must be at least 1, got {face.views}")
        self._device = device_of(compute)
        self._dtype = dtype_of(compute, self._device)
        network = load_emonet(path).to(self._device, self._dtype).to(memory_format=torch.channels_last)
        network.emo_fc_2.float()
        self.expressions = EXPRESSIONS[network.n_expression]
        self._judge = torch.compile(network.judge, dynamic=False) if compute.compile else network.judge
        self._views = Views(face.views, seed, self._device)
        self.chunk = compute.face_chunk or self._best_chunk(compile=compute.compile)
        self.card = emonet_card(face, seed) | {
            "n_expression": network.n_expression,
            "dtype": str(self._dtype).removeprefix("torch."),
        }

    def __call__(self, crops: np.ndarray) -> Affect:
        """Affect (N, 2) of uint8 crops (N, 256, 256, 3): mean over views, not clamped, and their unbiased variance."""
        return self.judge(crops)[0]

    def judge(self, crops: np.ndarray) -> tuple[Affect, np.ndarray]:
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
        faces = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device)
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

    def _run(self, pictures: torch.Tensor) -> torch.Tensor:
        out = self._judge(pictures.to(self._dtype, memory_format=torch.channels_last))
        affect = torch.stack([out["valence"], out["arousal"]], dim=1)
        return torch.cat([affect, out["expression"].softmax(dim=1)], dim=1).float()

    def _best_chunk(self, *, compile: bool) -> int:
        candidates = CANDIDATES.get(self._device.type, CANDIDATES["cuda"])
        if compile:
            return candidates[0]
        generator = torch.Generator().manual_seed(0)
        sample = torch.rand(max(candidates), 3, CROP_SIZE, CROP_SIZE, generator=generator).to(self._device)
        with torch.inference_mode():
            return probe_chunk(self._run, sample, candidates)[0]


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
