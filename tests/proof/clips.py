#!/usr/bin/env python
"""Both development clips end to end, and the same frames one by one through `predict_and_fuse`.

    python tests/proof/clips.py --data DIR [--out DIR]

Prints frames in and rows out, the fused variance in each third of a clip, and the largest difference between the
batch job's rows and the frame-by-frame interface.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from emofuse.affect import AXES
from emofuse.config import ComputeConfig, EvaluationConfig, InferenceConfig
from emofuse.io import storage
from emofuse.io.video import read_frames
from emofuse.live import SceneFaceFusion
from tests.proof.pipeline import job


def difference(path: str, rows: list[dict], live: SceneFaceFusion) -> tuple[int, float]:  # type: ignore[type-arg]
    """Frames compared, and the largest difference of any estimate; rows in the order of the frames."""
    live.reset()
    worst, count = 0.0, 0
    for row, frame in zip(rows, read_frames(path), strict=True):
        seen = live.predict_and_fuse(frame.rgb[:, :, ::-1], frame.timestamp)
        pairs = []
        for i, axis in enumerate(AXES):
            for name, affect in (("fused", seen.raw), ("scene", seen.scene), ("face", seen.face)):
                pairs.append((affect.mean[i], row[f"{name}_{axis}"]))
                pairs.append((affect.variance[i], row[f"{name}_{axis}_variance"]))
            pairs.append((seen.fused.mean[i], row[f"smoothed_{axis}"]))
        mine, theirs = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
        if (np.isnan(mine) != np.isnan(theirs)).any():
            raise AssertionError(f"frame {row['frame_index']}: one way has an estimate that the other has not")
        worst, count = max(worst, float(np.nanmax(np.abs(mine - theirs)))), count + 1
    return count, worst


def main() -> None:
    """Both clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("runs/proof/clips"), help="where tables go")
    options = parser.parse_args()
    out = options.out.absolute()
    manifest = out / "clips.parquet"
    job("prepare_dataset", "videos", "--root", options.data.absolute() / "clips", "--out", manifest)
    job("eval_fusion", "--manifest", manifest, "--out", out / "run")
    fused = storage.read_table(str(out / "run" / "fused")).sort_by(
        [("sequence", "ascending"), ("frame_index", "ascending")]
    )
    print(f"{storage.read_table(str(manifest)).num_rows} frames in, {fused.num_rows} rows out")
    # One frame a call, as one has it in a loop; the batch job's shape would compute 32 for each.
    single = InferenceConfig(compute=ComputeConfig(batch_size=1, face_chunk=1))
    live = SceneFaceFusion.from_config(single, EvaluationConfig())
    rows = fused.to_pylist()
    for path in dict.fromkeys(row["uri"] for row in rows):
        mine = [row for row in rows if row["uri"] == path]
        variance = np.array([[row[f"fused_{axis}_variance"] for axis in AXES] for row in mine], dtype=float)
        thirds = [np.nanmedian(part, axis=0).round(3).tolist() for part in np.array_split(variance, 3)]
        faces = sum(row["face_valence"] is not None for row in mine)
        print(f"{Path(path).name}: {len(mine)} frames, {faces} with a face; variance by thirds {thirds}")
        began = time.perf_counter()
        count, worst = difference(path, mine, live)
        rate = count / (time.perf_counter() - began)
        print(f"{Path(path).name}: {count} frames one by one, {rate:.1f} a second, largest difference {worst:.2g}")


if __name__ == "__main__":
    main()
