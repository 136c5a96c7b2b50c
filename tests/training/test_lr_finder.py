"""The range test and its valley, against fastai's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from emofuse.errors import ConfigError
from emofuse.training.lr_finder import range_test, smooth, suggest, valley


@pytest.mark.parametrize(
    ("losses", "index"),
    [
        pytest.param(list(range(9, 0, -1)), 3, id="falls all the way"),
        pytest.param([10, 9, 8, 7, 6, 5, 6, 7, 8, 9], 2, id="falls, then rises"),
        pytest.param([5, 6, 4, 4.5, 3, 2, 2.5, 1, 3, 5, 7, 9], 3, id="falls with steps back"),
    ],
)
def test_valley_is_fastais(losses: list[float], index: int) -> None:
    """Source: `fastai.callback.schedule.valley` of fastai 2.8, run on these series."""
    assert valley(np.arange(len(losses)), losses) == index


def _series() -> tuple[np.ndarray, np.ndarray]:
    lrs = 1e-7 * 1e8 ** (np.arange(100) / 99)
    logarithm = np.log10(lrs)
    rise = 0.02 * (5 * np.maximum(0, logarithm + 0.5)) ** 2
    return lrs, 1 - 0.6 / (1 + np.exp(-3 * (logarithm + 3))) + rise


def test_valley_of_a_typical_range_test() -> None:
    """Source: fastai 2.8 on the same analytic curve, whole and trimmed as its `lr_find` does."""
    lrs, losses = _series()
    assert valley(lrs, losses) == pytest.approx(1.4174741629e-4, rel=1e-9)
    assert suggest(lrs, losses) == pytest.approx(2.9836472403e-4, rel=1e-9)


def test_everything_from_the_first_nan_on_is_left_out() -> None:
    lrs, losses = _series()
    broken = losses.copy()
    broken[80:] = np.nan
    assert suggest(lrs, broken) == valley(lrs[10:80], losses[10:80])


def test_a_test_that_broke_off_at_once_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match="learning rate"):
        suggest(np.geomspace(1e-7, 1e-6, 8), np.ones(8))


@pytest.mark.parametrize(("lrs", "losses"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]])])
def test_series_that_do_not_match_are_refused(lrs: list[float], losses: list[float]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        valley(lrs, losses)


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=40))
def test_valley_is_one_of_the_rates_and_ignores_the_losses_scale(losses: list[float]) -> None:
    lrs = np.geomspace(1e-6, 1, len(losses))
    found = valley(lrs, losses)
    assert found in lrs
    assert found == valley(lrs, np.array(losses) * 8)  # a power of two: exact in floating point


def test_smoothing_is_debiased_from_the_first_value() -> None:
    """The earlier prototype began at 20 times the loss; these are the debiased values."""
    assert smooth([1, 0.9, 0.8, 0.7], 0.95) == pytest.approx([1, 0.9487, 0.8966, 0.8436], abs=5e-5)


def _model() -> tuple[nn.Linear, torch.optim.Optimizer, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(8, 2)
    inputs = torch.randn(64, 8)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3), inputs, inputs @ torch.randn(8, 2)


def test_range_test_leaves_weights_and_optimizer_as_they_were() -> None:
    model, optimizer, inputs, labels = _model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = range_test(model, optimizer, lambda _: ((model(inputs) - labels) ** 2).mean())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert not optimizer.state
    assert found.lrs[0] == pytest.approx(1e-7)
    assert found.lrs[1] / found.lrs[0] == pytest.approx(1e8 ** (1 / 100))
    assert found.losses[:50].std() > 0  # it did train meanwhile
    assert 1e-5 < found.learning_rate < 10


def test_range_test_stops_at_four_times_the_best() -> None:
    model, optimizer, inputs, labels = _model()
    found = range_test(model, optimizer, lambda k: ((model(inputs) - labels) ** 2).mean() * (1 if k < 60 else 1e4))
    assert len(found.lrs) == 61
    assert found.smoothed[-1] > 4 * found.smoothed[:-1].min()
    assert (found.smoothed[:-1] <= 4 * np.minimum.accumulate(found.smoothed[:-1])).all()


def test_a_likelihood_below_zero_does_not_stop_the_test() -> None:
    model, optimizer, inputs, labels = _model()
    found = range_test(model, optimizer, lambda _: ((model(inputs) - labels) ** 2).mean() * 1e-3 - 1)
    assert len(found.lrs) > 60
