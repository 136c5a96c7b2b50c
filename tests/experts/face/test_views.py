from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from emofuse.config import ComputeConfig
from emofuse.experts.device import device_of
from emofuse.experts.face.precision import dtype_of, gains_by_bfloat16, probe_chunk
from emofuse.experts.face.tta import SCALE_RANGE, Views, jitter_scales, moments

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return torch.from_numpy(np.stack([cv2.resize(c, (256, 256)) for c in coarse]))


def as_float(crops: torch.Tensor) -> torch.Tensor:
    return crops.permute(0, 3, 1, 2).float() / 255


def test_the_first_views_are_the_crop_and_its_mirror_image(crops: torch.Tensor) -> None:
    views = Views(5, seed=0, device=CPU)
    assert torch.equal(views.make(crops, torch.zeros(3, dtype=torch.int64)), as_float(crops))
    assert torch.equal(views.make(crops, torch.ones(3, dtype=torch.int64)), as_float(crops).flip(-1))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_other_views_are_scaled_about_the_centre_with_reflected_border(crops: torch.Tensor, k: int) -> None:
    scale = jitter_scales(5, seed=7)[k - 2]
    made = Views(5, seed=7, device=CPU).make(crops, torch.full((3,), k))
    # cv2 as the independent implementation; its coordinates are of pixel centres, hence the 127.5.
    matrix = np.array([[scale, 0, 127.5 * (1 - scale)], [0, scale, 127.5 * (1 - scale)]])
    for crop, view in zip(crops.numpy(), made, strict=True):
        expected = cv2.warpAffine(
            crop.astype(np.float32) / 255, matrix, (256, 256), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        assert np.abs(view.permute(1, 2, 0).numpy() - expected).max() < 0.02


def test_views_may_be_mixed_and_depend_on_their_own_crop_alone(crops: torch.Tensor) -> None:
    views = Views(4, seed=1, device=CPU)
    mixed = views.make(crops[[0, 2, 0, 1]], torch.tensor([3, 1, 0, 2]))
    for row, (crop, k) in enumerate([(0, 3), (2, 1), (0, 0), (1, 2)]):
        assert torch.equal(mixed[row], views.make(crops[[crop]], torch.tensor([k]))[0])


def test_views_stay_in_the_range_of_images() -> None:
    extreme = torch.from_numpy(np.random.default_rng(3).choice(np.array([0, 255], np.uint8), (1, 256, 256, 3)))
    made = Views(6, seed=0, device=CPU).make(extreme.expand(6, -1, -1, -1), torch.arange(6))
    assert made.min() == 0
    assert made.max() == 1


def test_scales_are_one_fixed_set_from_the_seed() -> None:
    scales = jitter_scales(50, seed=3)
    assert np.array_equal(scales, jitter_scales(50, seed=3))
    assert not np.array_equal(scales, jitter_scales(50, seed=4))
    assert ((scales >= SCALE_RANGE[0]) & (scales <= SCALE_RANGE[1])).all()
    assert np.array_equal(jitter_scales(5, seed=3), scales[:3])
    assert [len(jitter_scales(k, seed=0)) for k in (1, 2, 3)] == [0, 0, 1]


def test_moments_are_mean_and_unbiased_variance() -> None:
    # docs/methods.md: samples .20, .30, .25, .35, .15 have mean .25 and variance .00625 (ddof 1).
    samples = np.array([0.20, 0.30, 0.25, 0.35, 0.15])
    mean, variance = moments(np.stack([samples, 2 * samples], axis=-1)[None])
    assert mean[0] == pytest.approx([0.25, 0.5])
    assert variance[0] == pytest.approx([0.00625, 4 * 0.00625])


def test_close_float32_samples_keep_their_variance() -> None:
    # docs/methods.md: .9 + 1e-4 · {0..4} has the unbiased variance 2.5e-8; in float32 E[x²] - E[x]² is negative.
    samples = (0.9 + 1e-4 * np.arange(5)).astype(np.float32)
    assert moments(samples[None, :, None])[1].item() == pytest.approx(2.5e-8, rel=1e-2)


def test_one_view_leaves_the_variance_unknown() -> None:
    mean, variance = moments(np.full((2, 1, 2), 0.3))
    assert mean == pytest.approx(0.3)
    assert np.isnan(variance).all()


def test_the_probe_takes_the_fastest_of_equal_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    cost = {4: 4.0, 8: 2.0, 16: 1.0}

    def run(x: torch.Tensor) -> torch.Tensor:
        clock["now"] += cost[len(x)]
        return x + (1e-7 if len(x) == 16 else 0)

    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    chosen, rates = probe_chunk(run, torch.rand(16, 2), (4, 8, 16))
    assert chosen == 8, "16 is faster, but gives other bits"
    assert rates == {4: 1.0, 8: 4.0}


def test_the_probe_keeps_the_default_without_a_clear_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}

    def run(x: torch.Tensor) -> torch.Tensor:
        clock["now"] += len(x) * (0.98 if len(x) == 8 else 1.0)
        return x

    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    assert probe_chunk(run, torch.rand(8, 2), (4, 8))[0] == 4


def test_precision_is_as_named_or_as_the_hardware_gains() -> None:
    assert dtype_of(ComputeConfig(dtype="float32"), CPU) == torch.float32
    assert dtype_of(ComputeConfig(dtype="bfloat16"), CPU) == torch.bfloat16
    expected = torch.bfloat16 if gains_by_bfloat16(CPU) else torch.float32
    assert dtype_of(ComputeConfig(dtype="auto"), CPU) == expected
    assert device_of(ComputeConfig(device="cpu")) == CPU
