"""The linear head in closed form, against scikit-learn and against dropout training itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from emofuse.errors import DataError
from emofuse.training.ridge import DROPOUTS, choose_dropout, fit_linear, group_folds, penalty, ridge_path


def data(count: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(1, 3, (count, width)).astype(np.float32)
    return features, 0.05 * features @ rng.normal(size=(width, 2)) + rng.normal(0, 0.3, (count, 2))


@pytest.mark.parametrize(("count", "width"), [(30, 80), (90, 12)], ids=["wide", "tall"])
def test_ridge_is_scikit_learns(count: int, width: int) -> None:
    features, targets = data(count, width)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    weights, intercept = ridge_path(scaled, targets, [3.0, 50.0])
    for each, alpha in zip(weights, (3.0, 50.0), strict=True):
        model = Ridge(alpha=alpha).fit(scaled, targets)
        assert np.allclose(each.T, model.coef_, atol=1e-9)
        assert np.allclose(intercept, model.intercept_)


def test_the_head_predicts_what_the_ridge_does() -> None:
    features, targets = data(40, 60)
    head = fit_linear(features, targets, dropout=0.6)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    expected = Ridge(alpha=penalty(0.6, 40)).fit(scaled, targets).predict(scaled)
    with torch.inference_mode():
        assert np.allclose(head(torch.from_numpy(features)).numpy(), expected, atol=1e-4)


def test_it_is_where_dropout_training_ends() -> None:
    """The expected squared error under dropout, its gradient by autograd over the exact moments, vanishes there."""
    features, targets = data(50, 20)
    head = fit_linear(features, targets, dropout=0.4).double()
    inputs, labels = torch.from_numpy(features).double(), torch.from_numpy(targets)
    weight, bias = head.layers[-1].weight, head.layers[-1].bias
    hidden = head.standardise(inputs)
    noise = hidden.square() @ weight.square().T * (0.4 / 0.6)  # type: ignore[union-attr, operator]
    loss = ((hidden @ weight.T + bias - labels).square() + noise).mean()  # type: ignore[union-attr, operator]
    loss.backward()
    assert float(weight.grad.abs().max()) < 1e-6  # type: ignore[union-attr, operator]
    assert float(bias.grad.abs().max()) < 1e-6  # type: ignore[union-attr, operator]


def test_noise_asks_for_more_dropout_than_signal_does() -> None:
    rng = np.random.default_rng(0)
    features, targets = data(120, 30)
    groups = np.arange(120) // 3
    clear = choose_dropout(features.astype(np.float64), targets, groups)
    noise = choose_dropout(features.astype(np.float64), rng.normal(size=(120, 2)), groups)
    assert noise == max(DROPOUTS)
    assert clear < 0.5


def test_no_group_straddles_a_fold_and_every_row_is_held_out_once() -> None:
    groups = np.array(list("aabbbccddddeeffgghh"), dtype=object)
    held = []
    for train, out in group_folds(groups, 5, 0):
        assert not set(groups[train]) & set(groups[out])
        held += out.tolist()
    assert sorted(held) == list(range(len(groups)))
    with pytest.raises(DataError, match="9 folds need"):
        group_folds(groups, 9, 0)
