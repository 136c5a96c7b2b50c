"""Videos and frame-by-frame sets, in small, in the form in which they are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from emofuse.datasets import CONVERTERS, with_splits
from emofuse.datasets.affwild2 import NO_FRAME, TWO_PERSONS
from emofuse.datasets.base import MISSING
from emofuse.datasets.frames import UNREADABLE
from emofuse.datasets.splits import shares
from emofuse.datasets.veatic import NO_VIDEO
from emofuse.datasets.videos import OTHER
from emofuse.errors import ConfigError, DataError


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video of small grey frames below `tmp_path`; another `shade` gives other bytes."""

    def make(path: str, frames: int, fps: int = 10, shade: int = 0) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(fps))
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for i in range(frames):
                grey = np.full((32, 32, 3), (shade * 40 + i) % 256, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        return file

    return make


def test_a_folder_of_videos_gives_frames_with_times(tmp_path: Path, make_video) -> None:
    make_video("in/a b.mp4", 20), make_video("in/deep/c.avi", 5, shade=1)
    (tmp_path / "in/d.mov").write_bytes(b"this is no video at all")
    (tmp_path / "in/notes.txt").write_text("nor is this")
    built = CONVERTERS["videos"](str(tmp_path / "in"), every=4)
    rows = built.table.to_pandas()
    assert rows[["sequence", "frame_index"]].to_numpy().tolist() == [
        ["a b.mp4", 0], ["a b.mp4", 4], ["a b.mp4", 8], ["a b.mp4", 12], ["a b.mp4", 16],
        ["deep/c.avi", 0], ["deep/c.avi", 4],
    ]  # fmt: skip
    np.testing.assert_allclose(rows.timestamp[:5], [0, 0.4, 0.8, 1.2, 1.6])
    assert built.report.dropped == {OTHER: 1, f"{UNREADABLE}: not a video": 1}
    assert built.report.read == 9
    assert len(CONVERTERS["videos"](str(tmp_path / "in"), fps=5).table) == 10 + 3


def test_the_same_video_under_two_names_is_one_group(tmp_path: Path, make_video) -> None:
    original = make_video("a.mp4", 3)
    (tmp_path / "copy.mp4").write_bytes(original.read_bytes())
    make_video("other.mp4", 3, shade=2)
    rows = CONVERTERS["videos"](str(tmp_path)).table.to_pandas()
    assert rows.groupby("sequence").group.first().to_dict() == {
        "a.mp4": "a.mp4",
        "copy.mp4": "a.mp4",
        "other.mp4": "other.mp4",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [({"fps": 5, "every": 2}, "not both"), ({"fps": 0}, "must be positive"), ({"every": 0}, "at least 1")],
)
@pytest.mark.parametrize("name", ["videos", "affwild2", "veatic"])
def test_a_sampling_without_sense_is_refused(tmp_path: Path, name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CONVERTERS[name](str(tmp_path), **options)


@pytest.mark.parametrize("name", ["videos", "afewva", "affwild2", "veatic"])
def test_a_folder_without_them_is_a_data_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=str(tmp_path)):
        CONVERTERS[name](str(tmp_path))


def test_afewva_groups_clips_by_actor(tmp_path: Path, make_image) -> None:
    for number, actor in [("001", "A. Smith"), ("002", "A. Smith"), ("003", "B. Lee"), ("004", "")]:
        frames = {}
        for i in range(4):
            frames[f"{i:05}"] = {"landmarks": [[1.0, 2.0]] * 68, "valence": 5.0 * i - 10, "arousal": -2.0}
            if (number, i) != ("003", 3):
                make_image(f"{'01' if number < '003' else '02'}/{number}/{i:05}.png")
        folder = tmp_path / ("01" if number < "003" else "02") / number
        (folder / f"{number}.json").write_text(json.dumps({"video_id": number, "actor": actor, "frames": frames}))
    built = CONVERTERS["afewva"](str(tmp_path), fps=25)
    rows = built.table.to_pandas()
    assert built.report.dropped == {MISSING: 1}
    first = rows[rows.sequence == "001"].sort_values("timestamp")
    assert first.valence.tolist() == [-1, -0.5, 0, 0.5]
    np.testing.assert_allclose(first.arousal, -0.2)
    np.testing.assert_allclose(first.timestamp, [0, 0.04, 0.08, 0.12])
    assert rows.groupby("sequence").group.first().to_dict() == {
        "001": "A. Smith", "002": "A. Smith", "003": "B. Lee", "004": "clip 004",
    }  # fmt: skip
    assert rows.split.isna().all()
    assert len(CONVERTERS["afewva"](str(tmp_path), every=2).table) == 8


def test_afewva_of_another_form_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "001/001.json").write_text('{"frames": {"00000": {"valence": 1}}}')
    with pytest.raises(DataError, match=r"001/001\.json is not in the form of AFEW-VA: KeyError 'arousal'"):
        CONVERTERS["afewva"](str(tmp_path))


