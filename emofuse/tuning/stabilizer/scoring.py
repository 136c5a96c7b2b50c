"""What filters do to labelled or unlabelled sequences, summed up frame by frame: no output is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.metrics.accuracy import concordance_of_moments
from emofuse.stabilizer.steps import AXIS_COUNT, Timing
from emofuse.stabilizer.sweeps import Frame, Sequences, run
from emofuse.stabilizer.updates import FilterUpdate

SUMS = ("error", "n", "moved", "steps")
"""What is summed for each bundle of groups."""
SETTLED, FOLLOWED, SHARE = 200, 300, 0.9
"""Frames before and after the step that times a response, and the share of it to be reached."""


@dataclass(frozen=True)
class Pack:
    """Sequences of similar length with their labels.

    Attributes:
        sequences: S of them.
        truth: (S, T, 2), NaN where there is no label.
        bundle: (S,), in which bundle of groups each sequence is counted.
    """

    sequences: Sequences
    truth: np.ndarray
    bundle: np.ndarray

    @property
    def frames(self) -> int:
        """How many there are, without padding."""
        return int(self.sequences.lengths.sum())


def pack(
    mean: np.ndarray,
    variance: np.ndarray,
    truth: np.ndarray,
    timestamp: np.ndarray,
    rows: Sequence[np.ndarray],
    timing: Timing,
    bundle: np.ndarray,
) -> list[Pack]:
    """Sequences side by side, those of similar length together, so that at most half of a pack is padding.

    Args:
        mean: (N, 2).
        variance: (N, 2).
        truth: (N, 2), NaN where there is no label.
        timestamp: (N,) seconds, NaN where unknown.
        rows: of each sequence its rows, in order.
        timing: the frame rate where there are no timestamps.
        bundle: of each sequence its bundle of groups, integers.
    """
    by_length = sorted((k for k, r in enumerate(rows) if len(r)), key=lambda k: len(rows[k]), reverse=True)
    groups: list[list[int]] = []
    for one in by_length:
        if not groups or 2 * len(rows[one]) < len(rows[groups[-1][0]]):
            groups.append([])
        groups[-1].append(one)
    packs = []
    for numbers in groups:
        group = [rows[k] for k in numbers]
        m, v, y, t = (_padded(values, group) for values in (mean, variance, truth, timestamp))
        lengths = np.array([len(one) for one in group])
        packs.append(Pack(Sequences.of(m, v, t, lengths, timing=timing), y, bundle[numbers]))
    return packs


def score(
    update: FilterUpdate, packs: Sequence[Pack], configurations: int, timing: Timing
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Stability and error of every configuration over all sequences.

    Args:
        update: parameters of shape (C, 1, ·), as from `per_configuration`.
        packs: of `pack`.
        configurations: C.
        timing: gaps and holds.

    Returns:
        Arrays (C, 2), per axis: `jitter` (mean absolute step per frame), `hold_rate`, `coverage` (outputs per
        frame), `mae` and `ccc` (pooled over all labelled frames with an output; NaN without labels), `labelled`.
        And the sums of each bundle, (C, B, 2): `error` over `n` labelled frames, `moved` over `steps`.
    """
    totals = _Totals((configurations, AXIS_COUNT))
    count = 1 + max(int(each.bundle.max()) for each in packs)
    sums = {name: np.zeros((count, configurations, AXIS_COUNT)) for name in SUMS}
    for each in packs:
        part = _Totals((configurations, len(each.sequences.lengths), AXIS_COUNT))
        known = np.isfinite(each.truth)
        labels = np.where(known, each.truth, 0.0)
        before: Frame | None = None
        for frame in run(update, each.sequences, configurations, timing=timing, variances=False):
            part.add_stability(frame, before)
            if known[:, frame.index].any():
                part.add_error(frame, labels[:, frame.index], known[:, frame.index])
            before = frame
        totals.add(part)
        for name, values in sums.items():
            np.add.at(values, each.bundle, part[name].swapaxes(0, 1))
    by_bundle = {name: values.swapaxes(0, 1) for name, values in sums.items()}
    return totals.metrics(sum(each.frames for each in packs)), by_bundle


def response_frames(
    update: FilterUpdate, configurations: int, variance: np.ndarray, frame_rate: float, height: float = 1.0
) -> np.ndarray:
    """Frames until a step from 0 to `height` is followed to 90 %, the first frame of the step counting as 1.

    Args:
        update: as for `score`.
        configurations: C.
        variance: (2,), of every sample of the step.
        frame_rate: Hz.
        height: reference units; One-Euro follows a higher step sooner, the other filters do not care.

    Returns:
        (C, 2); infinite where it is not reached within 300 frames, as behind a gate that lets nothing in.
    """
    level = np.repeat([0.0, height], [SETTLED, FOLLOWED])
    mean = np.broadcast_to(level[None, :, None], (1, len(level), AXIS_COUNT))
    timing = Timing(frame_rate=frame_rate, max_gap=2 / frame_rate, max_hold=len(level) / frame_rate)
    step = Sequences.of(mean, np.broadcast_to(variance, mean.shape), timing=timing)
    reached = np.full((configurations, AXIS_COUNT), np.inf)
    for frame in run(update, step, configurations, timing=timing, variances=False):
        if frame.index >= SETTLED:
            # The last digit must not decide whether nine tenths are reached.
            there = (frame.mean[:, 0] / height >= SHARE - 1e-12) & frame.valid[:, 0] & np.isinf(reached)
            reached[there] = frame.index - SETTLED + 1
    return reached


class _Totals:
    """Sums over frames, elementwise."""

    NAMES = ("outputs", "held", "steps", "moved", "n", "error", "s", "y", "ss", "yy", "sy")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sums = {name: np.zeros(shape) for name in self.NAMES}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._sums[name]

    def add_stability(self, frame: Frame, before: Frame | None) -> None:
        self._sums["outputs"] += frame.valid
        self._sums["held"] += frame.held
        if before is not None:
            both = frame.valid & before.valid
            self._sums["steps"] += both
            self._sums["moved"] += np.abs(frame.mean - before.mean) * both

    def add_error(self, frame: Frame, truth: np.ndarray, known: np.ndarray) -> None:
        """Add labelled frames; truth is 0 where there is no label."""
        sums, there = self._sums, frame.valid & known
        s, y = frame.mean * there, truth * there
        sums["n"] += there
        sums["error"] += np.abs(s - y)
        sums["s"] += s
        sums["y"] += y
        sums["ss"] += s * s
        sums["yy"] += y * y
        sums["sy"] += s * y

    def add(self, part: _Totals) -> None:
        """Add the sums of a pack, over its sequences."""
        for name, values in part._sums.items():
            self._sums[name] += values.sum(axis=1)

    def metrics(self, frames: int) -> dict[str, np.ndarray]:
        t = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            n = t["n"]
            covariance = t["sy"] / n - t["s"] / n * t["y"] / n
            spreads = t["yy"] / n - (t["y"] / n) ** 2, t["ss"] / n - (t["s"] / n) ** 2
            return {
                "jitter": t["moved"] / t["steps"],
                "hold_rate": t["held"] / frames,
                "coverage": t["outputs"] / frames,
                "mae": t["error"] / n,
                "ccc": concordance_of_moments(*spreads, covariance, (t["s"] - t["y"]) / n),
                "labelled": n,
            }


def _padded(values: np.ndarray, group: Sequence[np.ndarray]) -> np.ndarray:
    out = np.full((len(group), len(group[0]), *values.shape[1:]), np.nan)
    for i, rows in enumerate(group):
        out[i, : len(rows)] = values[rows]
    return out
