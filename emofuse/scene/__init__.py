"""The scene expert: an image tower, a head for valence and arousal, and the training of that head.

The public names load torch only when they are asked for, so that a decode task can import the preprocessing cheaply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emofuse.scene.expert import SceneExpert, preprocessing_of

__all__ = ["SceneExpert", "preprocessing_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emofuse.scene import expert

    return getattr(expert, name)
