"""EmoNet: a face alignment network whose features and heatmaps also evaluate expression, valence and arousal.

Written from the description; the published code and weights are CC BY-NC-ND 4.0 and are not part of this
package. Two stacked hourglasses find 68 landmarks as heatmaps; the features of both, weighted by the sum of
the heatmaps, and those of the stem go through four pooled blocks and a small head.

Source: Toisoul, Kossaifi, Bulat, Tzimiropoulos & Pantic, Estimation of continuous valence and arousal levels
from faces in naturalistic conditions, Nature Machine Intelligence 3, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from face_alignment.models.fan import ConvBlock, HourGlass
from torch import nn
from torch.nn import functional

from emofuse.errors import CheckpointError
from emofuse.io.checkpoints import check_names, read_tensors
from emofuse.io.weights import KNOWN, check_hash

LANDMARKS = 68
INPUT_SIZE = 256
"""Side of the input in pixels."""
EXPRESSIONS = {
    5: ("neutral", "happy", "sad", "surprise", "fear"),
    8: ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"),
}
"""The expression classes in the order of the published outputs."""
_HEAD = "emo_fc_2.3.weight"
_PREFIX = "module."
_STACKS = 2


class _MaxHourGlass(HourGlass):
    """FAN's hourglass with max pooling, as EmoNet was trained."""

    def _forward(self, level: int, inp: torch.Tensor) -> torch.Tensor:
        part = self.get_submodule
        upper = part(f"b1_{level}")(inp)
        lower = part(f"b2_{level}")(functional.max_pool2d(inp, 2))
        lower = self._forward(level - 1, lower) if level > 1 else part(f"b2_plus_{level}")(lower)
        lower = part(f"b3_{level}")(lower)
        return upper.add_(functional.interpolate(lower, scale_factor=2, mode="nearest"))


