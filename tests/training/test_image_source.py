"""What a backbone is trained on is what its head is served on, pixel for pixel."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig, SceneConfig
from emofuse.experts.card import embedded_head, read_card
from emofuse.experts.head import Head, HeadSpec
from emofuse.experts.head_file import save_head
from emofuse.experts.preprocess import Preprocessing
from emofuse.inference.decode import Decoder
from emofuse.io.images import MediaError
from emofuse.tables.schema import MANIFEST
from emofuse.training.image_source import FeatureSource, prepared
from emofuse.training.image_store import ImageStore
from tests.training.conftest import feature_set

HALF = (0.5, 0.5, 0.5)


def photograph(path: Path, width: int, height: int) -> Path:
    """A JPEG with detail at every scale, which a reduced decoding changes."""
    rng = np.random.default_rng(0)
    image = sum(
        cv2.resize(rng.uniform(0, 255, (side, side, 3)).astype(np.float32), (width, height)) for side in (8, 64, 640)
    )
    buffer = io.BytesIO()
    Image.fromarray((image / 3).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    path.write_bytes(buffer.getvalue())
    return path


def head_with(preprocessing: Preprocessing, path: Path) -> str:
    """A head file whose card asks for this preprocessing; its numbers mean nothing."""
    card = {**read_card(embedded_head("scene")), "preprocessing": preprocessing.to_json()}
    save_head(path, Head(HeadSpec(card["head"]["inputs"])), card)
    return str(path)


@pytest.mark.parametrize("size", [(1280, 960), (960, 1280), (2048, 1300), (500, 400)], ids=str)
@pytest.mark.parametrize("crop_fraction", [0.875, 0.9, 1.0])
def test_train_and_serve_read_the_same_pixels(tmp_path: Path, crop_fraction: float, size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(224, "crop", "bicubic", HALF, HALF, crop_fraction)
    uri = str(photograph(tmp_path / "a.jpg", *size))
    ((_, trained, _),) = prepared({"a": (uri, None)}, FeatureSource(preprocessing))
    scene = SceneConfig(head=head_with(preprocessing, tmp_path / "head.safetensors"))
    decoder = Decoder(InferenceConfig(scene=scene, face=FaceConfig(expert="none")))
    served = decoder(pa.Table.from_pylist([{"sample_id": "a", "uri": uri}], schema=MANIFEST)).column("scene")[0]
    assert trained is not None
    assert trained.tobytes() == served.as_py()


def test_an_image_store_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    rows = replace(feature_set(1), uri=np.array([str(tmp_path / "absent.png")], dtype=object))
    source = FeatureSource(Preprocessing(8, "squash", "area", HALF, HALF), compute=ComputeConfig(device="cpu"))
    with pytest.raises(MediaError, match="could be used before"):
        ImageStore(rows, source, tmp_path / "cache")(rows)
    assert list((tmp_path / "cache").iterdir()) == []
