"""Videos of every kind that turns up: whole, cut off, damaged, mislabelled, turned, and of odd makes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from emofuse.config import MediaConfig
from emofuse.errors import ConfigError
from emofuse.io.images import DecodedImage, MediaError
from emofuse.io.video import VideoReader, index_frames, read_frames

WIDTH, HEIGHT, FRAMES, RATE = 96, 64, 60, 25


def level(i: int) -> int:
    """The grey of frame i; neighbours differ by more than coding does."""
    return 30 + (i * 37) % 200


def image(i: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Grey, with a brighter corner at the top left that tells which way is up."""
    rgb = np.full((height, width, 3), level(i), np.uint8)
    rgb[: height // 4, : width // 4] = 255
    return rgb


def write(path, codec="libx264", pix_fmt="yuv420p", frames=FRAMES, times=None, size=(WIDTH, HEIGHT), **options):
    """A video whose frame i shows `image(i)`; returns its path."""
    rotation, muxer = options.pop("rotation", None), options.pop("muxer", {})
    base = Fraction(1, 1000) if times is not None else Fraction(1, RATE)
    with av.open(str(path), "w", options=muxer) as out:
        stream = out.add_stream(codec, rate=RATE, options={k: str(v) for k, v in options.items()})
        stream.width, stream.height = size
        stream.pix_fmt, stream.time_base = pix_fmt, base
        stream.codec_context.gop_size = 12
        stream.codec_context.time_base = base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(image(i, *size), format="rgb24")
            frame.pts, frame.time_base = (i if times is None else times[i]), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return str(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """An H.264 clip with frames coded out of order, its header first."""
    return write(tmp_path_factory.mktemp("video") / "clip.mp4", muxer={"movflags": "faststart"}, crf=10, sc_threshold=0)


def greys(frames) -> list[int]:
    return [int(np.median(frame.rgb[HEIGHT // 2 :])) for frame in frames]


def frames_of(uri, indices, timestamps=None, config=None):
    """One run of frames by a reader of its own."""
    with VideoReader(config) as reader:
        yield from reader.read(uri, indices, timestamps)


def assert_shows(found, i):
    assert isinstance(found, DecodedImage), found
    assert abs(int(np.median(found.rgb)) - level(i)) < 8


def test_frames_come_in_order_with_their_times(clip):
    frames = list(read_frames(clip))
    assert [f.frame_index for f in frames] == list(range(FRAMES))
    np.testing.assert_allclose([f.timestamp for f in frames], np.arange(FRAMES) / RATE, atol=1e-9)
    np.testing.assert_allclose(greys(frames), [level(i) for i in range(FRAMES)], atol=8)
    assert frames[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert frames[0].rgb.dtype == np.uint8


MAKES = {
    "mp4": ("libx264", "yuv420p", {}),
    "mov": ("libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "mkv": ("libx264", "yuv420p", {}),
    "ts": ("libx264", "yuv420p", {}),
    "open_gop.mp4": ("libx264", "yuv420p", {"x264-params": "open-gop=1:bframes=3"}),
    "refreshed.mp4": ("libx264", "yuv420p", {"intra-refresh": 1}),
    "refreshed.ts": ("libx264", "yuv420p", {"intra-refresh": 1}),
    "webm": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": 8}),
    "mpg": ("mpeg2video", "yuv420p", {"bf": 2}),
    "avi": ("mpeg4", "yuv420p", {}),
    "out_of_order.avi": ("libx264", "yuv420p", {"bf": 2}),
    "h264": ("libx264", "yuv420p", {}),
}


@pytest.mark.parametrize("name", MAKES)
def test_a_frame_is_the_same_wherever_reading_begins(tmp_path, name):
    """Bit for bit: read through, alone by its index, alone by its time, and by a reader that goes back and forth."""
    codec, pix_fmt, options = MAKES[name]
    path = write(tmp_path / f"clip.{name}", codec, pix_fmt, **options)
    index = index_frames(path)
    whole = {f.frame_index: f.rgb for f in read_frames(path)}
    assert sorted(whole) == list(range(FRAMES))
    with VideoReader() as reader:
        for i in (0, 1, 11, 12, 13, 30, 35, 36, 59, 7, 58):
            times = [index.timestamps[i]]
            for found in (frames_of(path, [i]), frames_of(path, [i], times), reader.read(path, [i], times)):
                [(number, at)] = found
                assert number == i
                assert isinstance(at, DecodedImage), at
                np.testing.assert_array_equal(at.rgb, whole[i])


def test_runs_of_rows_cover_every_frame_once(clip):
    index = index_frames(clip)
    got = []
    with VideoReader() as reader:
        for start in range(0, FRAMES, 7):
            run = np.arange(start, min(start + 7, FRAMES))
            got += [(i, found) for i, found in reader.read(clip, run, index.timestamps[run])]
    assert [i for i, _ in got] == list(range(FRAMES))
    for i, found in got:
        assert_shows(found, i)


class TestSampling:
    def test_every_kth(self, clip):
        assert index_frames(clip).sample(every=20).tolist() == [0, 20, 40]

    def test_frames_per_second(self, clip):
        """One frame from each fifth of a second: every fifth of 25."""
        assert index_frames(clip).sample(fps=5).tolist() == list(range(0, FRAMES, 5))

    def test_a_rate_above_the_videos_gives_every_frame(self, clip):
        assert index_frames(clip).sample(fps=1000).tolist() == list(range(FRAMES))

    def test_a_segment_samples_what_the_whole_does(self, clip):
        whole = [f.frame_index for f in read_frames(clip, fps=7)]
        parts = [f.frame_index for a, b in ((0, 13), (13, 40), (40, 60)) for f in read_frames(clip, a, b, fps=7)]
        assert parts == whole

    def test_variable_frame_rate(self, tmp_path):
        """Dense, then sparse, then dense: true times, and one frame from each slot that has any."""
        times = [*range(0, 400, 40), *range(400, 3400, 1000), *range(3400, 3800, 40)]
        path = write(tmp_path / "vfr.mkv", times=times, frames=len(times))
        index = index_frames(path)
        np.testing.assert_allclose(index.timestamps, np.array(times) / 1000, atol=1e-9)
        chosen = index.timestamps[index.sample(fps=5)]
        np.testing.assert_allclose(chosen, [0, 0.2, 0.4, 1.4, 2.4, 3.4, 3.6], atol=1e-9)
        assert [f.timestamp for f in read_frames(path)] == pytest.approx(np.array(times) / 1000)

    @pytest.mark.parametrize(
        ("options", "words"),
        [({"fps": 5, "every": 2}, "not both"), ({"fps": 0}, "positive"), ({"every": 0}, "least 1")],
    )
    def test_nonsense_is_refused(self, clip, options, words):
        with pytest.raises(ConfigError, match=words):
            index_frames(clip).sample(**options)


def cut(path, target, fraction):
    data = Path(path).read_bytes()
    target.write_bytes(data[: int(len(data) * fraction)])
    return str(target)


class TestBroken:
    def test_a_cut_tail_keeps_the_frames_before_and_says_where(self, clip, tmp_path):
        path = cut(clip, tmp_path / "cut.mp4", 0.6)
        index = index_frames(path)
        assert 5 < len(index) < FRAMES
        assert f"after frame {len(index) - 1} at" in index.broken
        kept = []
        with pytest.raises(MediaError, match=r"breaks off.*after frame") as caught:
            kept.extend(read_frames(path))
        assert caught.value.kind in ("breaks off", "damaged")
        assert len(kept) == len(index)
        np.testing.assert_allclose(greys(kept), [level(i) for i in range(len(index))], atol=8)

    def test_frames_beyond_a_cut_each_say_so(self, clip, tmp_path):
        path = cut(clip, tmp_path / "cut.mp4", 0.6)
        there = len(index_frames(path))
        times = index_frames(clip).timestamps
        for given in (None, times):
            found = dict(frames_of(path, range(FRAMES), given))
            assert list(found) == list(range(FRAMES))
            for i in range(there):
                assert_shows(found[i], i)
            # By their times, frames whose packets came before the cut may still be found, and are the right ones.
            beyond = range(there if given is None else there + 4, FRAMES)
            assert all(isinstance(found[i], MediaError) and found[i].kind == "breaks off" for i in beyond)

    def test_a_cut_matroska(self, tmp_path):
        path = cut(write(tmp_path / "whole.mkv", frames=150), tmp_path / "cut.mkv", 0.5)
        index = index_frames(path)
        assert 5 < len(index) < 120
        assert "6.0 s declared" in index.broken

    def test_damage_within_costs_no_more_than_its_group(self, clip, tmp_path):
        """Frames that refer to a damaged one are not believed, whichever way they are reached."""
        data, keys = bytearray(Path(clip).read_bytes()), np.flatnonzero(index_frames(clip).keyframe)
        first, after = int(keys[2]), int(keys[3])
        with av.open(clip) as whole:
            place, size = [(p.pos, p.size) for p in whole.demux(video=0) if p.is_keyframe and p.size][2]
        data[place : place + size] = bytes(size)
        path = tmp_path / "damaged.mp4"
        path.write_bytes(data)
        found = dict(frames_of(str(path), range(FRAMES)))
        lost = [i for i, p in found.items() if isinstance(p, MediaError)]
        assert lost == list(range(first, after))
        assert found[first].kind == "damaged"
        assert f"frame {first} at {first / RATE:.3f} s" in str(found[first])
        for i in (first - 1, first, first + 2, after):
            alone = dict(frames_of(str(path), [i], [i / RATE]))[i]
            assert isinstance(alone, MediaError) == (i in lost)
        with pytest.raises(MediaError, match=f"frame {first} "):
            list(read_frames(str(path)))

    def test_no_frames(self, tmp_path):
        path = tmp_path / "none.mkv"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("ffv1", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            out.start_encoding()
        for look in (index_frames, lambda p: list(read_frames(p))):
            with pytest.raises(MediaError, match="no frame"):
                look(str(path))

    def test_a_wrong_extension_does_not_matter(self, clip, tmp_path):
        path = tmp_path / "clip.avi"
        path.write_bytes(Path(clip).read_bytes())
        assert len(index_frames(str(path))) == FRAMES

    @pytest.mark.parametrize("extension", ["png", "mp4", "jpg"])
    def test_a_image_is_not_a_video(self, tmp_path, extension):
        path = tmp_path / f"image.{extension}"
        Image.fromarray(image(0)).save(path, format="JPEG" if extension == "jpg" else "PNG")
        with pytest.raises(MediaError, match="not a video"):
            index_frames(str(path))

    @pytest.mark.parametrize(
        "content", [b"not a video at all " * 50, bytes(5000), b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n"]
    )
    def test_other_files_are_not_videos(self, tmp_path, content):
        """A playlist names other files; it is refused and nothing else is opened."""
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match="not a video"):
            index_frames(str(path))

    def test_a_header_that_never_came(self, tmp_path):
        path = cut(write(tmp_path / "tail.mp4"), tmp_path / "headless.mp4", 0.5)
        with pytest.raises(MediaError, match="not a video"):
            index_frames(path)

    def test_sound_alone(self, tmp_path):
        path = tmp_path / "sound.mka"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("pcm_s16le", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            sound.rate = 8000
            out.mux(stream.encode(sound))
        with pytest.raises(MediaError, match="no video stream; it holds audio"):
            index_frames(str(path))

    def test_every_row_of_a_missing_file_says_so(self, tmp_path):
        found = list(frames_of(str(tmp_path / "none.mp4"), [3, 5, 9], [0.1, 0.2, 0.3]))
        assert [i for i, _ in found] == [3, 5, 9]
        assert all(isinstance(p, MediaError) and p.kind == "missing" for _, p in found)

    def test_an_empty_file_and_a_folder(self, tmp_path):
        (tmp_path / "empty.mp4").touch()
        for path, kind in ((tmp_path / "empty.mp4", "empty"), (tmp_path, "folder")):
            with pytest.raises(MediaError) as caught:
                index_frames(str(path))
            assert caught.value.kind == kind

    def test_more_pixels_than_allowed(self, clip):
        with pytest.raises(MediaError, match="too many pixels"):
            index_frames(clip, MediaConfig(max_pixels=1000))

    def test_outside_the_root(self, clip, tmp_path):
        with pytest.raises(MediaError, match="outside root"):
            index_frames(clip, MediaConfig(root=str(tmp_path)))


class TestOddMakes:
    def test_one_pixel(self, tmp_path):
        path = write(tmp_path / "tiny.mkv", "ffv1", "gray", frames=5, size=(1, 1))
        frames = list(read_frames(path))
        assert [f.rgb.shape for f in frames] == [(1, 1, 3)] * 5

    def test_ten_bits(self, tmp_path):
        """Ten bits come out as eight, of the same brightness."""
        path = write(tmp_path / "deep.mkv", "ffv1", "yuv420p10le", frames=10)
        frames = list(read_frames(path))
        assert frames[0].rgb.dtype == np.uint8
        np.testing.assert_allclose(greys(frames), [level(i) for i in range(10)], atol=2)

    @pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
    def test_a_rotation_flag(self, tmp_path, rotation, corner):
        """Turned counter-clockwise by the flag, the bright corner goes from top left to bottom left at 90."""
        path = write(tmp_path / "turned.mp4", frames=3, rotation=rotation, crf=5)
        frame = next(read_frames(path))
        expected = (HEIGHT, WIDTH) if abs(rotation) == 90 else (WIDTH, HEIGHT)
        assert frame.rgb.shape[:2] == expected[::-1]
        assert frame.rgb.flags.c_contiguous
        bright = {place: int(frame.rgb[place].mean()) for place in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
        assert max(bright, key=lambda place: bright[place]) == corner

    def test_a_size_that_changes(self, tmp_path):
        """Two elementary streams of different size in one file, as broadcasts have them."""
        small = write(tmp_path / "small.h264", frames=10, bf=0)
        large = write(tmp_path / "large.h264", frames=10, bf=0, size=(WIDTH * 2, HEIGHT * 2))
        path = tmp_path / "both.h264"
        path.write_bytes(Path(small).read_bytes() + Path(large).read_bytes())
        shapes = [f.rgb.shape[:2] for f in read_frames(str(path))]
        assert shapes == [(HEIGHT, WIDTH)] * 10 + [(HEIGHT * 2, WIDTH * 2)] * 10
        limited = MediaConfig(max_pixels=WIDTH * HEIGHT + 1)
        found = [p for _, p in frames_of(str(path), range(20), config=limited)]
        assert [isinstance(p, MediaError) for p in found] == [False] * 10 + [True] * 10

    def test_a_remote_video(self, clip):
        with fsspec.open("memory://videos/clip.mp4", "wb") as file:
            file.write(Path(clip).read_bytes())
        here = {f.frame_index: f.rgb for f in read_frames(clip, 20, 24)}
        there = {f.frame_index: f.rgb for f in read_frames("memory://videos/clip.mp4", 20, 24)}
        assert sorted(there) == [20, 21, 22, 23]
        for i, rgb in there.items():
            np.testing.assert_array_equal(rgb, here[i])


def test_indices_must_increase_and_times_match(clip):
    with pytest.raises(ValueError, match="increase"):
        list(frames_of(clip, [3, 3]))
    with pytest.raises(ValueError, match="as many timestamps"):
        list(frames_of(clip, [3, 4], [0.12]))
    assert list(frames_of(clip, [])) == []


@pytest.mark.parametrize(
    ("name", "count", "size"), [("WolfgangLanger_Pexels.mp4", 472, (640, 360)), ("face_noface.mov", 169, (960, 540))]
)
def test_the_real_clips(shared_data, name, count, size):
    """Counts of the data set's own description; times as ffprobe would give them."""
    path = str(shared_data / "clips" / name)
    index = index_frames(path)
    assert len(index) == count
    assert index.broken is None
    assert next(read_frames(path)).rgb.shape[:2] == size[::-1]
    with av.open(path) as container:
        times = [p.pts * p.time_base for p in container.demux(video=0) if p.pts is not None]
    np.testing.assert_allclose(index.timestamps, np.array(sorted(times), dtype=float), atol=1e-12)
