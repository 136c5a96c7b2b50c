from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken import broken_files, odd_files

from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig
from emofuse.errors import DataError
from emofuse.inference import sink
from emofuse.inference.manifest import check_complete, scan_manifest
from emofuse.inference.predictor import Predictor
from emofuse.io import storage
from emofuse.tables.columns import both
from emofuse.tables.schema import MANIFEST, PREDICTIONS, STATUSES, check_manifest, read_metadata

from .conftest import SMALL, write_manifest

Predict = Callable[..., pa.Table]
PIXELS = ("scene", "faces", "content")


def numbers(table: pa.Table) -> pa.Table:
    """The columns an image alone decides."""
    return table.select([n for n in PREDICTIONS.names if n not in ("uri", "group", "split")])


def test_one_row_in_one_row_out_in_the_form_of_the_schema(demo_manifest: Path, demo_local: pa.Table) -> None:
    manifest = pq.read_table(demo_manifest)
    assert sorted(manifest.column("sample_id").to_pylist()) == demo_local.column("sample_id").to_pylist()
    assert demo_local.schema.names == [*PREDICTIONS.names, "theme"]
    assert [f.type for f in demo_local.schema] == [*(f.type for f in PREDICTIONS), pa.string()]
    assert set(demo_local.column("status").to_pylist()) <= set(STATUSES)
    assert np.isfinite(both(demo_local, "scene")).all()
    assert (both(demo_local, "scene", "variance") > 0).all()
    experts = read_metadata(demo_local.schema)["experts"]
    assert set(experts) == {"scene", "face"}


def test_a_row_without_a_face_has_no_prediction_of_one(demo_local: pa.Table) -> None:
    found = np.array(demo_local.column("face_count").to_pylist()) > 0
    assert 0 < found.sum() < len(found)
    face = both(demo_local, "face")
    assert np.isfinite(face[found]).all()
    assert np.isnan(face[~found]).all()
    assert np.isnan(both(demo_local, "face", "variance")[~found]).all()
    status = np.array(demo_local.column("status").to_pylist())
    np.testing.assert_array_equal(status == "ok", found)


def test_boxes_lie_on_the_full_size_image(demo_local: pa.Table) -> None:
    for row in demo_local.to_pylist():
        if row["face_box"]:
            left, top, right, bottom = row["face_box"]
            assert -row["width"] * 0.2 < left < right < row["width"] * 1.2
            assert -row["height"] * 0.2 < top < bottom < row["height"] * 1.2


@pytest.mark.parametrize(("rows_per_block", "actors", "decode"), [(4, 3, "tasks"), (12, 1, "actors")])
def test_ray_gives_the_same_bits_as_one_process_for_any_blocks_order_and_actors(
    demo_manifest: Path,
    demo_local: pa.Table,
    predict: Predict,
    ray_cluster: object,
    tmp_path: Path,
    rows_per_block: int,
    actors: int,
    decode: str,
) -> None:
    table = pq.read_table(demo_manifest)
    order = np.random.default_rng(actors).permutation(table.num_rows)
    shuffled = tmp_path / "shuffled.parquet"
    pq.write_table(table.take(order), shuffled, row_group_size=5)
    config = InferenceConfig(compute=replace(SMALL, rows_per_block=rows_per_block, decode=decode))
    through_ray = predict(str(shuffled), tmp_path / "predictions", config, actors=actors)
    assert through_ray.equals(demo_local)
    files = storage.names(str(tmp_path / "predictions"))
    assert len(files) >= table.num_rows // rows_per_block


@pytest.mark.slow
def test_another_batch_shape_changes_the_last_digits_only(
    demo_manifest: Path, demo_local: pa.Table, predict: Predict, tmp_path: Path
) -> None:
    config = InferenceConfig(compute=ComputeConfig(batch_size=7, device="cpu", rows_per_block=7))
    other = predict(str(demo_manifest), tmp_path / "predictions", config)
    for name in ("scene", "face"):
        np.testing.assert_allclose(both(other, name), both(demo_local, name), atol=1e-5)
        np.testing.assert_allclose(both(other, name, "variance"), both(demo_local, name, "variance"), atol=1e-5)


