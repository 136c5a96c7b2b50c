"""Faces: detectors, alignment, EmoNet, and the face expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emofuse.experts.face.expert import FaceExpert, make_face_expert

__all__ = ["FaceExpert", "make_face_expert"]


def __getattr__(name: str) -> object:
    # Finding faces in a decoding task needs no torch; it is loaded with the expert.
    if name in __all__:
        from emofuse.experts.face import expert

        return getattr(expert, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
