"""Errors that last: how alike an estimator's errors are from frame to frame, and what a filter then leaves of them.

The error of a frame is modelled as an AR(1) part and white noise, e_t = sqrt(share v_t) u_t + sqrt((1 - share) v_t) w_t
with v_t the announced variance, w white, and u of unit variance with correlation `per_second` ** d at d seconds
apart. Every filter here is s += K (x - s), so the variance of its error follows exactly from its gains: averaging
removes the white part and little of the lasting one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Autocorrelation:
    """How the errors of a sequence hang together, and how far its truth moves.

    Attributes:
        per_second: correlation of the lasting part one second apart, in [0, 1], a float or (2,); 0 = white noise.
        share: the lasting part's share of the error variance, in [0, 1], a float or (2,).
        level_variance: variance of the true level's step in a second, reference units squared, a float or (2,): what a
            lag or a hold costs. None = the filter's process variance, which may rather be chosen for its gain.
    """

    per_second: Array | float
    share: Array | float = 1.0
    level_variance: Array | float | None = None


@dataclass(frozen=True)
class FilterError:
    """Second moments of a filter's error; all of the shape of its state, (..., 2).

    Attributes:
        variance: of the level's error, reference units squared; NaN = unknown.
        covariance: of the level's error and the unit AR(1) part of the last frame's, reference units.
    """

    variance: Array
    covariance: Array

    @classmethod
    def initial(cls, shape: tuple[int, ...]) -> FilterError:
        """Before the first frame."""
        return cls(np.zeros(shape), np.zeros(shape))

    def restarted(self, where: Array, initial: FilterError) -> FilterError:
        """This with `initial` put in `where`."""
        return FilterError(
            np.where(where, initial.variance, self.variance), np.where(where, initial.covariance, self.covariance)
        )


def propagate(
    error: FilterError,
    gain: Array,
    variance: Array,
    elapsed: Array | float,
    process_variance: Array | float,
    autocorrelation: Autocorrelation | None,
) -> FilterError:
    """The error after a frame, of a filter that took the sample with this gain.

    With r the correlation over the time d since the frame before, and a = sqrt(share v):
    P = (1 - K)² (P + Q d) + K² v + 2 K (1 - K) a r c, and c = (1 - K) r c + K a. Where errors are white this is
    K² v + (1 - K)² (P + Q d), for a Kalman gain (1 - K) (P + Q d); where they last for ever, the standard deviation is
    the average of the samples', by the gains.

    Args:
        error: after the frame before.
        gain: K, 0 where the sample was held or is missing.
        variance: the sample's, v; NaN = unknown.
        elapsed: seconds since the frame before.
        process_variance: Q, variance of the level's step in a second as the filter has it, reference units squared; the
            autocorrelation's own takes its place.
        autocorrelation: of the samples' errors; None = not known, and nothing is gained by averaging: the variance
            is that of the raw samples, and grows where they are held.

    Returns:
        The error, of the broadcast shape. After an unknown variance the next known sample's is taken.

    Source: the second moments of a linear filter driven by AR(1) noise, as in Durbin & Koopman 2012, section 6.5.
    """
    lasting = Autocorrelation(1.0) if autocorrelation is None else autocorrelation
    movement = process_variance if lasting.level_variance is None else lasting.level_variance
    held = gain == 0
    v = np.where(held, 0.0, variance)
    scale = np.sqrt(lasting.share * v)
    carried = np.power(lasting.per_second, elapsed) * error.covariance
    drift = np.where(held | (autocorrelation is not None), movement * elapsed, 0.0)
    rest = 1 - gain
    spread = rest**2 * (error.variance + drift) + gain**2 * v + 2 * gain * rest * scale * carried
    covariance = rest * carried + gain * scale
    again = np.isnan(error.variance) & ~held
    return FilterError(np.where(again, v, spread), np.where(again, scale, covariance))