class EmoNet(nn.Module):
    """EmoNet for 5 or 8 expression classes; the state dict has the published names, order and shapes."""

    def __init__(self, n_expression: int = 8) -> None:
        """Makes the network with torch's own initial weights; `load_emonet` makes one with trained weights.

        Args:
            n_expression: how many expression classes the head has, published with 5 and 8.
        """
        super().__init__()
        self.n_expression = n_expression
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, 256)
        for stack in range(_STACKS):
            self._add_stack(stack)
        self.conv1x1_input_emo_2 = nn.Conv2d(256 * (_STACKS + 1), 256, kernel_size=1)
        blocks = [layer for _ in range(4) for layer in (ConvBlock(256, 256), nn.MaxPool2d(2))]
        self.emo_net_2 = nn.Sequential(*blocks)
        self.emo_fc_2 = nn.Sequential(
            nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, n_expression + 2)
        )

    def _add_stack(self, stack: int) -> None:
        self.add_module(f"m{stack}", _MaxHourGlass(1, 4, 256))
        self.add_module(f"top_m_{stack}", ConvBlock(256, 256))
        self.add_module(f"conv_last{stack}", nn.Conv2d(256, 256, kernel_size=1))
        self.add_module(f"bn_end{stack}", nn.BatchNorm2d(256))
        self.add_module(f"l{stack}", nn.Conv2d(256, LANDMARKS, kernel_size=1))
        if stack < _STACKS - 1:
            self.add_module(f"bl{stack}", nn.Conv2d(256, 256, kernel_size=1))
            self.add_module(f"al{stack}", nn.Conv2d(LANDMARKS, 256, kernel_size=1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Evaluate faces.

        Args:
            x: (N, 3, 256, 256), RGB in [0, 1].

        Returns:
            `heatmap` (N, 68, 64, 64); `expression` (N, n_expression), before softmax; `valence` and `arousal`
            (N,), nominally in [-1, 1] and not clamped.

        Raises:
            ValueError: for an input of another shape, or outside [0, 1].
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, INPUT_SIZE, INPUT_SIZE):
            raise ValueError(f"expected images of shape (N, 3, {INPUT_SIZE}, {INPUT_SIZE}), got {tuple(x.shape)}")
        if not torch.is_floating_point(x):
            raise ValueError(f"expected floating-point RGB in [0, 1], got {x.dtype}; divide 0-255 by 255")
        if len(x) and not bool(((x >= 0) & (x <= 1)).all()):
            raise ValueError(f"expected RGB in [0, 1], got values from {x.min():.4g} to {x.max():.4g}")
        return self.evaluate(x)

    def evaluate(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """`forward` without the checks, for inputs that are right by construction."""
        stem, features, heatmap = self._landmark_features(x)
        attended = torch.cat(features, dim=1) * heatmap.sum(dim=1, keepdim=True)
        emotion = self.emo_net_2(self.conv1x1_input_emo_2(torch.cat([stem, attended], dim=1)))
        # The last layers may stand in float32 behind half-precision ones, so that the outputs keep their digits.
        out = self.emo_fc_2(emotion.mean(dim=(2, 3), dtype=self.emo_fc_2[0].weight.dtype))
        return {"heatmap": heatmap, "expression": out[:, :-2], "valence": out[:, -2], "arousal": out[:, -1]}

    def _landmark_features(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        part = self.get_submodule
        x = functional.relu_(self.bn1(self.conv1(x)))
        stem = self.conv4(self.conv3(functional.max_pool2d(self.conv2(x), 2)))
        previous, features = stem, []
        for stack in range(_STACKS):
            top = part(f"top_m_{stack}")(part(f"m{stack}")(previous))
            top = functional.relu_(part(f"bn_end{stack}")(part(f"conv_last{stack}")(top)))
            heatmap = part(f"l{stack}")(top)
            if stack < _STACKS - 1:
                top = part(f"bl{stack}")(top)
                previous = part(f"al{stack}")(heatmap).add_(top).add_(previous)
            features.append(top)
        return stem, features, heatmap


def load_emonet(path: str | Path, n_expression: int | None = None, *, sha256: str | None = None) -> EmoNet:
    """EmoNet with the weights of a published checkpoint, in evaluation mode, float32, on the CPU.

    Args:
        path: a `.pth` state dict or a safetensors file, with or without the `module.` prefix on its names.
        n_expression: 5 or 8; by default what the file holds.
        sha256: refuse the file unless its hash, in hexadecimal, begins so.

    Raises:
        CheckpointError: as `emonet_tensors`.
    """
    found = emonet_tensors(path, n_expression, sha256=sha256)
    with torch.device("meta"):
        network = EmoNet(_classes(found))
    network.load_state_dict(found, assign=True)
    return network.float().eval().requires_grad_(False)


def emonet_tensors(
    path: str | Path, n_expression: int | None = None, *, sha256: str | None = None
) -> dict[str, torch.Tensor]:
    """The tensors of an EmoNet checkpoint, checked for hash, numbers, names and shapes; no network is filled.

    Args:
        path: as of `load_emonet`.
        n_expression: as of `load_emonet`.
        sha256: as of `load_emonet`.

    Raises:
        CheckpointError: if the file is missing, damaged, holds code, NaN or infinity, or is not of this network.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(missing_message(file))
    if sha256 is not None:
        check_hash(file, sha256)
    found = read_tensors(file)
    if all(name.startswith(_PREFIX) for name in found):
        found = {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}
    if n_expression is None:
        n_expression = _classes(found)
    if n_expression not in EXPRESSIONS:
        raise CheckpointError(f"{file} is no EmoNet of 5 or 8 classes: its {_HEAD} gives {n_expression}; {_where()}")
    with torch.device("meta"):
        wanted = EmoNet(n_expression).state_dict()
    check_names(found, wanted, f"{file} as EmoNet with {n_expression} classes", _where())
    return found


def _classes(found: Mapping[str, torch.Tensor]) -> int:
    """How many expression classes the last layer has; 8 where there is none, whose lack is then told."""
    head = found.get(_HEAD)
    return 8 if head is None or head.ndim != 2 else int(head.shape[0]) - 2


def _where() -> str:
    known = KNOWN["emonet_8"]
    return f"the checkpoints are published at {known.page} under {known.licence}"


def missing_message(file: Path | None) -> str:
    """One line for a checkpoint that is not there or not named: which file, where it is to be had, its licence."""
    files = f"{KNOWN['emonet_8'].file} or {KNOWN['emonet_5'].file}"
    if file is None:
        return f"--face.expert emonet needs --face.checkpoint {files}; {_where()}"
    return f"no EmoNet checkpoint at {file}; it should be {files}; {_where()}"
