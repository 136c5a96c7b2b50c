"""The scene expert: an image backbone, a head for valence and arousal, and the training of that head.

The public names load torch only when they are asked for, so that a decode task can import the preprocessing cheaply.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emofuse.experts.card import preprocessing_of
    from emofuse.experts.head_expert import SceneExpert
    from emofuse.training.trainer import PhaseTrainer

_HOMES = {"PhaseTrainer": "training", "SceneExpert": "expert", "preprocessing_of": "card"}
__all__ = ["PhaseTrainer", "SceneExpert", "preprocessing_of"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"emofuse.experts.{_HOMES[name]}"), name)