def test_broken_files_leave_rows_with_reasons_and_the_good_rows_untouched(
    demo_manifest: Path, demo_local: pa.Table, predict: Predict, ray_cluster: object, tmp_path: Path
) -> None:
    broken = broken_files(tmp_path)
    odd = odd_files(tmp_path)
    good = pq.read_table(demo_manifest).to_pylist()
    bad = [{"sample_id": name, "uri": str(path)} for name, (path, _) in broken.items()]
    fine = [{"sample_id": name, "uri": str(path)} for name, path in odd.items()]
    mixed: list[dict[str, object]] = []
    for i in range(max(len(good), len(bad), len(fine))):
        mixed += [part[i] for part in (bad, good, fine) if i < len(part)]
    mixed.append({"sample_id": "no-address", "uri": None})
    assert len(broken) >= 12
    out = predict(write_manifest(tmp_path / "mixed.parquet", mixed), tmp_path / "out", actors=2)
    rows = {row["sample_id"]: row for row in out.to_pylist()}
    assert len(rows) == len(mixed) == out.num_rows
    for name, (_, kind) in broken.items():
        assert rows[name]["status"] == "error"
        assert rows[name]["error"].startswith(f"{kind}:"), rows[name]["error"]
        assert rows[name]["scene_valence"] is None
        assert rows[name]["scene_valence_variance"] is None
    assert rows["no-address"]["error"].startswith("no address")
    assert len({rows[name]["error"].split(":")[0] for name in broken}) >= 8
    for name in odd:
        assert rows[name]["status"] != "error", rows[name]["error"]
    assert numbers(out.filter(pa.compute.is_in(out["sample_id"], demo_local["sample_id"].combine_chunks()))).equals(
        numbers(demo_local)
    )


