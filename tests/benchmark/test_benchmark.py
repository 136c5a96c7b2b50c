from __future__ import annotations

import json
import os
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from emofuse.benchmark import benchmark
from emofuse.benchmark.events import read_events
from emofuse.benchmark.simulate import TimedExperts, estimates, simulated_stages
from emofuse.config import InferenceConfig
from emofuse.inference.job import Job
from emofuse.inference.manifest import PART_ROWS, check_complete, manifest_blocks, manifest_parts
from emofuse.inference.ray_graph import actors, build_graph, configure, write
from emofuse.inference.resources import Plan
from emofuse.io import storage
from emofuse.tables.columns import both
from emofuse.tables.schema import MANIFEST, PREDICTIONS, conform


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


def test_timed_experts_begin_together_and_note_their_calls(ray_cluster: object, tmp_path: Path) -> None:
    configure()
    width = Plan((3, 3), 1.0, 0.0, 0.25, 50, separate_decode_stage=False)
    job = Job(manifest(tmp_path / "m.parquet", 900), str(tmp_path / "out"), None, width, {})  # type: ignore[arg-type]
    (tmp_path / "events").mkdir()
    write(build_graph(job, None, simulated_stages(width, 0.02, 10, str(tmp_path / "events"))), job)
    found = read_events(str(tmp_path / "events"))
    assert len(found.ready) == 3
    assert found.rows.sum() == 900
    assert found.start.min() >= max(found.ready.values())
    # Five waits a block: nobody is faster than three experts that never wait for anything else.
    assert 0 < found.steady_rate() <= 3 * 10 / 0.02


def test_a_timed_expert_waits_for_every_batch_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("emofuse.benchmark.simulate.time.sleep", waits.append)
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


def test_the_steady_rate_runs_from_the_last_first_call_to_the_first_last_call(tmp_path: Path) -> None:
    ready = {"ready": 10.0, "loading": 3.0}
    calls = [{"start": 10.0 + 10 * i, "end": 20.0 + 10 * i, "rows": 50} for i in range(3)]
    notes(tmp_path, 1, [ready, *calls])
    notes(tmp_path, 2, [ready, {"start": 12.0, "end": 22.0, "rows": 50}, {"start": 22.0, "end": 36.0, "rows": 70}])
    found = read_events(str(tmp_path))
    assert found.steady() == (22.0, 36.0)
    # Eight tenths of the first worker's second call, six of its third, and all of the other's second.
    assert found.steady_rate() == pytest.approx((40 + 30 + 70) / 14)
    assert found.busy() == pytest.approx(1.0)
    assert found.loading == {1: 3.0, 2: 3.0}


def test_the_steady_rate_charges_what_was_decoded_before_it_began(tmp_path: Path) -> None:
    calls = [{"start": 10.0 + 10 * i, "end": 20.0 + 10 * i, "rows": 50} for i in range(2)]
    for worker in (1, 2):
        notes(tmp_path, worker, [{"ready": 10.0, "loading": 3.0}, *calls])
    assert read_events(str(tmp_path)).steady_rate() == pytest.approx(100 / 10)
    # Four seconds of decoding ahead cost the two workers two seconds each.
    notes(tmp_path, 3, [{"start": 5.0, "end": 9.0, "rows": 0}])
    assert read_events(str(tmp_path)).steady_rate() == pytest.approx(100 / 12)


