"""Faces: detectors, alignment, EmoNet, and the face expert."""
