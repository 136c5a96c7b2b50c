"""Which images are shown, and how: the first of each order, boxed where the face is."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emofuse.config import MediaConfig
from emofuse.report import thumbnails as module
from emofuse.report.facts import fusion
from emofuse.report.gallery import alike, choose, gallery, rank_keys
from emofuse.report.page import render
from emofuse.report.run_folder import RunFolder, open_run
from emofuse.report.thumbnails import draw_box, thumbnails
from emofuse.tables.columns import column
from emofuse.tables.schema import with_metadata

NAN = math.nan


def row(uri: str, box: list[float] | None = None, frame: int | None = None) -> dict:
    return {"uri": uri, "frame_index": frame, "timestamp": None, "face_box": box}


def opened(thumbnail: tuple[str, str]) -> Image.Image:
    address, reason = thumbnail
    assert reason == ""
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))


def test_takes_the_first_of_every_order() -> None:
    keys = {"worst": np.array([3.0, 1.0, 2.0, NAN]), "uncertain": np.array([0.0, 9.0, NAN, 5.0])}
    assert choose(keys, np.ones(4, bool), 2).tolist() == [0, 1]
    assert choose(keys, np.array([False, True, True, True]), 2).tolist() == [2, 1]


def test_without_any_key_the_allowed_rows_are_shown() -> None:
    assert choose({"worst": np.full(3, NAN)}, np.array([True, False, True]), 9).tolist() == [0, 2]


def test_one_of_what_looks_alike() -> None:
    keys = {"worst": np.array([5.0, 4.0, 3.0, 2.0])}
    assert choose(keys, np.ones(4, bool), 3, np.array([0, 0, 1, 1])).tolist() == [0, 2]


@given(st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=40), st.integers(1, 50))
def test_chosen_rows_are_bounded_unique_and_allowed(values: list[float], most: int) -> None:
    keys = {"worst": np.array(values), "best": -np.array(values)}
    allowed = np.arange(len(values)) % 3 != 0
    chosen = choose(keys, allowed, most).tolist()
    assert len(chosen) == len(set(chosen)) <= most
    assert all(allowed[i] for i in chosen)


def test_orders_are_distances_in_the_plane(run_dir: Path) -> None:
    run = open_run(run_dir)
    frame = run.fused.to_pandas()
    keys = rank_keys(run)
    error = np.hypot(frame.valence - frame.fused_valence, frame.arousal - frame.fused_arousal)
    assert keys["worst"] == pytest.approx(error.to_numpy(), nan_ok=True)
    assert keys["best"] == pytest.approx(-error.to_numpy(), nan_ok=True)
    deviation = np.sqrt((frame.fused_valence_variance + frame.fused_arousal_variance) / 2)
    assert keys["uncertain"] == pytest.approx(deviation.to_numpy(), nan_ok=True)


def test_a_sequence_shows_at_most_one_frame_a_second(run_dir: Path) -> None:
    run = open_run(run_dir)
    frames = [card for card in gallery(run, 500) if card.sample_id.startswith("clip#")]
    seconds = [int(card.sample_id.split("#")[1]) // 25 for card in frames]
    assert len(seconds) == len(set(seconds)) == 3
    assert len(set(alike(run).tolist())) == 90 + 3


def test_thumbnail_is_small_and_boxed_in_full_size_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (1280, 960), (90, 90, 90)).save(tmp_path / "grey.png")
    boxed, plain = thumbnails(
        [row(str(tmp_path / "grey.png"), [320, 240, 640, 480]), row(str(tmp_path / "grey.png"))], MediaConfig()
    )
    assert opened(boxed).size == (320, 240)
    pixels = np.asarray(opened(boxed).convert("L")).astype(int)
    assert pixels[60, 85:155].mean() > 200
    assert pixels[62:118, 80].mean() > 200
    assert abs(pixels[90, 120] - 90) < 8
    assert np.abs(np.asarray(opened(plain).convert("L")).astype(int) - 90).max() < 4


@pytest.mark.parametrize("box", [[NAN, 0, 9, 9], [9, 9, 1, 1], [1, 2, 3], [0, 0, math.inf, 4]])
def test_box_that_is_none_draws_nothing(box: list[float]) -> None:
    image = Image.new("RGB", (32, 32), (7, 7, 7))
    draw_box(image, box, 32)
    assert image.getcolors() == [(1024, (7, 7, 7))]


def test_reasons_stand_where_images_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "text.mp4").write_text("no video")
    rows = [
        row(str(tmp_path / "gone.jpg")),
        row(str(tmp_path / "text.jpg")),
        row(""),
        row(str(tmp_path / "text.mp4"), None, 3),
    ]
    made = thumbnails(rows, MediaConfig())
    assert [address for address, _ in made] == ["", "", "", ""]
    assert [reason.split(":")[0] for _, reason in made][:3] == ["missing", "not an image", "no address"]
    assert made[3][1]


def test_root_confines_thumbnails(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    ((address, reason),) = thumbnails([row(str(tmp_path / "outside.png"))], MediaConfig(root=str(tmp_path / "inside")))
    assert address == ""
    assert reason.startswith("outside root")


def test_slow_storage_does_not_hold_up_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "SECONDS", -1.0)
    assert thumbnails([row(str(tmp_path / "a.png"))], MediaConfig())[0][1].startswith("left out")


def test_frames_of_a_video_in_any_order(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(6):
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    made = thumbnails([row(str(path), frame=k) for k in (4, 1, 1, 9)], MediaConfig())
    levels = [float(np.asarray(opened(one)).mean()) for one in made[:3]]
    assert levels == pytest.approx([160, 40, 40], abs=12)
    assert made[3][0] == ""
    assert "no frame 9" in made[3][1]


def test_a_card_says_who_thinks_what(run_dir: Path) -> None:
    run = open_run(run_dir)
    table = {r["sample_id"]: r for r in run.fused.to_pylist()}
    for card in gallery(run, 20):
        source = table[card.sample_id]
        said = {prediction.who: prediction for prediction in card.predictions}
        assert ("face" in said) is (source["status"] == "ok")
        expected = f"{source['scene_valence']:+.2f} ± {math.sqrt(source['scene_valence_variance']):.2f}".replace(
            "-", "−"
        )
        if float(f"{source['scene_valence']:.2f}") != 0:
            assert said["scene"].valence == expected
        assert ("boxed" in card.alt) is (source["face_box"] is not None)


def test_unknown_variance_is_not_shown_as_zero(run_dir: Path, tmp_path: Path) -> None:
    table = pq.read_table(run_dir / "fused")
    empty = pa.nulls(table.num_rows, pa.float32())
    at = table.schema.get_field_index("scene_valence_variance")
    (tmp_path / "fused").mkdir()
    pq.write_table(table.set_column(at, "scene_valence_variance", empty), tmp_path / "fused" / "part-0.parquet")
    (tmp_path / "run.json").write_text((run_dir / "run.json").read_text())
    for card in gallery(open_run(tmp_path), 10):
        scene = next(prediction for prediction in card.predictions if prediction.who == "scene")
        assert "±" not in scene.valence
        assert "±" in scene.arousal


def test_deviations_that_are_the_same_on_every_image_sort_nothing(run_dir: Path) -> None:
    run = open_run(run_dir)

    def with_constant(scene: list[str], face: list[str]) -> RunFolder:
        said = {"rule": "joint_gaussian", "correlation": "assumed correlation"}
        table = with_metadata(run.fused, fusion=said | {"constant_weight": {"scene": scene, "face": face}})
        return replace(run, fused=table)

    both_axes = ["valence", "arousal"]
    assert np.isnan(rank_keys(with_constant(both_axes, both_axes))["uncertain"]).all()
    arousal = np.sqrt(column(run.fused, "fused_arousal_variance"))
    one = with_constant(["valence"], both_axes)
    np.testing.assert_allclose(rank_keys(one)["uncertain"], arousal)
    text = " ".join(fusion(one))
    assert "a correlation of one half is assumed" in text
    assert "Constant weight: the scene expert's variance of valence is the same on every image." in text
    assert 'value="uncertain"' in render(one)
    assert 'value="uncertain"' not in render(with_constant(both_axes, both_axes))
    assert fusion(run) == []
