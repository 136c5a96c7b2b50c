"""The pixels a backbone gets: parity with torchvision, geometry, refusals."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.preprocess import Preprocessing

HALF = (0.5, 0.5, 0.5)


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 301), (224, 224), (90, 121), (225, 1000)])
@pytest.mark.parametrize(("crop_fraction", "short"), [(1.0, 224), (0.875, 256)])
def test_crop_gives_torchvisions_pixels(height: int, width: int, crop_fraction: float, short: int) -> None:
    rgb = image(height, width)
    reference = transforms.Compose(
        [transforms.Resize(short, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    )
    ours = Preprocessing(224, "crop", "bicubic", HALF, HALF, crop_fraction).apply(rgb)
    assert np.array_equal(ours, np.asarray(reference(Image.fromarray(rgb))))


def test_squash_averages_areas_where_it_shrinks() -> None:
    rgb = image(480, 720)
    expected = cv2.resize(rgb, (240, 240), interpolation=cv2.INTER_AREA)
    assert np.array_equal(Preprocessing(240, "squash", "area", HALF, HALF).apply(rgb), expected)
    halves = rgb.reshape(240, 2, 240, 3, 3).mean((1, 3))
    assert np.abs(expected - halves).max() <= 0.5 + 1e-9


def test_squash_interpolates_where_it_enlarges() -> None:
    ramp = np.repeat(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], 10, 0).repeat(3, 2)
    wide = Preprocessing(40, "squash", "area", HALF, HALF).apply(ramp)
    assert wide.shape == (40, 40, 3)
    assert len(np.unique(wide[20, :, 0])) > 20  # nearest neighbours would keep the ten levels


def test_it_pickles_and_goes_through_json() -> None:
    one = Preprocessing(224, "crop", "bicubic", HALF, (0.2, 0.3, 0.4), 0.9)
    assert pickle.loads(pickle.dumps(one)) == one
    assert Preprocessing.from_json(one.to_json()) == one


def test_min_side_is_twice_what_the_crop_needs() -> None:
    assert Preprocessing(240, "squash", "area", HALF, HALF).min_side == 480
    assert Preprocessing(224, "crop", "bicubic", HALF, HALF, 0.875).min_side == 512


def test_another_geometry_is_a_named_choice() -> None:
    own = Preprocessing(224, "crop", "bicubic", HALF, HALF, 0.875)
    assert own.chosen("own") == own
    assert own.chosen("squash") == Preprocessing(224, "squash", "bicubic", HALF, HALF, 1.0)
    with pytest.raises(ConfigError, match="own, squash, crop"):
        own.chosen("letterbox")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_not_a_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a uint8 image"):
        Preprocessing(8, "squash", "area", HALF, HALF).apply(wrong)


@pytest.mark.parametrize("change", [{"geometry": "stretch"}, {"interpolation": "cubic"}, {"crop_fraction": 0.0}])
def test_impossible_options_are_refused(change: dict[str, object]) -> None:
    values: dict[str, object] = {"size": 8, "geometry": "crop", "interpolation": "area", "mean": HALF, "std": HALF}
    with pytest.raises(ConfigError):
        Preprocessing(**{**values, **change})  # type: ignore[arg-type]


def test_a_card_with_other_fields_is_refused() -> None:
    with pytest.raises(CheckpointError, match="preprocessing"):
        Preprocessing.from_json({"size": 3, "mean": [0], "std": [1], "shape": "round"})
