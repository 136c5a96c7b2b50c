"""Serving experts: image backbones, heads for valence and arousal on them, and the faces they are asked about."""
