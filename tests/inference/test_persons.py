"""Ratings of persons: each row has the face in its own box, from the converter to the predictions."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from emofuse.datasets import CONVERTERS
from emofuse.errors import DataError
from emofuse.experts.backbone import load_backbone
from emofuse.inference.decode import Decoder
from emofuse.inference.manifest import scan_manifest
from emofuse.tables.schema import MANIFEST, check_manifest, conform
from emofuse.training.features import features_of
from emofuse.training.image_source import FeatureSource, prepared
from emofuse.training.image_store import ImageStore

from .conftest import DEFAULT, write_manifest

LEFT, RIGHT, FEET = [0.0, 0.0, 512.0, 512.0], [512.0, 0.0, 768.0, 256.0], [0.0, 300.0, 512.0, 512.0]
EMOTIC = """Index,Folder,Filename,Image Size,BBox,Categorical_Labels,Continuous_Labels,Gender,Age
0,mscoco/images,two.png,"[1024, 512]","[0, 0, 512, 512]",['Peace'],"[9.0, 3.0, 5.0]",Female,Adult
1,mscoco/images,two.png,"[1024, 512]","[512, 0, 768, 256]",['Peace'],"[2.0, 7.0, 5.0]",Female,Adult
2,mscoco/images,two.png,"[1024, 512]","[0, 300, 512, 512]",['Peace'],"[5.0, 5.0, 5.0]",Female,Adult
3,mscoco/images,two.png,"[1024, 512]","[-40, 0, -3, 20]",['Peace'],"[5.0, 5.0, 5.0]",Female,Adult
"""


def two_astronauts() -> np.ndarray:
    """One on the left, and one of half the size beside her; uint8 (512, 1024, 3)."""
    from skimage.data import astronaut

    out = np.full((512, 1024, 3), 128, np.uint8)
    out[:, :512] = astronaut()
    out[:256, 512:768] = np.asarray(Image.fromarray(astronaut()).resize((256, 256)))
    return out


@pytest.fixture
def emotic(tmp_path: Path) -> str:
    """A manifest made of an EMOTIC folder: three rated persons of one image."""
    (tmp_path / "mscoco/images").mkdir(parents=True)
    Image.fromarray(two_astronauts()).save(tmp_path / "mscoco/images/two.png")
    (tmp_path / "annots_train.csv").write_text(EMOTIC)
    built = CONVERTERS["emotic"](str(tmp_path))
    assert built.report.dropped == {"person whose box holds nothing": 1}
    pq.write_table(built.table, tmp_path / "emotic.parquet")
    return str(tmp_path / "emotic.parquet")


@pytest.mark.slow
def test_every_person_of_emotic_has_its_own_face(emotic: str, tmp_path: Path, predict) -> None:
    assert scan_manifest(emotic).rows == 3
    rows = {tuple(row["person_box"]): row for row in predict(emotic, tmp_path / "run").to_pylist()}
    left, right, feet = rows[tuple(LEFT)], rows[tuple(RIGHT)], rows[tuple(FEET)]
    assert left["scene_valence"] == right["scene_valence"] == feet["scene_valence"]
    assert [row["status"] for row in (left, right, feet)] == ["ok", "ok", "no_face"]
    assert [row["face_count"] for row in (left, right, feet)] == [1, 1, 0]
    assert left["face_box"][2] < 512 < right["face_box"][0]
    assert left["face_valence"] != right["face_valence"]
    assert feet["face_valence"] is None
    assert (left["valence"], right["valence"]) == pytest.approx((7 / 9, -7 / 9), abs=1e-6)


def test_without_a_box_the_image_has_its_main_face(tmp_path: Path, predict) -> None:
    Image.fromarray(two_astronauts()).save(tmp_path / "two.png")
    manifest = write_manifest(tmp_path / "manifest.parquet", [{"uri": str(tmp_path / "two.png")}])
    row = predict(manifest, tmp_path / "run").to_pylist()[0]
    assert row["face_count"] == 2
    assert row["face_box"][2] < 512


def test_persons_of_one_frame_of_a_video_are_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 1024, 512, "yuv420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(two_astronauts(), format="rgb24")))
        out.mux(stream.encode())
    wanted = [(1, RIGHT), (0, LEFT), (1, LEFT), (1, None), (99, LEFT)]
    rows = [
        {"sample_id": str(i), "uri": path, "frame_index": frame, "person_box": box}
        for i, (frame, box) in enumerate(wanted)
    ]
    seen = Decoder(DEFAULT)(pa.Table.from_pylist(rows, schema=MANIFEST)).to_pylist()
    assert [row["face_count"] for row in seen] == [1, 1, 1, 2, None]
    assert seen[0]["face_box"][0] > 512 > seen[2]["face_box"][2]
    assert seen[2]["face_box"] == pytest.approx(seen[1]["face_box"], abs=2)
    assert seen[3]["face_box"] == seen[2]["face_box"]
    assert "99" in seen[4]["error"]


def test_a_face_head_is_trained_on_the_rated_persons(emotic: str, tmp_path: Path) -> None:
    manifest, backbone = pq.read_table(emotic), load_backbone("embedded")
    source = FeatureSource(backbone.own_preprocessing, "face", compute=DEFAULT.compute)
    rows = features_of(manifest, backbone, source, tmp_path)
    assert rows.left_out == {"no face": 1}
    assert [list(box) for box in rows.person] == [LEFT, RIGHT] or [list(box) for box in rows.person] == [RIGHT, LEFT]
    assert np.abs(rows.features[0] - rows.features[1]).max() > 0.01
    assert len(set(rows.content_hash)) == 1
    images = ImageStore(rows, source, tmp_path)(rows)[np.arange(2)]
    expected = [image for _, image, _ in prepared(rows.parts(), source)]
    np.testing.assert_array_equal(images, expected)
    again = features_of(manifest, backbone, source, tmp_path)
    assert again.cached
    np.testing.assert_array_equal(again.features, rows.features)
    whole = features_of(
        manifest, backbone, FeatureSource(backbone.own_preprocessing, compute=DEFAULT.compute), tmp_path
    )
    assert len(whole) == 3
    assert len(whole.parts()) == 1


@pytest.mark.parametrize(
    "box", [[10, 20, 5, 90], [10, 90, 50, 20], [0, 0, 5], [0, 0, 5, 5, 5], [], [0, 0, float("nan"), 5], [0, 0, None, 5]]
)
def test_boxes_that_are_none_are_refused(box: list[float]) -> None:
    table = pa.Table.from_pylist([{"sample_id": "a", "uri": "a.png", "person_box": box}], schema=MANIFEST)
    with pytest.raises(DataError, match=r"person_box must be left, top, right, bottom in pixels.*'a' has \["):
        check_manifest(table)


def test_the_fingerprint_sees_boxes_and_the_users_own_columns(tmp_path: Path) -> None:
    def content(box: list[float] | None, **more: list[object]) -> str:
        rows = [{"sample_id": "a", "uri": "a.png", "person_box": box}, {"sample_id": "b", "uri": "b.png"}]
        table = conform(pa.Table.from_pylist(rows, schema=MANIFEST), MANIFEST, "manifest")
        for name, values in more.items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, tmp_path / "manifest.parquet")
        return scan_manifest(str(tmp_path / "manifest.parquet")).content

    plain = content(LEFT)
    assert len({plain, content(RIGHT), content(None)}) == 3
    assert len({plain, content(LEFT, place=["inside", "outside"]), content(LEFT, place=["inside", "inside"])}) == 3
    for nested in ([["x", "y"], []], [{"a": [1]}, None]):
        with pytest.raises(DataError, match="column tags must hold text, numbers or booleans"):
            content(LEFT, tags=nested)
