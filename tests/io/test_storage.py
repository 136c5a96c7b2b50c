"""Manifest, images and runs on S3, over HTTP, from a server that can be slow, refuse, throttle and go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from broken import encoded, scene
from s3_server import BUCKET, Server, error, failing

from emofuse.config import ComputeConfig, EvaluationConfig, InferenceConfig, MediaConfig, StatisticsConfig
from emofuse.errors import ConfigError, DataError
from emofuse.inference import sink
from emofuse.io import retry, storage
from emofuse.io.images import MediaError, read_bytes, read_image
from emofuse.tables.schema import MANIFEST

SECRET = "hunter2-secret-key"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with an empty bucket, found by the environment alone, as on a cluster."""
    server = Server()
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.3)
    monkeypatch.setattr(s3fs.S3FileSystem, "connect_timeout", 2)
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    server.requests.clear()
    yield server
    server.fault = None
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def put(name: str, data: bytes) -> str:
    """Store an object; its address."""
    boto3.client("s3").put_object(Bucket=BUCKET, Key=name, Body=data)
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def image(s3: Server) -> str:
    """A photograph-like JPEG in the bucket."""
    return put("images/a b+c%20é.jpg", encoded(scene(3), "JPEG"))


def test_a_image_is_read_whatever_its_name(s3: Server, image: str) -> None:
    np.testing.assert_array_equal(
        read_image(image).rgb, np.asarray(read_image(image, MediaConfig(root=f"s3://{BUCKET}/images")).rgb)
    )
    assert read_bytes("a b+c%20é.jpg", MediaConfig(root=f"s3://{BUCKET}/images"))
    with pytest.raises(MediaError, match="outside root"):
        read_bytes(f"s3://{BUCKET}/run.json", MediaConfig(root=f"s3://{BUCKET}/images"))


@pytest.mark.parametrize(
    "answer", [error("500 Internal Server Error", "InternalError"), error("503 Slow Down", "SlowDown")]
)
def test_errors_and_throttling_are_outlasted(s3: Server, image: str, answer: tuple[str, bytes]) -> None:
    s3.fault = failing(3, answer)
    assert read_image(image).width == 320


def test_retries_are_bounded_and_then_the_row_says_why(s3: Server, image: str) -> None:
    s3.fault = failing(10**6, error("500 Internal Server Error", "InternalError"))
    s3.requests.clear()
    began = time.monotonic()
    with pytest.raises(MediaError) as refused:
        read_image(image, MediaConfig(retries=1))
    assert refused.value.kind == "unreadable"
    assert len(s3.requests) < 40
    assert time.monotonic() - began < 20
    assert SECRET not in str(refused.value)


def test_a_missing_key_and_a_refusal_are_not_tried_again(s3: Server, image: str) -> None:
    with pytest.raises(MediaError, match="missing"):
        read_image(f"s3://{BUCKET}/none.jpg")
    s3.requests.clear()
    s3.fault = failing(10**6, error("403 Forbidden", "AccessDenied"))
    with pytest.raises(MediaError, match="not allowed"):
        read_image(image, MediaConfig(retries=5))
    assert len(s3.requests) < 6


def test_a_slow_server_is_waited_for_and_a_stuck_one_is_given_up(s3: Server, image: str) -> None:
    s3.fault = lambda environ: 0.5
    assert read_image(image).height == 240
    s3.fault = lambda environ: 30.0 if environ["REQUEST_METHOD"] == "GET" else None
    began = time.monotonic()
    with pytest.raises(MediaError, match="unreadable"):
        read_image(image, MediaConfig(retries=0))
    assert time.monotonic() - began < 25


def test_files_are_written_whole_or_not_at_all_and_written_again_after_a_fault(s3: Server) -> None:
    address = f"s3://{BUCKET}/run/predictions/part.bin"
    s3.fault = failing(3, error("503 Slow Down", "SlowDown"), method="PUT")
    storage.write_bytes(address, b"x" * 1000)
    assert storage.read_bytes(address) == b"x" * 1000
    s3.fault = failing(10**6, error("500 Internal Server Error", "InternalError"), method="PUT")
    with pytest.raises(DataError, match="cannot write s3://") as refused:
        storage.write_bytes(address, b"y")
    assert "\n" not in str(refused.value)
    s3.fault = None
    assert storage.read_bytes(address) == b"x" * 1000
    assert storage.names(f"s3://{BUCKET}/run/predictions") == ["part.bin"]
    storage.remove(address)
    storage.remove(address)
    assert storage.names(f"s3://{BUCKET}/run/predictions") == []


def test_a_server_that_goes_away_is_one_line_and_one_that_returns_is_no_matter(
    s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"sample_id": ["a", "b"]})
    name = sink.commit(f"s3://{BUCKET}/run/predictions", table, {})
    s3.stop()
    with monkeypatch.context() as once:
        once.setattr(storage, "RETRIES", 0)
        for action in (
            lambda: storage.read_table(f"s3://{BUCKET}/run/predictions"),
            lambda: storage.exists(f"s3://{BUCKET}/run/run.json"),
            lambda: storage.names(f"s3://{BUCKET}/run"),
            lambda: sink.commit(f"s3://{BUCKET}/run/predictions", table, {}),
        ):
            with pytest.raises(DataError, match=r"^cannot (reach|list|write) s3://") as refused:
                action()
            assert "\n" not in str(refused.value)
    back = threading.Timer(2.0, s3.start)
    back.start()
    assert sink.commit(f"s3://{BUCKET}/run/predictions", table, {}) == name
    assert storage.read_table(f"s3://{BUCKET}/run/predictions").num_rows == 2
    back.join()


