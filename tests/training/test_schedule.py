"""One cycle and discriminative rates, against fastai's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.training.schedule import discriminative_rates, one_cycle_momentum, one_cycle_rate, set_one_cycle


def test_one_cycle_is_fastais() -> None:
    """Source: `fit_one_cycle` of fastai 2.8 with lr_max = 1e-3."""
    rates = [one_cycle_rate(1e-3, at) for at in (0, 0.125, 0.25, 0.5, 0.75, 1)]
    assert rates == pytest.approx([4e-5, 5.2e-4, 1e-3, 7.500025e-4, 2.500075e-4, 1e-8], rel=1e-6)


def test_momentum_mirrors_the_rate() -> None:
    assert [one_cycle_momentum(at) for at in (0, 0.25, 1)] == pytest.approx([0.95, 0.85, 0.95])
    positions = np.linspace(0, 1, 101)
    rate = np.array([one_cycle_rate(1.0, p) for p in positions])
    momentum = np.array([one_cycle_momentum(p) for p in positions])
    assert np.array_equal(np.sign(np.diff(rate)), -np.sign(np.diff(momentum)))


def test_torchs_scheduler_agrees_where_its_steps_fall() -> None:
    """An independent implementation: OneCycleLR with pct_start .25, div 25, final div 1e5/25; 100 steps peak at 24."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=100, pct_start=0.25, div_factor=25, final_div_factor=1e5 / 25
    )
    theirs = [optimizer.param_groups[0]["lr"]]
    for _ in range(99):
        optimizer.step()
        scheduler.step()
        theirs.append(optimizer.param_groups[0]["lr"])
    position = [k / 24 * 0.25 if k <= 24 else 0.25 + (k - 24) / 75 * 0.75 for k in range(100)]
    assert [one_cycle_rate(1e-3, p) for p in position] == pytest.approx(theirs, rel=1e-9)


def test_each_group_gets_its_own_peak() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.AdamW(groups, lr=1)
    set_one_cycle(optimizer, [1e-3, 1e-1], 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-1])
    assert [group["betas"] for group in optimizer.param_groups] == [(0.85, 0.999)] * 2


def test_discriminative_rates_are_fastais() -> None:
    """Source: fastai's `slice(lr/100, lr/10)` over three groups, lr = 1e-3."""
    assert discriminative_rates(1e-3, 3) == pytest.approx([1e-5, 3.16227766e-5, 1e-4], rel=1e-8)
    assert discriminative_rates(1e-3, 1) == [1e-4]
