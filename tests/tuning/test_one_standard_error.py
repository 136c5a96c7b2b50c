"""A choice among many looks better than it is; on groups that it has not seen it does not."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.errors import ConfigError
from emofuse.tuning.one_standard_error import Losses, assign, standard_error


def of(losses, rows, fold=None):
    """Losses (C, B) per row, in bundles of so many rows (B,); both axes alike."""
    below = np.broadcast_to(rows, losses.shape)[:, :, None] * np.ones(2)
    return Losses(losses[:, :, None] * below, below, np.arange(losses.shape[1]) if fold is None else fold)


def test_the_standard_error_of_bundles_of_one_size_is_that_of_their_mean():
    values = np.random.default_rng(0).normal(0.3, 0.1, (5, 12))
    losses = of(values, np.full(12, 30.0))
    np.testing.assert_allclose(losses.value(), values.mean(axis=1))
    np.testing.assert_allclose(standard_error(losses.influence()), values.std(axis=1, ddof=1) / np.sqrt(12))


def test_the_standard_error_of_unequal_bundles_is_that_of_redrawn_ones():
    """Against the deviation of the loss over 4,000 worlds of 40 bundles each, whose error is 1.1 %."""
    rng = np.random.default_rng(1)
    rows = rng.integers(5, 60, (4000, 40)).astype(float)
    worlds = rng.normal(0.3, 0.1, (4000, 40)) + rows / 600
    each = Losses((worlds * rows)[:, :, None] * np.ones(2), rows[:, :, None] * np.ones(2), np.arange(40))
    claimed = np.sqrt((standard_error(each.influence()) ** 2).mean())
    assert claimed == pytest.approx(each.value().std(), rel=0.08)


def test_a_fold_without_labels_takes_no_part():
    values = np.array([[0.3, 0.3, 0.3], [0.2, 0.2, 0.2]])
    losses = of(values, np.array([10.0, 10.0, 0.0]))
    found = losses.held_out(np.array([[1, 0], [2, 0]]), np.ones(2, bool), plain=0)
    assert found.difference == pytest.approx(-0.1)


def test_of_configurations_that_are_all_alike_the_choice_is_no_better_where_it_was_not_made():
    """300 configurations of one expected loss: the least lies below it, the held-out loss does not."""
    seen, kept = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = 0.3 + rng.normal(0, 0.05, (300, 20))
        losses = of(values, np.full(20, 30.0), np.arange(20) % 5)
        distance = np.column_stack([np.r_[1, rng.integers(2, 9, 299)], np.zeros(300)])
        best, _ = losses.choose(distance, np.ones(300, bool))
        seen.append(losses.value()[best] - losses.value()[0])
        kept.append(losses.held_out(distance, np.ones(300, bool), plain=0).difference)
    error = np.std(kept, ddof=1) / np.sqrt(len(kept))
    assert np.mean(seen) < -0.015
    assert np.mean(kept) == pytest.approx(0, abs=4 * error)
    assert error < 0.005


def test_what_may_not_be_chosen_is_not():
    losses = of(np.array([[0.3, 0.4], [0.1, 0.1]]), np.full(2, 10.0))
    assert losses.choose(np.ones((2, 1)), np.array([True, False]))[0] == 0
    assert losses.choose(np.ones((2, 1)), np.zeros(2, bool))[0] == -1


class TestDeal:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1000])
    def test_no_group_is_taken_apart_and_folds_are_of_a_size(self, count):
        groups = np.random.default_rng(count).permutation(np.repeat(np.arange(count), 3))
        bundle, fold = assign(groups, 5)
        assert len(fold) == min(count, 40)
        assert set(bundle) == set(range(len(fold)))
        assert all(len(set(bundle[groups == g])) == 1 for g in range(count))
        of_group = fold[[bundle[groups == g][0] for g in range(count)]]
        sizes = np.bincount(of_group, minlength=min(count, 5))
        assert len(sizes) == min(count, 5)
        assert sizes.max() - sizes.min() <= np.ceil(count / 40)

    def test_one_fold_is_refused(self):
        with pytest.raises(ConfigError, match="at least 2"):
            assign(np.arange(9), 1)
