from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest

from emofuse.config import StabilizerConfig
from emofuse.pipeline.sequences import stability, steady_sequences


def frames(seconds: float, sequences: int = 1, count: int = 12) -> pa.Table:
    rows = [(f"clip-{k}", i) for k in range(sequences) for i in range(count)]
    return pa.table({
        "sample_id": [f"{name}#{i}" for name, i in rows],
        "sequence": [name for name, _ in rows],
        "frame_index": [i for _, i in rows],
        "timestamp": [i * seconds for _, i in rows],
    })  # fmt: skip


def noisy(rows: int, scale: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(0, scale, (rows, 2)), np.full((rows, 2), 0.01)


def test_frames_so_far_apart_that_nothing_is_steadied_are_told(caplog: pytest.LogCaptureFixture) -> None:
    mean, variance = noisy(12)
    with caplog.at_level(logging.WARNING):
        out = steady_sequences(frames(2.0), mean, variance, StabilizerConfig())
    np.testing.assert_allclose(out.mean, mean)
    assert "2 s apart" in caplog.text
    assert "--stabilizer.max-gap" in caplog.text


@pytest.mark.parametrize(("seconds", "config"), [(1 / 30, {}), (2.0, {"max_gap": 5.0}), (2.0, {"filter": "none"})])
def test_nothing_is_said_where_the_filter_works_or_is_not_wanted(
    seconds: float, config: dict, caplog: pytest.LogCaptureFixture
) -> None:
    steady_sequences(frames(seconds), *noisy(12), StabilizerConfig(**config))
    assert not caplog.text


def test_an_interval_of_a_figure_that_cannot_be_negative_ends_at_zero() -> None:
    table = frames(1 / 30, sequences=2)
    mean, variance = noisy(24)
    mean[12:] *= 20
    found = stability(steady_sequences(table, mean, variance, StabilizerConfig()), mean, "test", StabilizerConfig())
    rows = {(row["system"], row["metric"]): row for row in found.to_pylist() if row["subset"] == "sequences"}
    jitter = rows["fused", "jitter"]
    assert jitter["ci_low"] == 0.0 < jitter["value"] < jitter["ci_high"]
    assert rows["steady", "jitter_reduction"]["value"] > 0