def test_any_file_system_that_fsspec_opens_will_do() -> None:
    table = pa.table({"sample_id": ["b", "a"]})
    folder = "memory://somewhere/run/predictions"
    name = sink.commit(folder, table, {})
    assert sink.commit(folder, table, {}) == name
    assert storage.names(folder) == [name]
    assert sink.committed_rows(folder) == len(sink.committed_ids(folder)) == 2
    assert storage.read_table(folder).column("sample_id").to_pylist() == ["a", "b"]
    storage.remove(storage.join(folder, name))
    assert sink.committed_rows(folder) == 0


def test_what_is_not_there_or_not_served_is_one_line(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from emofuse.inference.manifest import scan_manifest

    with pytest.raises(DataError, match=f"no manifest at s3://{BUCKET}/none.parquet"):
        scan_manifest(f"s3://{BUCKET}/none.parquet")
    with pytest.raises(DataError, match="no manifest at s3://no-such-bucket"):
        scan_manifest("s3://no-such-bucket/none.parquet")
    with pytest.raises(DataError, match="cannot be read as a Parquet manifest"):
        scan_manifest(put("text.parquet", b"these are not the rows you are looking for"))
    with pytest.raises(ConfigError, match="cannot open gopher://"):
        scan_manifest("gopher://host/manifest.parquet")


@pytest.mark.slow
def test_a_whole_run_on_s3_with_a_image_that_stays_unreadable(
    s3: Server, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from emofuse.pipeline import evaluate

    good = [put(f"images/{i}.png", encoded(scene(i), "PNG")) for i in range(2)]
    stuck = put("images/stuck.png", encoded(scene(9), "PNG"))
    rows = [*good, image, stuck, f"s3://{BUCKET}/images/none.png"]
    labels = {"valence": 0.5, "arousal": -0.25, "split": "test"}
    table = pa.Table.from_pylist(
        [{"sample_id": str(i), "uri": uri, "group": str(i), **labels} for i, uri in enumerate(rows)], schema=MANIFEST
    )
    storage.write_table(f"s3://{BUCKET}/manifest.parquet", table)
    s3.fault = failing(10**6, error("500 Internal Server Error", "InternalError"), ending="stuck.png")
    inference_config = InferenceConfig(
        media=MediaConfig(retries=1), compute=ComputeConfig(batch_size=2, rows_per_block=2, device="cpu")
    )
    evaluation_config = EvaluationConfig(statistics=StatisticsConfig(gallery=5))
    options: dict[str, Any] = {"inference": inference_config, "evaluation": evaluation_config, "local": True}
    run = evaluate(f"s3://{BUCKET}/manifest.parquet", out=f"s3://{BUCKET}/runs/first", **options)
    assert run.finished
    assert run.load()["counts"]["out"] == len(rows)
    out = {row["sample_id"]: row for row in storage.read_table(run.predictions).to_pylist()}
    assert {key: row["status"] == "error" for key, row in out.items()} == dict(
        zip("01234", [False, False, False, True, True], strict=True)
    )
    assert out["3"]["error"].startswith("unreadable:")
    assert out["4"]["error"].startswith("missing:")
    assert b"<html" in storage.read_bytes(run.report)[:200].lower()
    told = capsys.readouterr()
    stored = storage.read_bytes(storage.join(run.address, "run.json")).decode()
    for text in (stored, told.out, told.err, storage.read_bytes(run.report).decode(), str(out)):
        assert SECRET not in text

    local = tmp_path / "local.parquet"
    pq.write_table(table.slice(0, 2), local)
    again = evaluate(str(local), out=str(tmp_path / "run"), **options)
    columns = ["sample_id", "scene_valence", "scene_arousal", "scene_valence_variance"]
    both = [storage.read_table(each.predictions).select(columns).sort_by("sample_id") for each in (run, again)]
    assert both[0].slice(0, 2).equals(both[1])


@pytest.mark.ray
def test_workers_on_ray_find_the_storage_by_the_same_environment(s3: Server, image: str) -> None:
    """In a cluster of its own: workers have the environment that their cluster was started with."""
    import subprocess
    import sys

    storage.write_table(
        f"s3://{BUCKET}/manifest.parquet",
        pa.Table.from_pylist([{"sample_id": "a", "uri": image, "group": "a"}], schema=MANIFEST),
    )
    root = Path(__file__).resolve().parents[2]
    options = ("--compute.batch-size", "1", "--compute.actors", "1", "--out", f"s3://{BUCKET}/runs/ray")
    done = subprocess.run(
        [sys.executable, "jobs/eval_fusion.py", "--manifest", f"s3://{BUCKET}/manifest.parquet", *options],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == f"report: s3://{BUCKET}/runs/ray/report.html"
    assert storage.read_table(f"s3://{BUCKET}/runs/ray/predictions").column("status").to_pylist() != ["error"]
    assert storage.exists(f"s3://{BUCKET}/runs/ray/_SUCCESS")
    assert SECRET not in done.stdout + done.stderr


def test_a_large_table_is_written_in_row_groups(tmp_path: Path) -> None:
    address = str(tmp_path / "large.parquet")
    storage.write_table(address, pa.table({"n": range(storage.ROW_GROUP + 1)}))
    assert pq.ParquetFile(address).num_row_groups == 2


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "table.bin"
    with storage.replacing(target) as pending:
        pending.write_bytes(b"one")
        assert storage.names(str(target.parent)) == [], "a reader passes over what is not done"
    for stops in (RuntimeError, KeyboardInterrupt):
        with suppress(stops), storage.replacing(target) as pending:
            pending.write_bytes(b"half")
            raise stops
    with pytest.raises(DataError, match=r"cannot write .*table.bin: No space left"), storage.replacing(target):
        raise OSError(28, "No space left on device")
    assert target.read_bytes() == b"one"
    assert [path.name for path in target.parent.iterdir()] == ["table.bin"]