def test_plain_processes_and_the_pipeline_take_turns(demo_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    rates = iter([10.0, 20.0, 40.0])

    def plain(*_: object) -> float:
        turns.append("plain")
        return 20.0

    def piped(*_: object) -> list[benchmark.Figure]:
        turns.append("piped")
        return [benchmark.Figure("pipeline, steady", 2, next(rates), "images/s")]

    monkeypatch.setattr(benchmark, "plain", plain)
    monkeypatch.setattr(benchmark, "piped", piped)
    monkeypatch.setattr(benchmark, "serial", lambda *_, reuse: 16.0 if reuse else 10.0)
    monkeypatch.setattr("emofuse.inference.cluster.ray_cluster", lambda _: nullcontext({"CPU": 2.0}))
    found = {f.name: f.value for f in benchmark.compared(str(demo_manifest), InferenceConfig(), 2, 20, 3)}
    assert turns == ["plain", "piped"] * 3
    assert found["achieved / attainable"] == 1.0
    assert found["achieved / attainable, least of 3"] == 0.5
    assert found["achieved / attainable, most of 3"] == 2.0
    assert found["pipeline / one plain loop"] == 2.0
    assert found["pipeline / that loop, memory used again"] == 1.25


def test_the_figure_is_a_image() -> None:
    found = [benchmark.Figure("pipeline, steady", w, 10.0 * w, "images/s") for w in (1, 2)]
    shares = (("", 0.9), (benchmark.MIN + " of 3", 0.8), (benchmark.MAX + " of 3", 1.0))
    found += [benchmark.Figure(f"achieved{end}", 1, value, "share") for end, value in shares]
    assert benchmark.draw(found)[:4] == b"\x89PNG"


class Where:
    """Says on which thread it is called."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        main = threading.current_thread() is threading.main_thread()
        return batch.append_column("main", pa.array([main] * batch.num_rows))


def test_models_are_called_on_the_main_thread_where_freed_memory_is_used_again(ray_cluster: object) -> None:
    configure()
    ds = ray.data.range(4).map_batches(
        **actors(Where, (), (1, 1), 0.5, 0.0), batch_size=None, batch_format="pyarrow"
    )  # fmt: skip
    assert [row["main"] for row in ds.take_all()] == [True] * 4


def test_a_worker_with_one_call_has_no_steady_time(tmp_path: Path) -> None:
    for worker in (1, 2):
        notes(tmp_path, worker, [{"ready": 1.0, "loading": 1.0}, {"start": 1.0, "end": 2.0 + worker, "rows": 5}])
    found = read_events(str(tmp_path))
    assert np.isnan(found.steady_rate())
    assert np.isnan(found.busy())


def note_process(batch: pa.Table, folder: str) -> pa.Table:
    time.sleep(0.3)
    (Path(folder) / f"{os.getpid()}-{time.time_ns()}").touch()
    return batch


def test_decoding_that_asks_for_the_readers_share_is_still_done_side_by_side(
    ray_cluster: object, tmp_path: Path
) -> None:
    configure()
    width = Plan((1, 1), 0.0, 0.0, 1.0, 50)
    job = Job(manifest(tmp_path / "m.parquet", 600), str(tmp_path / "out"), None, width, {})  # type: ignore[arg-type]
    calls = tmp_path / "calls"
    calls.mkdir()
    decoding = {"fn": note_process, "fn_kwargs": {"folder": str(calls)}, "num_cpus": width.task_cpus}
    stages = replace(simulated_stages(width, 0.001, 32), decode=decoding)
    write(build_graph(job, None, stages), job)
    assert check_complete(600, job.predictions)["out"] == 600
    assert len(list(calls.iterdir())) == 12
    assert len({path.name.split("-")[0] for path in calls.iterdir()}) > 1


@pytest.mark.parametrize(("group", "parts"), [(1000, 3), (70_000, 3), (300_000, 1)])
def test_a_manifest_is_read_in_parts_of_whole_row_groups(tmp_path: Path, group: int, parts: int) -> None:
    rows = PART_ROWS * 2 + 20_000
    path = manifest(tmp_path / "m.parquet", rows)
    pq.write_table(pq.read_table(path), path, row_group_size=group)
    found = manifest_parts(path)
    assert len(found) == parts
    assert [i for part in found for i in part] == list(range(-(-rows // group)))
    ids = [i for part in found for block in manifest_blocks(path, 4096, part) for i in block["sample_id"].to_pylist()]
    assert ids == pq.read_table(path)["sample_id"].to_pylist()
