"""The corrected t test of overlapping splits against published numbers and scipy."""

import numpy as np
import pytest
import scipy.stats

from emofuse.metrics.significance import corrected_resampled_ttest


@pytest.mark.parametrize(
    ("differences", "t", "p"),
    [
        # baycomp 1.0 and by hand; the naive test gives p .0016 and .0686.
        ([0.021, 0.034, 0.015, 0.028, 0.024], 5.0783764006, 0.0070887663),
        ([0.010, 0.042, -0.004, 0.031, 0.020], 1.6494846166, 0.1743933884),
    ],
)
def test_corrected_ttest(differences, t, p):
    assert corrected_resampled_ttest(differences, 800, 200) == pytest.approx((t, p), abs=5e-11)
    naive = scipy.stats.ttest_1samp(differences, 0).statistic
    assert naive == pytest.approx(t * np.sqrt(1 + 5 * 200 / 800), abs=1e-9)


def test_corrected_ttest_at_its_edges():
    assert np.isnan(corrected_resampled_ttest([0, 0, 0], 8, 2)).all()
    assert corrected_resampled_ttest([0.1, 0.1, 0.1], 8, 2) == (np.inf, 0)
    assert corrected_resampled_ttest([-0.1, -0.1], 8, 2) == (-np.inf, 0)
    with pytest.raises(ValueError, match="two finite"):
        corrected_resampled_ttest([0.1], 8, 2)
    with pytest.raises(ValueError, match="two finite"):
        corrected_resampled_ttest([0.1, np.nan], 8, 2)
    with pytest.raises(ValueError, match="n_test"):
        corrected_resampled_ttest([0.1, 0.2], 8, 0)
