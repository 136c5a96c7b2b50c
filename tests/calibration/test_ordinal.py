"""The cumulative logit against statsmodels, its medians against brute force, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from emofuse.calibration import fit_mean
from emofuse.calibration.files import plain
from emofuse.calibration.means import MEAN_LAYERS
from emofuse.calibration.ordinal import CumulativeLogit, _negative_log_likelihood, lattice
from emofuse.errors import ConfigError, DataError

VALUES = np.linspace(-1, 1, 7)


def ratings(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels on seven values, valence from both outputs, arousal from neither."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0.1, 0.4, (n, 2))
    latent = 3 * outputs[:, 0] - 1.5 * outputs[:, 1] + rng.logistic(size=n)
    valence = VALUES[np.digitize(latent, [-2.5, -1.5, -0.5, 0.5, 1.2, 2.4])]
    return np.column_stack([valence, VALUES[rng.integers(1, 6, n)]]), outputs


def test_it_is_the_proportional_odds_model_of_statsmodels() -> None:
    model = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    y, x = ratings()
    ours = CumulativeLogit.fit(y[:, 0], x)
    level = np.searchsorted(VALUES, y[:, 0] - 1e-6)
    oracle = model.OrderedModel(level, (x - x.mean(axis=0)) / x.std(axis=0), distr="logit")
    found = oracle.fit(method="bfgs", disp=0, gtol=1e-8)
    np.testing.assert_allclose(ours.slopes, found.params[:2], atol=1e-5)
    np.testing.assert_allclose(ours.thresholds, oracle.transform_threshold_params(found.params)[1:-1], atol=1e-5)
    np.testing.assert_allclose(ours.probabilities(x), found.predict(), atol=1e-6)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    y, x = ratings(60)
    level = np.searchsorted(VALUES, y[:, 0] - 1e-6)
    theta = np.array([-1.5, -0.3, 0.1, -0.2, 0.0, 0.2, 0.7, -0.4])

    def value(at: np.ndarray) -> float:
        return _negative_log_likelihood(at, x, level, 7, 0.05)[0]

    given = _negative_log_likelihood(theta, x, level, 7, 0.05)[1]
    np.testing.assert_allclose(given, approx_fprime(theta, value, 1e-7), atol=1e-5)


def test_the_answer_is_the_lattice_value_or_the_mean_with_the_least_expected_loss() -> None:
    y, x = ratings()
    logit = CumulativeLogit.fit(y[:, 0], x)
    chance = logit.probabilities(x)
    distance = np.abs(logit.values[:, None] - logit.values)
    median, around = logit.answer(x, median=True)
    np.testing.assert_array_equal(median, logit.values[(chance @ distance).argmin(axis=1)])
    mean, spread = logit.answer(x, median=False)
    for i in range(0, 900, 90):
        drawn = np.random.default_rng(i).choice(logit.values, 40_000, p=chance[i])
        # Four standard errors of a mean of 40,000 values within [-1, 1] are below .02.
        assert mean[i] == pytest.approx(drawn.mean(), abs=0.02)
        assert spread[i] == pytest.approx(drawn.var(), abs=0.02)
        assert around[i] == pytest.approx(((drawn - median[i]) ** 2).mean(), abs=0.03)


def test_on_a_lattice_it_errs_less_than_any_line_and_without_a_signal_as_a_constant() -> None:
    y, x = ratings(4000)
    unseen, other = ratings(4000, seed=1)
    error = {
        kind: np.abs(fit_mean(kind, y, x, loss="mae").apply(other) - unseen).mean(axis=0)  # type: ignore[arg-type]
        for kind in ("affine", "linear", "ordinal", "constant")
    }
    assert error["ordinal"][0] < error["linear"][0] - 0.005 < error["affine"][0] < error["constant"][0]
    # Its conditional median of arousal may move by a step on a few rows; it cannot gain there.
    assert error["ordinal"][1] == pytest.approx(error["constant"][1], abs=0.003)


def test_the_penalty_draws_it_to_the_constant() -> None:
    y, x = ratings()
    moved = fit_mean("ordinal", y, x, loss="mae", l2=1e4).apply(x)
    np.testing.assert_allclose(moved, np.broadcast_to(np.median(y, axis=0), moved.shape), atol=1e-5)
    assert np.abs(CumulativeLogit.fit(y[:, 0], x, 1e4).slopes).max() < 1e-3


def test_its_variance_is_known_where_the_expert_gives_none_and_nan_passes() -> None:
    y, x = ratings()
    layer = fit_mean("ordinal", y, x)
    x[3, 1] = np.nan
    mean, variance = layer.apply(x, np.full_like(x, np.nan))
    assert np.isnan(mean[3]).all()
    assert np.isnan(variance[3]).all()
    rest = np.arange(len(x)) != 3
    assert (variance[rest] > 0).all()
    # Calibrated by construction on the rows it was fitted on, valence within five per cent.
    assert ((y - mean)[rest] ** 2).mean(axis=0) == pytest.approx(variance[rest].mean(axis=0), rel=0.05)


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_it_serves_after_storage_as_before(loss: str) -> None:
    y, x = ratings()
    layer = fit_mean("ordinal", y, x, loss=loss)  # type: ignore[arg-type]
    again = MEAN_LAYERS["ordinal"](json.loads(json.dumps(plain(layer.to_dict()), allow_nan=False)))
    for before, after in zip(layer.apply(x, np.ones_like(x)), again.apply(x, np.ones_like(x)), strict=True):
        np.testing.assert_array_equal(before, after)


def test_labels_that_are_no_lattice_are_refused_where_they_are_used() -> None:
    y, x = ratings()
    y[:, 1] = np.random.default_rng(1).uniform(-1, 1, len(y))
    with pytest.raises(DataError, match="3 to 12 values with 10 rows each; got 900 values in 900 rows"):
        fit_mean("ordinal", y, x)
    assert np.isin(fit_mean("ordinal", y, x, loss="mae", axis=0).apply(x)[:, 0].round(5), VALUES.round(5)).all()
    with pytest.raises(ConfigError, match="cannot be fitted for ccc"):
        fit_mean("ordinal", y, x, loss="ccc")


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (np.repeat(VALUES.astype(np.float32), 20), 7),  # thirds, rounded to float32
        (np.repeat(VALUES, 9), None),  # nine rows a value are few
        (np.repeat([0.0, 1.0], 500), None),  # two values have no order to use
        (np.repeat(np.linspace(-1, 1, 13), 100), None),  # more than twelve
        (np.append(np.repeat(VALUES, 20), np.nan), 7),  # rows without a label are left out
    ],
)
def test_a_lattice_is_few_values_over_many_rows(labels: np.ndarray, count: int | None) -> None:
    found = lattice(labels)
    assert (None if found is None else len(found)) == count
