"""A predictions table whose experts are wrong in a known way."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from emofuse.tables.columns import floats
from emofuse.tables.schema import PREDICTIONS, conform, with_metadata

SHIFT = {"scene": np.array([0.1, -0.05]), "face": np.array([-0.2, 0.1])}
SCALE = {"scene": np.array([0.8, 1.2]), "face": np.array([0.6, 0.5])}
"""The best straight line of the truth on an expert's mean is `SCALE * mean + SHIFT`."""
OVERCONFIDENCE = {"scene": 2.0, "face": 9.0}
"""True variance of the calibrated mean over the variance that is claimed for it."""
SCENE_SPREAD, SCENE_ERROR, FACE_SHARE = 0.45, 0.15, 0.7


def table(rows: int = 600, *, seed: int = 0, face: float = 0.7, variances: bool = True) -> pa.Table:
    """Predictions in thirds train, valid and test, ten rows to a group.

    Args:
        rows: how many.
        seed: of all that is drawn.
        face: share of rows with a face.
        variances: whether the experts claim any.
    """
    rng = np.random.default_rng(seed)
    place = np.arange(rows)
    seen = rng.random(rows) < face
    truth, right, variance = _right(rows, rng)
    columns = {
        "sample_id": pa.array([f"row-{i:05d}" for i in place]),
        "group": pa.array([f"group-{i // 10}" for i in place]),
        "split": pa.array([("train", "valid", "test")[(i // 10) % 3] for i in place]),
        "valence": floats(truth[:, 0]),
        "arousal": floats(truth[:, 1]),
        "in_sample": pa.array(np.zeros(rows, dtype=bool)),
        "luma": floats(rng.uniform(20, 200, rows)),
        "face_count": pa.array(seen.astype(np.int32)),
        "face_score": floats(np.where(seen, rng.uniform(0.5, 1, rows), np.nan)),
        "status": pa.array(np.where(seen, "ok", "no_face")),
    }
    for name, there in (("scene", np.ones(rows, dtype=bool)), ("face", seen)):
        mean = (right[name] - SHIFT[name]) / SCALE[name]
        # Calibrating the mean multiplies its variance by the square of the scale.
        claimed = variance[name] / OVERCONFIDENCE[name] / SCALE[name] ** 2
        for i, axis in enumerate(("valence", "arousal")):
            columns[f"{name}_{axis}"] = floats(np.where(there, mean[:, i], np.nan))
            columns[f"{name}_{axis}_variance"] = floats(np.where(there & variances, claimed[:, i], np.nan))
    made = conform(pa.table(columns), PREDICTIONS, "predictions")
    return with_metadata(made, experts={"scene": {"name": "made up"}, "face": {"name": "made up"}})


def _right(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Truth, and calibrated means with their true error variances: regression of the truth on them has slope 1."""
    scene = rng.uniform(-SCENE_SPREAD, SCENE_SPREAD, (rows, 2))
    of_scene = SCENE_ERROR**2 * rng.gamma(4, 0.25, (rows, 2))
    truth = np.clip(scene + rng.normal(size=(rows, 2)) * np.sqrt(of_scene), -1, 1)
    total = SCENE_SPREAD**2 / 3 + SCENE_ERROR**2
    noise = np.sqrt(FACE_SHARE * (1 - FACE_SHARE) * total)
    face = FACE_SHARE * truth + noise * rng.normal(size=(rows, 2))
    of_face = np.full((rows, 2), (1 - FACE_SHARE) * total)
    return truth, {"scene": scene, "face": face}, {"scene": of_scene, "face": of_face}
