from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse import storage
from emofuse.columns import both
from emofuse.pipeline import benchmark
from emofuse.pipeline.events import read_events
from emofuse.pipeline.graph import build_graph, configure, write
from emofuse.pipeline.manifest import check_complete
from emofuse.pipeline.perceive_job import Job
from emofuse.pipeline.resources import Plan
from emofuse.pipeline.simulate import TimedExperts, estimates, simulated_stages
from emofuse.schema import MANIFEST, PREDICTIONS, conform


def manifest(path: Path, rows: int) -> str:
    ids = [f"row-{i:05d}" for i in range(rows)]
    table = conform(pa.table({"sample_id": ids, "uri": ids}), MANIFEST, "manifest")
    return benchmark.write_manifest(table, str(path))


def test_timed_experts_lose_and_double_nothing_through_ray(ray_cluster: object, tmp_path: Path) -> None:
    configure()
    width = Plan((2, 2), 1.0, 0.0, 0.25, 50)
    job = Job(manifest(tmp_path / "m.parquet", 500), str(tmp_path / "out"), None, width, {})  # type: ignore[arg-type]
    write(build_graph(job, None, simulated_stages(width, 0.001, 32)), job)
    assert check_complete(500, job.predictions) == {"in": 500, "out": 500, "no_face": 500}
    table = storage.read_table(job.predictions)
    np.testing.assert_allclose(both(table, "scene"), estimates(table.column("sample_id")), atol=1e-6)


def test_a_timed_expert_waits_for_every_batch_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("emofuse.pipeline.simulate.time.sleep", waits.append)
    ids = [f"{i}" for i in range(70)]
    out = TimedExperts(0.01, 32)(conform(pa.table({"sample_id": ids, "uri": ids}), MANIFEST, "manifest"))
    assert waits == [0.01] * 3
    assert out.schema.names == PREDICTIONS.names


def test_a_manifest_is_repeated_under_new_ids(demo_manifest: Path) -> None:
    table = benchmark.repeated(str(demo_manifest), 40)
    assert table.num_rows == 40
    assert len(table.column("sample_id").unique()) == 40
    assert len(table.column("uri").unique()) == 14


def notes(folder: Path, worker: int, entries: list[dict[str, float]]) -> None:
    (folder / f"{worker}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_the_steady_rate_charges_what_was_decoded_while_models_were_loaded(tmp_path: Path) -> None:
    notes(tmp_path, 1, [{"ready": 10.0, "loading": 3.0}, {"start": 10.0, "end": 20.0, "rows": 50}])
    notes(tmp_path, 2, [{"ready": 9.0, "loading": 2.0}, {"start": 10.0, "end": 20.0, "rows": 50}])
    plain = read_events(str(tmp_path))
    assert plain.steady_rate() == pytest.approx(100 / 10)
    assert plain.busy() == pytest.approx(1.0)
    assert plain.loading == {1: 3.0, 2: 2.0}
    # Four seconds of decoding ahead cost the two workers two seconds each.
    notes(tmp_path, 3, [{"start": 5.0, "end": 9.0, "rows": 0}])
    assert read_events(str(tmp_path)).steady_rate() == pytest.approx(100 / 12)


def test_the_figure_is_a_picture() -> None:
    found = [benchmark.Figure("pipeline, steady", w, 10.0 * w, "images/s") for w in (1, 2)]
    assert benchmark.draw(found)[:4] == b"\x89PNG"
