from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from broken import broken_files, encoded, odd_files, scene
from PIL import Image

from emofuse.config import MediaConfig
from emofuse.io.images import MediaError, decode_image, read_bytes, read_image, resolve


def test_every_broken_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    for name, (path, kind) in broken_files(tmp_path).items():
        with pytest.raises(MediaError) as error:
            read_image(str(path))
        assert error.value.kind == kind, f"{name}: {error.value}"


def test_every_odd_file_is_read_upright_as_rgb(tmp_path: Path) -> None:
    for name, path in odd_files(tmp_path).items():
        image = read_image(str(path))
        assert image.rgb.dtype == np.uint8, name
        assert image.rgb.shape == (image.height, image.width, 3), name


def test_exif_orientation_turns_pixels_and_size() -> None:
    image = scene(4)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = decode_image(encoded(image, "PNG"))
    turned = decode_image(encoded(image, "PNG", exif=exif))
    assert (turned.width, turned.height) == (plain.height, plain.width)
    np.testing.assert_array_equal(turned.rgb, np.rot90(plain.rgb, -1))


def test_cmyk_16_bit_and_transparent_images_keep_their_colours(tmp_path: Path) -> None:
    image = scene(1)
    files = odd_files(tmp_path)
    expected = np.asarray(image).astype(float)
    assert np.abs(read_image(str(files["cmyk.jpg"])).rgb - expected).mean() < 3
    assert np.abs(read_image(str(files["sixteen.png"])).rgb[..., 0] - np.asarray(image.convert("L"))).max() == 0
    half_on_white = (expected * 128 + 255 * 127) / 255
    assert np.abs(read_image(str(files["alpha.png"])).rgb - half_on_white).max() <= 2


def test_only_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    path = odd_files(tmp_path)["animated.gif"]
    assert np.abs(read_image(str(path)).rgb.astype(float) - np.asarray(scene(1))).mean() < 12


@pytest.mark.parametrize("min_side", [100, 240, 299, 480])
def test_a_large_jpeg_is_reduced_but_never_below_what_is_needed(min_side: int) -> None:
    data = encoded(scene(5, (2000, 1200)), "JPEG")
    image = decode_image(data, min_side=min_side)
    assert min(image.rgb.shape[:2]) >= min_side
    assert (image.width, image.height) == (2000, 1200)
    if min_side <= 300:
        assert image.scale >= 4


def test_limits_are_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(scene(0, (400, 300)), "PNG"))
    with pytest.raises(MediaError, match="too many pixels: 400 x 300"):
        read_image(str(path), MediaConfig(max_pixels=100_000))
    with pytest.raises(MediaError, match="file too large"):
        read_image(str(path), MediaConfig(max_bytes=100))


@pytest.mark.parametrize(
    "uri",
    ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "file:///etc/passwd", "s3://bucket/key", "link/secret.jpg"],
)
def test_nothing_outside_the_root_is_read(tmp_path: Path, uri: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(encoded(scene(), "JPEG"))
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(MediaError, match="outside root"):
        read_bytes(uri, MediaConfig(root=str(root)))


def test_a_relative_address_starts_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").write_bytes(b"x")
    assert read_bytes("sub/a.jpg", MediaConfig(root=str(tmp_path))) == b"x"


@pytest.mark.parametrize("uri", ["s3://other/a.jpg", "../a.jpg", "%2e%2e/a.jpg", "/a.jpg", "file:///a.jpg"])
def test_a_remote_root_confines_as_well(uri: str) -> None:
    with pytest.raises(MediaError, match="outside root"):
        resolve(uri, "s3://bucket/images")
    assert resolve("sub/a.jpg", "s3://bucket/images") == "s3://bucket/images/sub/a.jpg"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(MediaError, match="not allowed"):
        read_bytes(str(path))


@pytest.mark.parametrize("uri", ["reference://x", "zip://a::NONE/one.png", "tar://a::NONE/one.png", "nonsense://x"])
def test_whatever_a_file_system_raises_is_a_reason_for_the_row(tmp_path: Path, uri: str) -> None:
    (tmp_path / "one.png").write_bytes(b"no archive")
    with pytest.raises(MediaError, match="unreadable"):
        read_bytes(uri.replace("NONE", str(tmp_path)), MediaConfig(retries=0))


def test_luma_is_that_of_bt601() -> None:
    image = decode_image(encoded(Image.new("RGB", (4, 4), (10, 20, 30)), "PNG"))
    assert image.luma == pytest.approx(0.299 * 10 + 0.587 * 20 + 0.114 * 30)
