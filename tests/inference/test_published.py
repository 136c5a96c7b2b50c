"""The published set through the whole job: EmoNet from a checkpoint in the published form, YuNet, eye alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig
from emofuse.datasets import oasis
from emofuse.tables.columns import both
from emofuse.tables.schema import read_metadata
from tests.experts.face.checkpoints import write_checkpoint

from .conftest import write_manifest

pytestmark = pytest.mark.slow
IMAGES = 8


@pytest.fixture(scope="module")
def config(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> InferenceConfig:
    """EmoNet with regenerated weights and YuNet; two views, so that it stays quick."""
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("emonet") / "emonet_8.pth", prefix="module.")
    face = FaceConfig(
        expert="emonet",
        checkpoint=str(checkpoint),
        detector="yunet",
        detector_weights=str(shared_data / "weights" / "face_detection_yunet_2023mar.onnx"),
        views=2,
    )
    compute = ComputeConfig(batch_size=4, face_chunk=4, dtype="float32", device="cpu", rows_per_block=4)
    return InferenceConfig(face=face, compute=compute)


@pytest.fixture(scope="module")
def people(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of a few images of people."""
    table = oasis.build(str(shared_data / "oasis")).table
    names = ("Happy face", "Neutral face", "Sad face")
    rows = [row for row in table.to_pylist() if row["group"] in names][:IMAGES]
    return write_manifest(tmp_path_factory.mktemp("people") / "people.parquet", rows)


def test_emonet_and_yunet_give_the_same_bits_through_ray_and_in_one_process(
    people: str, config: InferenceConfig, predict: Callable[..., pa.Table], ray_cluster: object, tmp_path: Path
) -> None:
    wider = replace(config, compute=replace(config.compute, rows_per_block=8))
    local = predict(people, tmp_path / "local", wider)
    through_ray = predict(people, tmp_path / "ray", config, actors=2)
    assert local.num_rows == IMAGES
    assert through_ray.equals(local)
    found = np.array(local.column("face_count").to_pylist()) > 0
    assert found.sum() >= IMAGES - 2
    assert all(local.filter(pa.array(found)).column("face_aligned").to_pylist())
    assert np.isfinite(both(local, "face")[found]).all()
    assert (both(local, "face", "variance")[found] > 0).all()
    assert read_metadata(local.schema)["experts"]["face"]["expert"] == "emonet"


def test_one_view_leaves_the_variance_unknown(
    people: str, config: InferenceConfig, predict: Callable[..., pa.Table], tmp_path: Path
) -> None:
    table = predict(people, tmp_path / "out", replace(config, face=replace(config.face, views=1, expression=True)))
    found = np.array(table.column("face_count").to_pylist()) > 0
    assert np.isfinite(both(table, "face")[found]).all()
    assert np.isnan(both(table, "face", "variance")).all()
    assert set(table.filter(pa.array(found)).column("face_variance_source").to_pylist()) == {"none"}
    names = [name for name in table.column_names if name.startswith("face_expression_")]
    assert len(names) == 8
    shares = np.column_stack([table.column(name).to_numpy() for name in names])
    np.testing.assert_allclose(shares[found].sum(axis=1), 1, atol=1e-5)
    assert np.isnan(shares[~found]).all()
