"""How often two equally good predictors are told apart: 5 % of the time, and no more after Holm.

As a script it repeats the simulation as often as is asked and prints the shares:

    python tests/metrics/test_false_positives.py --repeats 1000
"""

import argparse
import gc
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom

from emofuse.metrics.accuracy import HIGHER_IS_BETTER
from emofuse.metrics.resampling.metric_tables import difference_table
from emofuse.metrics.significance import holm

LEVEL = 0.05
PRIMARY = ("valence", "mae")


@dataclass(frozen=True)
class Shares:
    """Shares of the repetitions in which something was found between two exchangeable predictors.

    Attributes:
        two_sided: the primary metric's p is at most .05.
        better: that, and the first predictor is the better one.
        after_holm: the primary metric's p is at most .05 after Holm over both axes and all metrics.
        any_after_holm: any p is, after Holm.
        interval: the primary metric's 95 % interval leaves out zero.
    """

    two_sided: float
    better: float
    after_holm: float
    any_after_holm: float
    interval: float


def exchangeable(rng, groups, per_group, correlation):
    """Truth and two predictors (N, 2) whose errors have one distribution and may change places.

    Errors share half their variance between the predictors, as those of two models of one image do, and
    `correlation` of it within a group.
    """
    names = np.repeat(np.arange(groups), per_group)

    def errors():
        of_group, of_row = rng.normal(size=(groups, 2))[names], rng.normal(size=(len(names), 2))
        return np.sqrt(correlation) * of_group + np.sqrt(1 - correlation) * of_row

    truth = np.clip(rng.normal(0, 0.4, (len(names), 2)), -1, 1)
    common = errors()
    return truth, truth + 0.2 * (common + errors()), truth + 0.2 * (common + errors()), names


def simulate(repeats, *, groups, per_group=1, correlation=0.0, by_group=True, resamples=999, seed=0):
    """The shares over `repeats` draws of data; `by_group=False` evaluates grouped rows as if they were independent."""
    found = np.zeros(5)
    # statsmodels collects garbage at every call: a tenth of a second among the objects of a whole test session.
    gc.freeze()
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        truth, a, b, names = exchangeable(rng, groups, per_group, correlation)
        rows = difference_table(
            truth, {"a": a, "b": b}, [("a", "b")], names if by_group else None, resamples=resamples, rng=rng
        )
        adjusted = holm([row.p for row in rows])
        primary = [(row.axis, row.metric) for row in rows].index(PRIMARY)
        row = rows[primary]
        a_is_better = (row.difference > 0) == HIGHER_IS_BETTER[row.metric]
        found += [
            row.p <= LEVEL,
            row.p <= LEVEL and a_is_better,
            adjusted[primary] <= LEVEL,
            bool((adjusted <= LEVEL).any()),
            not row.ci_low <= 0 <= row.ci_high,
        ]
    gc.unfreeze()
    return Shares(*(found / repeats))


CASES = {
    "independent rows": {"groups": 100},
    "grouped rows, correlation .5": {"groups": 40, "per_group": 5, "correlation": 0.5},
}


def within(share, repeats, expected, chance=1e-3):
    """Whether so many hits are within binomial error of the expected share."""
    low, high = binom.interval(1 - chance, repeats, expected)
    return low <= share * repeats <= high


@pytest.mark.parametrize("case", CASES)
def test_equal_predictors_are_told_apart_as_rarely_as_claimed(case):
    repeats = 200
    shares = simulate(repeats, **CASES[case], resamples=199)
    assert within(shares.two_sided, repeats, LEVEL)
    assert within(shares.better, repeats, LEVEL / 2)
    most = binom.ppf(0.999, repeats, LEVEL) / repeats
    assert shares.after_holm <= shares.two_sided <= most
    assert shares.any_after_holm <= most


def test_grouped_rows_taken_for_independent_ones_mislead():
    # The reason for groups: the same data evaluated row by row is "significant" far too often.
    repeats = 100
    shares = simulate(repeats, groups=40, per_group=5, correlation=0.5, by_group=False, resamples=199)
    assert shares.two_sided > binom.ppf(0.999, repeats, LEVEL) / repeats


def main():
    """Prints the shares of every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    for case, options in CASES.items():
        shares = simulate(repeats, **options)
        low, high = binom.interval(0.95, repeats, LEVEL) / np.array(repeats)
        print(f"{case}, {repeats} repetitions (95 % of such simulations give {low:.3f} to {high:.3f}):")
        print(f"  two-sided p <= .05          {shares.two_sided:.3f}")
        print(f"  first called better         {shares.better:.3f}")
        print(f"  after Holm                  {shares.after_holm:.3f}")
        print(f"  any of ten after Holm       {shares.any_after_holm:.3f}")
        print(f"  95 % interval leaves out 0  {shares.interval:.3f}")


if __name__ == "__main__":
    main()
