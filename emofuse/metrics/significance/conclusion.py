"""From an interval to a word, and from the word to a sentence that says what the data could have shown."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from emofuse.metrics.significance.estimate import Inference, t_interval

BETTER = "better"
WORSE = "worse"
EQUIVALENT = "equivalent"
NOT_WORSE = "not_worse"
INCONCLUSIVE = "inconclusive"
VERDICTS = (BETTER, WORSE, EQUIVALENT, NOT_WORSE, INCONCLUSIVE)

MARGIN = 0.01
"""A difference below which two systems are as good as each other, reference scale."""
MIN_EFFECT = 0.001
"""A difference below which none is called better, however sure it is."""


@dataclass(frozen=True)
class Conclusion:
    """What a difference between two systems shows of the first.

    Attributes:
        word: one of `VERDICTS`.
        difference: metric(first) - metric(second).
        low, high: its interval of confidence 1 - level.
        equivalence: its interval of confidence 1 - 2 level, which the two one-sided tests read.
        margin: of equivalence.
        level: of the two-sided test and of each one-sided one.
    """

    word: str
    difference: Inference
    low: float
    high: float
    equivalence: tuple[float, float]
    margin: float
    level: float


def conclude(
    difference: Inference,
    *,
    lower_is_better: bool,
    margin: float = MARGIN,
    min_effect: float = MIN_EFFECT,
    level: float = 0.05,
) -> Conclusion:
    """The word for a difference metric(first) - metric(second), told of the first.

    - better, worse: the interval of confidence 1 - level leaves out 0, and the difference is at least `min_effect`;
    - equivalent: the interval of confidence 1 - 2 level lies within ± margin (two one-sided tests);
    - not_worse: that interval excludes a loss of `margin` or more (non-inferiority);
    - inconclusive: none of these, or no interval.

    The first that holds is taken.

    Args:
        difference: of floats.
        lower_is_better: True for errors, False for correlations.
        margin: of equivalence, above 0, in the units of the metric.
        min_effect: 0 or more.
        level: within (0, .5); of a family, that of `holm_levels`.

    Raises:
        ValueError: if margin, minimum effect or level are not as above.

    Source: Schuirmann 1987 for the two one-sided tests.
    """
    if not (margin > 0 and min_effect >= 0 and 0 < level < 0.5):
        raise ValueError(
            "expected a margin above 0, a minimum effect of at least 0 and a level within (0, .5); "
            f"got {margin}, {min_effect} and {level}"
        )
    around = difference.estimate, difference.se, difference.df
    low, high = map(float, t_interval(*around, 1 - level))
    inner_low, inner_high = map(float, t_interval(*around, 1 - 2 * level))
    gain, inner = (low, high), (inner_low, inner_high)
    if lower_is_better:
        gain, inner = (-high, -low), (-inner_high, -inner_low)
    word = _word(gain, inner, abs(difference.estimate), margin, min_effect)
    return Conclusion(word, difference, low, high, (inner_low, inner_high), margin, level)


def sentence(found: Conclusion, first: str, second: str, metric: str) -> str:
    """The conclusion in one sentence: the word, the effect with its interval, the data, and what they could show.

    Args:
        found: of `conclude`.
        first, second: how the systems are called.
        metric: how the metric is called, e.g. "MAE of valence".
    """
    d = found.difference
    where = f"{d.n} rows in {d.n_groups} groups"
    if not (isfinite(found.low) and isfinite(found.high)):
        return f"Inconclusive: {where} say nothing of the error of {metric} of {first} less that of {second}."
    claim = _CLAIMS[found.word].format(first=first, second=second, margin=_number(found.margin))
    effect = f"{_signed(d.estimate)} [{_signed(found.low)}, {_signed(found.high)}] at {100 * (1 - found.level):.3g} %"
    data = f"{where}, effectively {d.n_effective_groups:.0f}, {d.df:.1f} degrees of freedom"
    return (
        f"{claim} in {metric}: difference {effect}; {data}; with these {d.n_effective_groups:.0f} effective groups a "
        f"difference of {_number(d.minimum_detectable)} would have been seen 8 times of 10."
    )


_CLAIMS = {
    BETTER: "{first} is better than {second}",
    WORSE: "{first} is worse than {second}",
    EQUIVALENT: "{first} and {second} are equivalent within ±{margin}",
    NOT_WORSE: "{first} is not worse than {second} by more than {margin}",
    INCONCLUSIVE: "Inconclusive between {first} and {second}",
}


def _word(
    gain: tuple[float, float], inner: tuple[float, float], effect: float, margin: float, min_effect: float
) -> str:
    if effect >= min_effect and (gain[0] > 0 or gain[1] < 0):
        return BETTER if gain[0] > 0 else WORSE
    if inner[0] > -margin:
        return EQUIVALENT if inner[1] < margin else NOT_WORSE
    return INCONCLUSIVE


def _number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
