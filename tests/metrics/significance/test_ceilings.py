"""What a human reaches: raters made up one by one, and the ratings of OASIS."""

import numpy as np
import pandas as pd
import pytest

from emofuse.metrics.significance import human_ceilings


def test_raters_made_up_one_by_one():
    rng = np.random.default_rng(0)
    true, raters = rng.normal(0, 0.4, 4000), 12
    ratings = true[:, None] + rng.normal(0, 0.5, (4000, raters))
    others = ratings[:, 1:].mean(1)
    labels = ratings.mean(1)
    found = human_ceilings(labels, ratings.std(1, ddof=1), np.full(4000, raters))
    # Bounds: three standard errors of a correlation and of a mean over 4000 rows.
    r, apart = np.corrcoef(ratings[:, 0], others)[0, 1], np.abs(ratings[:, 0] - others)
    assert found.rater_r == pytest.approx(r, abs=3 * (1 - r**2) / np.sqrt(4000))
    # An SD of twelve ratings is on average 1 - 1/(4 * 11) of the true one.
    assert found.rater_mae == pytest.approx(apart.mean() * (1 - 1 / 44), abs=3 * apart.std() / np.sqrt(4000))
    r = np.corrcoef(true, labels)[0, 1]
    assert found.attainable_r == pytest.approx(r, abs=3 * (1 - r**2) / np.sqrt(4000))
    assert found.reliability == pytest.approx(found.attainable_r**2)
    apart = np.abs(true - labels)
    assert found.floor_mae == pytest.approx(apart.mean() * (1 - 1 / 44), abs=3 * apart.std() / np.sqrt(4000))


@pytest.mark.parametrize(
    ("axis", "r", "floor", "rater_r", "rater_mae"),
    [("Valence", 0.996, 0.028, 0.74, 0.29), ("Arousal", 0.979, 0.044, 0.43, 0.44)],
)
def test_oasis(shared_data, axis, r, floor, rater_r, rater_mae):
    # Worked out from the published ratings by another hand (docs/methods.md).
    file = shared_data / "oasis" / "oasis.csv"
    if not file.is_file():
        pytest.skip("OASIS is not here")
    table = pd.read_csv(file)
    found = human_ceilings((table[f"{axis}_mean"] - 4) / 3, table[f"{axis}_SD"] / 3, table[f"{axis}_N"])
    assert (found.attainable_r, found.floor_mae) == pytest.approx((r, floor), abs=5e-4)
    assert (found.rater_r, found.rater_mae) == pytest.approx((rater_r, rater_mae), abs=0.01)


def test_what_cannot_be_known():
    # One rater, no SD, no label: three rows that do not count.
    rows = human_ceilings([0.1, 0.2, np.nan, 0.5, 0.7], [0.1, np.nan, 0.1, 0.2, 0.2], [1, 9, 9, 9, 9])
    assert rows.n == 2
    assert np.isnan(human_ceilings([0.5, 0.5], [0.1, 0.1], [9, 9]).reliability)
    noise = human_ceilings([0.1, 0.2], [3, 3], [2, 2])
    assert (noise.reliability, noise.attainable_r, noise.rater_r) == (0, 0, 0)
    with pytest.raises(ValueError, match="one shape"):
        human_ceilings([1, 2], [1], [1])
