"""Test-time views of a face crop: itself, its mirror image, and slight changes of scale about its centre."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from emofuse.experts.face.alignment import CROP_SIZE

SCALE_RANGE = (0.96, 1.04)
"""Range of the scale jitter."""


def jitter_scales(views: int, seed: int) -> np.ndarray:
    """The scales of the third and later views, (max(views - 2, 0),); one fixed set for every face.

    >>> jitter_scales(2, seed=0).shape
    (0,)
    """
    return np.random.default_rng(seed).uniform(*SCALE_RANGE, max(views - 2, 0))


class Views:
    """The K views of face crops; each view of a crop depends on that crop alone."""

    def __init__(self, views: int, seed: int, device: torch.device) -> None:
        """Fixes the views.

        Args:
            views: K, at least 1: identity, mirror, then K - 2 scales drawn from `SCALE_RANGE`.
            seed: fixes the scales.
            device: where the views are made.
        """
        self.count = views
        shape = [1, 3, CROP_SIZE, CROP_SIZE]
        self._grids = [
            functional.affine_grid(torch.diag(torch.tensor([1 / s, 1 / s, 1.0]))[None, :2].float(), shape, False).to(
                device
            )
            for s in jitter_scales(views, seed)
        ]

    def make(self, crops: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """One view of each crop.

        Args:
            crops: uint8 (N, 256, 256, 3).
            view: int (N,), which of the K views, on the CPU.

        Returns:
            float32 (N, 3, 256, 256) in [0, 1].
        """
        out = crops.permute(0, 3, 1, 2).float().div(255)
        for k in range(1, self.count):
            rows = (view == k).nonzero().flatten().to(out.device)
            if len(rows):
                out[rows] = self._view(out[rows], k)
        return out

    def _view(self, images: torch.Tensor, k: int) -> torch.Tensor:
        if k == 1:
            return images.flip(-1)
        grid = self._grids[k - 2].expand(len(images), -1, -1, -1)
        # Interpolated values of [0, 1] may leave it by a rounding error.
        return functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        ).clamp_(0, 1)


def moments(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance over views.

    Args:
        outputs: (N, K, 2).

    Returns:
        Mean (N, 2) and variance (N, 2) in float64; with K = 1 the variance is unknown, NaN.

    Source: Wang et al. 2019, with the unbiased variance.
    """
    values = outputs.astype(np.float64)
    if values.shape[1] == 1:
        return values[:, 0], np.full_like(values[:, 0], np.nan)
    return values.mean(axis=1), values.var(axis=1, ddof=1)
