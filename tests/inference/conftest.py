"""Small manifests of real photographs, and a quick way to predict them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.config import ComputeConfig, InferenceConfig
from emofuse.inference.job import Job
from emofuse.inference.preflight import describe
from emofuse.inference.resources import local_plan, plan
from emofuse.inference.run import predict_local, predict_ray
from emofuse.io import storage
from emofuse.tables.schema import MANIFEST

SMALL = ComputeConfig(batch_size=4, device="cpu", rows_per_block=4)
DEFAULT = InferenceConfig(compute=SMALL)


def write_manifest(path: Path, rows: list[dict[str, object]]) -> str:
    """A manifest with the columns given, ids made of the addresses where there are none."""
    full = [{"sample_id": str(row["uri"]).rsplit("/", 1)[-1], **row} for row in rows]
    pq.write_table(pa.Table.from_pylist(full, schema=MANIFEST), path)
    return str(path)


@pytest.fixture(scope="session")
def predict() -> Callable[..., pa.Table]:
    """`predict(manifest, out, config, actors=…)`: predictions sorted by id; through Ray where actors are named."""

    def run(manifest: str, out: Path, config: InferenceConfig = DEFAULT, actors: int | None = None) -> pa.Table:
        rows = pq.ParquetFile(manifest).metadata.num_rows
        width = local_plan(config.compute, rows)
        if actors:
            from dataclasses import replace

            from emofuse.inference.ray_graph import configure

            configure()
            width = plan(replace(config.compute, actors=actors), {"CPU": 8.0}, rows)
        job = Job(manifest, str(out), config, width, {"experts": describe(config).cards})
        (predict_ray if actors else predict_local)(job)
        return storage.read_table(str(out)).sort_by("sample_id")

    return run


@pytest.fixture(scope="session")
def demo_local(
    demo_manifest: Path, predict: Callable[..., pa.Table], tmp_path_factory: pytest.TempPathFactory
) -> pa.Table:
    """Predictions of the demonstration photographs, predicted in this process."""
    return predict(str(demo_manifest), tmp_path_factory.mktemp("demo-local") / "predictions")
