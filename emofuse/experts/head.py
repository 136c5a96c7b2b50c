"""Heads on a backbone's features: valence, arousal, and how sure the head is.

A head standardises its features, then is `linear` (dropout, linear) or `two_layer` (linear 256, layer norm, ReLU,
dropout, linear 128, ReLU, dropout, linear). With `log_variance` it also gives the log of the noise variance per axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from emofuse.errors import ConfigError

AXES = 2


@dataclass(frozen=True)
class HeadSpec:
    """The shape of a head.

    Attributes:
        inputs: D, the length of a feature vector.
        kind: `linear` or `two_layer`.
        dropout: probability that a unit is dropped, in [0, 1).
        log_variance: whether the head also gives a log-variance per axis.
    """

    inputs: int
    kind: Literal["linear", "two_layer"] = "linear"
    dropout: float = 0.3
    log_variance: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "two_layer"):
            raise ConfigError(f"head must be linear or two_layer; got {self.kind!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1); got {self.dropout}")


class Standardise(nn.Module):
    """Features minus a centre, times a factor; both are fixed numbers of the training features."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("factor", torch.ones(inputs))

    def fit(self, features: torch.Tensor) -> None:
        """Take centre and spread from `features` (N, D); a constant feature gets the factor 0, so it says nothing."""
        spread = features.std(0, correction=0)
        self.centre.copy_(features.mean(0))  # type: ignore[operator]
        self.factor.copy_(torch.where(spread > 1e-8, 1 / spread.clamp_min(1e-8), 0.0))  # type: ignore[operator]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features, of the same shape."""
        return (features - self.centre) * self.factor  # type: ignore[operator]


class Head(nn.Module):
    """Features (B, D) to valence and arousal (B, 2), and to log-variances (B, 2) where the spec asks for them."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        outputs = AXES * (2 if spec.log_variance else 1)
        self.standardise = Standardise(spec.inputs)
        self.layers = nn.Sequential(
            *(
                [nn.Dropout(spec.dropout), nn.Linear(spec.inputs, outputs)]
                if spec.kind == "linear"
                else [
                    nn.Linear(spec.inputs, 256),
                    nn.LayerNorm(256),
                    nn.ReLU(),
                    nn.Dropout(spec.dropout),
                    nn.Linear(256, 128),
                    nn.ReLU(),
                    nn.Dropout(spec.dropout),
                    nn.Linear(128, outputs),
                ]
            )
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (B, 2), or (B, 4) with the log-variances last; dropout follows the module's mode."""
        return self.layers(self.standardise(features))

    @property
    def is_closed_form(self) -> bool:
        """Whether a single dropout stands before the last linear layer, so that MC dropout has a closed form."""
        dropouts = [i for i, layer in enumerate(self.layers) if isinstance(layer, nn.Dropout)]
        return dropouts == [len(self.layers) - 2]

    def masks(self, passes: int, seed: int) -> list[torch.Tensor]:
        """One fixed set of inverted-dropout masks, (T, 1, width) for each dropout layer, the same for every image."""
        generator = torch.Generator().manual_seed(seed)
        keep = 1 - self.spec.dropout
        after = [self.layers[i + 1] for i, layer in enumerate(self.layers) if isinstance(layer, nn.Dropout)]
        widths = [layer.in_features for layer in after if isinstance(layer, nn.Linear)]
        return [(torch.rand(passes, 1, width, generator=generator) < keep).to(torch.float32) / keep for width in widths]

    def sample(self, features: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
        """Outputs (T, B, 2 or 4) under the given masks, in one batched pass; what stands before a mask runs once."""
        values, remaining = self.standardise(features), iter(masks)
        for layer in self.layers:
            values = values * next(remaining) if isinstance(layer, nn.Dropout) else layer(values)
        return values if values.dim() == 3 else values.expand(len(masks[0]) if masks else 1, *values.shape)

    def split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Means and log-variances of outputs (..., 2 or 4)."""
        return outputs[..., :AXES], outputs[..., AXES:] if self.spec.log_variance else None


@dataclass(frozen=True)
class Moments:
    """What MC dropout says, each (B, 2), in reference units and their squares.

    Attributes:
        mean: the mean over passes, not clamped.
        epistemic: the unbiased variance over passes.
        aleatoric: the expected noise variance, or None where the head has no log-variance: missing, not zero.
    """

    mean: torch.Tensor
    epistemic: torch.Tensor
    aleatoric: torch.Tensor | None

    @property
    def variance(self) -> torch.Tensor:
        """Predictive variance: epistemic plus aleatoric where there is one (law of total variance)."""
        return self.epistemic if self.aleatoric is None else self.epistemic + self.aleatoric


def sampled_moments(outputs: torch.Tensor, log_variance: torch.Tensor | None = None) -> Moments:
    """Moments over passes of outputs (T, B, 2); with T = 1 the epistemic variance is unknown (NaN).

    Source: Kendall & Gal (2017), eq. 9, with the unbiased variance.
    """
    passes = len(outputs)
    epistemic = outputs.var(0, correction=1) if passes > 1 else torch.full_like(outputs[0], torch.nan)
    return Moments(outputs.mean(0), epistemic, None if log_variance is None else log_variance.exp().mean(0))


def closed_form_moments(head: Head, features: torch.Tensor) -> Moments:
    """The moments that sampling tends to, for a head with a single dropout before its last linear layer.

    With inputs h, weights w and dropout p the output has variance p/(1-p) * sum (w h)^2, and the noise variance
    exp(b + sum w h m) over independent masks m in {0, 1/(1-p)} has mean exp(b) * prod (p + (1-p) exp(w h / (1-p))).

    Raises:
        ValueError: if the head has another form.
    """
    if not head.is_closed_form:
        raise ValueError("a closed form needs a head with a single dropout before its last linear layer")
    last, p = head.layers[-1], head.spec.dropout
    hidden = head.layers[:-2](head.standardise(features))
    mean, log_variance = head.split(last(hidden))
    epistemic = hidden.square() @ last.weight[:AXES].square().T * (p / (1 - p))  # type: ignore[union-attr, operator, index]
    if log_variance is None:
        return Moments(mean, epistemic, None)
    terms = hidden[:, None, :] * last.weight[AXES:] / (1 - p)  # type: ignore[index, operator]
    log_kept = terms + math.log(1 - p)
    log_dropped = torch.full_like(terms, math.log(p) if p else -math.inf)
    log_noise = torch.logaddexp(log_kept, log_dropped).sum(-1) + last.bias[AXES:]  # type: ignore[index, operator]
    return Moments(mean, epistemic, log_noise.exp())
