from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest

from emofuse.config import StabilizerConfig
from emofuse.evaluation.sequences import smooth_sequences, stability
from emofuse.evaluation.statistics import EvaluationRows
from emofuse.fusion.inputs import Fused


def frames(seconds: float, sequences: int = 1, count: int = 12) -> pa.Table:
    rows = [(f"clip-{k}", i) for k in range(sequences) for i in range(count)]
    return pa.table({
        "sample_id": [f"{name}#{i}" for name, i in rows],
        "sequence": [name for name, _ in rows],
        "frame_index": [i for _, i in rows],
        "timestamp": [i * seconds for _, i in rows],
    })  # fmt: skip


def measured(
    table: pa.Table,
    mean: np.ndarray,
    variance: np.ndarray,
    config: StabilizerConfig | None = None,
    **evaluated: np.ndarray,
) -> pa.Table:
    config, every = config or StabilizerConfig(), np.ones(len(mean), dtype=bool)
    fused = Fused(mean, variance, np.ones((2, *mean.shape)), np.ones(mean.shape, bool), np.full(mean.shape, "model"))
    on = EvaluationRows(
        truth=mean,
        groups=every,
        face_used=np.ones(mean.shape, bool),
        no_face=~every,
        in_sample=evaluated.get("in_sample", ~every),
        split="test",
        evaluated=evaluated.get("evaluated", every),
        deviation=np.full(mean.shape, np.nan),
        raters=np.full(mean.shape, np.nan),
    )
    return stability(smooth_sequences(table, mean, variance, config), fused, table, on, config)


def noisy(rows: int, scale: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(0, scale, (rows, 2)), np.full((rows, 2), 0.01)


def test_frames_so_far_apart_that_nothing_is_smoothed_are_told(caplog: pytest.LogCaptureFixture) -> None:
    mean, variance = noisy(12)
    with caplog.at_level(logging.WARNING):
        out = smooth_sequences(frames(2.0), mean, variance, StabilizerConfig())
    np.testing.assert_allclose(out.mean, mean)
    assert "2 s apart" in caplog.text
    assert "--stabilizer.max-gap" in caplog.text


@pytest.mark.parametrize(("seconds", "config"), [(1 / 30, {}), (2.0, {"max_gap": 5.0}), (2.0, {"filter": "none"})])
def test_nothing_is_said_where_the_filter_works_or_is_not_wanted(
    seconds: float, config: dict, caplog: pytest.LogCaptureFixture
) -> None:
    smooth_sequences(frames(seconds), *noisy(12), StabilizerConfig(**config))
    assert not caplog.text


def test_an_interval_of_a_figure_that_cannot_be_negative_ends_at_zero() -> None:
    table = frames(1 / 30, sequences=2)
    mean, variance = noisy(24)
    mean[12:] *= 20
    found = measured(table, mean, variance)
    rows = {(row["system"], row["metric"]): row for row in found.to_pylist() if row["subset"] == "sequences"}
    jitter = rows["fused", "jitter"]
    assert jitter["ci_low"] == 0.0 < jitter["value"] < jitter["ci_high"]
    assert rows["smoothed", "jitter_reduction"]["value"] > 0


def test_sequences_of_other_splits_are_not_measured_and_those_fitted_on_stand_apart() -> None:
    table, first = frames(1 / 30, sequences=3), np.arange(36) < 12
    found = measured(table, *noisy(36), evaluated=np.arange(36) < 24, in_sample=first)
    rows = found.to_pylist()
    assert {row["subset"] for row in rows} == {"sequence:clip-0", "sequence:clip-1", "sequences"}
    assert {row["n_groups"] for row in rows if row["subset"] == "sequences"} == {1}
    assert {row["in_sample"] for row in rows if row["subset"] == "sequence:clip-0"} == {True}
    assert {row["in_sample"] for row in rows if row["subset"] == "sequence:clip-1"} == {False}


@pytest.mark.parametrize(("rate", "frames_to_90"), [(30.0, 70), (5.0, 12)])
def test_the_response_is_that_at_the_frame_rate_of_the_data(rate: float, frames_to_90: int) -> None:
    # An EMA of time constant 1 s is at 1 - exp(-t) after t seconds: nine tenths after 2.3 s.
    found = measured(frames(1 / rate), *noisy(12), StabilizerConfig(time_constant=1.0))
    assert {r["value"] for r in found.to_pylist() if r["metric"] == "response_time"} == {frames_to_90}


def test_the_response_is_that_of_measurements_as_sure_as_the_data() -> None:
    config = StabilizerConfig(uncertainty_threshold=0.02)
    found = measured(frames(1 / 30), *noisy(12), config)
    assert all(r["value"] < 10 for r in found.to_pylist() if r["metric"] == "response_time")


def test_no_interval_of_a_share_exceeds_one() -> None:
    mean, variance = noisy(24)
    mean[:12] *= 0.001
    mean[0] = 1.0
    found = measured(frames(1 / 30, sequences=2), mean, variance).to_pylist()
    shares = [r for r in found if r["subset"] == "sequences" and r["metric"] in ("jitter_reduction", "hold_rate")]
    assert all(row["ci_high"] <= 1 for row in shares)


def test_what_is_not_defined_is_null() -> None:
    found = measured(frames(1 / 30, sequences=3, count=1), *noisy(3))
    values = found.column("value").to_pylist()
    assert None in values
    assert all(value is None or np.isfinite(value) for value in values)


def test_frames_just_as_far_apart_as_allowed_are_smoothed(caplog: pytest.LogCaptureFixture) -> None:
    mean, variance = noisy(12)
    out = smooth_sequences(frames(1.0), mean, variance, StabilizerConfig(max_gap=1.0))
    assert np.abs(out.mean - mean).max() > 0.01
    assert not caplog.text