def affwild2_annotations(root: Path) -> None:
    task = root / "annotations/VA_Estimation_Challenge"
    ratings = {
        "Train_Set/1-30-1280x720": [(0.5, -0.5), (-5, -5), (-5, 0.3), (1, -1)],
        "Train_Set/2": [(0.1, 0.1)] * 3,
        "Train_Set/3": [(0.2, 0.1)] * 3,
        "Train_Set/4_left": [(0.3, 0.1)] * 3,
        "Validation_Set/5": [(0, 0)] * 2,
        "Validation_Set/lost": [(0, 0)] * 2,
    }
    for name, pairs in ratings.items():
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / f"{name}.txt").write_text("valence,arousal\n" + "".join(f"{v},{a}\n" for v, a in pairs))
    other = root / "annotations/EXPR_Recognition_Challenge/Train_Set"
    other.mkdir(parents=True)
    (other / "2.txt").write_text("Neutral,Anger\n0\n1\n")


def test_affwild2_videos_keep_unlabelled_frames_without_a_label(tmp_path: Path, make_video) -> None:
    affwild2_annotations(tmp_path)
    for shade, (name, frames) in enumerate([("batch1/1-30-1280x720.mp4", 6), ("batch1/2.mp4", 3), ("batch2/3.avi", 3),
                                            ("batch2/4.mp4", 3), ("batch2/5.mp4", 2)]):  # fmt: skip
        make_video(name, frames, shade=shade)
    built = CONVERTERS["affwild2"](str(tmp_path))
    rows = built.table.to_pandas()
    first = rows[rows.sequence == "1-30-1280x720"]
    np.testing.assert_array_equal(first.valence, np.float32([0.5, np.nan, np.nan, 1, np.nan, np.nan]))
    np.testing.assert_array_equal(first.arousal, np.float32([-0.5, np.nan, np.nan, -1, np.nan, np.nan]))
    np.testing.assert_allclose(first.timestamp, np.arange(6) / 10)
    assert built.report.dropped == {TWO_PERSONS: 1, "annotated video missing": 1}
    assert set(rows[rows.sequence == "5"].split) == {"test"}
    assert set(rows[rows.sequence != "5"].split) == {"train"}
    rows = with_splits(built, shares("70/15/15"), 0).table.to_pandas()
    assert set(rows[rows.sequence == "5"].split) == {"test"}
    assert set(rows[rows.sequence != "5"].split) == {"train", "valid"}
    assert rows.groupby("sequence").split.nunique().max() == 1


def test_affwild2_crops_belong_to_the_frame_of_their_number(tmp_path: Path, make_image) -> None:
    affwild2_annotations(tmp_path)
    for name, frames in {"1-30-1280x720": (1, 4), "2": (1, 2, 3), "4_left": (1, 2), "5": (1, 2)}.items():
        for frame in frames:
            make_image(f"cropped_aligned/{name}/{frame:05}.jpg")
    built = CONVERTERS["affwild2"](str(tmp_path), frames="cropped")
    rows = built.table.to_pandas()
    first = rows[rows.sequence == "1-30-1280x720"]
    assert first[["frame", "valence"]].to_numpy().tolist() == [[0, 0.5], [3, 1]]
    np.testing.assert_allclose(first.timestamp, [0, 0.1])
    assert first.frame_index.isna().all()  # an index is a place in a video; these are images
    assert rows[rows.sequence == "4_left"].group.unique().tolist() == ["4"]
    assert built.report.dropped == {NO_FRAME: 2 + 3 + 1 + 2}
    with pytest.raises(ConfigError, match="use --every"):
        CONVERTERS["affwild2"](str(tmp_path), frames="cropped", fps=5)


def test_veatic_ratings_have_no_header_and_clips_stay_whole(tmp_path: Path, make_video) -> None:
    ratings = tmp_path / "rating_averaged"
    ratings.mkdir()
    for clip in range(5):
        make_video(f"video/{clip}.mp4", 4, shade=clip)
    for clip in range(3):  # one file for each axis: frame, rating
        for axis, values in {"valence": [0.5, -1, 1, 0], "arousal": [0.25, 0, -0.25, -1]}.items():
            (ratings / f"{clip}_{axis}.csv").write_text("".join(f"{i},{v}\n" for i, v in enumerate(values)))
    for clip in (3, 4, 9):  # one file: valence, arousal
        (ratings / f"{clip}.csv").write_text("0.5,0.25\n-1,0\n1,-0.25\n")
    built = CONVERTERS["veatic"](str(tmp_path))
    rows = built.table.to_pandas()
    for clip, last in (("0", [0, -1]), ("4", [np.nan, np.nan])):
        mine = rows[rows.sequence == clip][["valence", "arousal"]].to_numpy(float)
        np.testing.assert_array_equal(mine, [[0.5, 0.25], [-1, 0], [1, -0.25], last])
    assert built.report.dropped == {NO_VIDEO: 1}
    rows = with_splits(built, shares("70/15/15"), 0).table.to_pandas()
    assert rows.groupby("sequence").split.nunique().max() == 1
    assert set(rows.split) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("0.csv", "0.5\n0.5\n", "must have 2 columns"),
        ("0.csv", "0.5,7\n", "outside the veatic scale"),
        ("0_valence.csv", "0,0.5\n", "lacks rating_averaged/0_arousal.csv"),
    ],
)
def test_veatic_of_another_form_is_a_data_error(tmp_path: Path, make_video, name: str, text: str, words: str) -> None:
    make_video("videos/0.mp4", 2)
    (tmp_path / "rating_averaged").mkdir()
    (tmp_path / "rating_averaged" / name).write_text(text)
    with pytest.raises(DataError, match=words):
        CONVERTERS["veatic"](str(tmp_path))