def test_a_run_goes_on_where_it_stopped_and_makes_nothing_twice(
    demo_manifest: Path, demo_local: pa.Table, predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "predictions"
    calls: list[int] = []
    whole = Predictor.__call__

    def breaks_at_third(self: Predictor, batch: pa.Table) -> pa.Table:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(batch.num_rows)
        return whole(self, batch)

    monkeypatch.setattr(Predictor, "__call__", breaks_at_third)
    with pytest.raises(KeyboardInterrupt):
        predict(str(demo_manifest), folder)
    committed = sink.committed_rows(str(folder))
    assert committed == sum(calls) == 8
    before = {name: (folder / name).stat().st_mtime_ns for name in storage.names(str(folder))}
    calls.clear()
    monkeypatch.setattr(Predictor, "__call__", lambda self, batch: calls.append(batch.num_rows) or whole(self, batch))
    resumed = predict(str(demo_manifest), folder)
    assert sum(calls) == demo_local.num_rows - committed
    assert resumed.equals(demo_local)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    calls.clear()
    assert predict(str(demo_manifest), folder).equals(demo_local)
    assert calls == []


def test_a_rerun_through_ray_of_what_is_done_writes_nothing(
    demo_manifest: Path, predict: Predict, ray_cluster: object, tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    first = predict(str(demo_manifest), folder)
    files = storage.names(str(folder))
    (folder / files[0]).unlink()
    again = predict(str(demo_manifest), folder, actors=1)
    assert again.equals(first)
    assert storage.names(str(folder)) == files


def test_without_a_face_expert_no_face_is_detected(demo_manifest: Path, predict: Predict, tmp_path: Path) -> None:
    config = InferenceConfig(compute=SMALL, face=FaceConfig(expert="none"))
    table = predict(str(demo_manifest), tmp_path / "out", config)
    assert set(table.column("status").to_pylist()) == {"ok"}
    assert table.column("face_count").null_count == table.num_rows


@pytest.mark.slow
def test_all_faces_of_a_image_are_evaluated_together(demo_manifest: Path, predict: Predict, tmp_path: Path) -> None:
    config = InferenceConfig(compute=SMALL, face=FaceConfig(faces="all", min_score=0.3))
    table = predict(str(demo_manifest), tmp_path / "out", config)
    several = np.array(table.column("face_count").to_pylist()) > 0
    assert np.isfinite(both(table, "face")[several]).all()


def test_lost_rows_are_noticed_and_repeated_ones_dropped(demo_local: pa.Table, tmp_path: Path) -> None:
    from emofuse.errors import DataError

    folder, rows = str(tmp_path), demo_local.num_rows
    sink.commit(folder, demo_local.slice(0, 5), {})
    with pytest.raises(DataError, match=f"{rows} rows in, 5 out"):
        check_complete(rows, folder)
    for part in (demo_local.slice(4), demo_local.slice(5), demo_local.slice(0, 4), demo_local.slice(4, 1)):
        sink.commit(folder, part, {"experts": "kept"})
    assert sink.committed_rows(folder) > rows
    assert check_complete(rows, folder)["out"] == rows
    whole = storage.read_table(folder).sort_by("sample_id")
    assert whole.equals(demo_local)
    assert sink.drop_repeats(folder) == 0
    with pytest.raises(DataError, match=f"{rows - 1} rows in, {rows} out"):
        check_complete(rows - 1, folder)


def test_repeats_are_dropped_whatever_files_hold_them(demo_local: pa.Table, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for trial in range(20):
        folder = str(tmp_path / str(trial))
        rows = demo_local.num_rows
        parts = [rng.choice(rows, rng.integers(1, rows), replace=False) for _ in range(5)] + [np.arange(rows)[::3]]
        for part in [*parts, np.setdiff1d(np.arange(rows), np.concatenate(parts))]:
            if len(part):
                sink.commit(folder, demo_local.take(part), {})
        assert check_complete(rows, folder)["out"] == rows
        assert storage.read_table(folder).sort_by("sample_id").equals(demo_local)


def test_ids_with_line_breaks_have_files_of_their_own(demo_local: pa.Table, tmp_path: Path) -> None:
    folder = str(tmp_path / "run" / "predictions")
    for ids in (["a\nb", "c"], ["a", "b\nc"]):
        sink.commit(folder, demo_local.slice(0, 2).set_column(0, "sample_id", pa.array(ids)), {})
    assert check_complete(4, folder)["out"] == 4


def test_nothing_is_added_to_a_run_that_another_job_has_finished(demo_local: pa.Table, tmp_path: Path) -> None:
    folder = str(tmp_path / "predictions")
    sink.commit(folder, demo_local.slice(0, 2), {})
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(DataError, match="another job has finished"):
        sink.commit(folder, demo_local.slice(2, 2), {})
    assert sink.committed_rows(folder) == 2


def test_a_table_with_lists_has_a_fingerprint(demo_local: pa.Table) -> None:
    marks = {
        sink.table_fingerprint(demo_local.append_column("tags", pa.array([tags] * demo_local.num_rows)))
        for tags in (["x"], ["y"], [])
    }
    assert len(marks) == 3
    with pytest.raises(DataError, match="lack sample_id"):
        sink.table_fingerprint(demo_local.drop_columns(["sample_id"]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"frame_index": -1}, "frame_index must not be negative; got -1"),
        ({"timestamp": float("inf")}, "timestamp must be seconds"),
        ({"timestamp": 1e300}, "timestamp must be seconds"),
    ],
)
def test_frames_and_times_that_cannot_be_are_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_manifest(pa.Table.from_pylist([{"sample_id": "a", "uri": "a.mp4", **row}], schema=MANIFEST))


def test_a_manifest_is_the_same_whatever_its_row_groups(demo_manifest: Path, tmp_path: Path) -> None:
    table = pq.read_table(demo_manifest)
    pq.write_table(table, tmp_path / "cut.parquet", row_group_size=3)
    first, second = scan_manifest(str(demo_manifest)), scan_manifest(str(tmp_path / "cut.parquet"))
    assert (first.rows, first.content) == (second.rows, second.content)
    pq.write_table(table.slice(1), tmp_path / "shorter.parquet")
    assert scan_manifest(str(tmp_path / "shorter.parquet")).content != first.content
