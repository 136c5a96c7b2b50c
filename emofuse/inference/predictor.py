"""Both experts in one actor: decoded rows in, predictions out, one for one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES, Affect
from emofuse.config import InferenceConfig
from emofuse.experts.face.alignment import CROP_SIZE
from emofuse.experts.face.expert import combine_faces, make_face_expert
from emofuse.experts.head_expert import SceneExpert
from emofuse.inference.decode import EXTRA, Decoder, pixels
from emofuse.io.malloc import reuse_memory
from emofuse.tables.columns import floats
from emofuse.tables.extra import EXPRESSION
from emofuse.tables.schema import PREDICTIONS, conform


class Predictor:
    """Both experts in one place: decoded rows in, predictions out, one for one."""

    def __init__(self, config: InferenceConfig) -> None:
        import torch

        reuse_memory()
        torch.set_num_threads(config.compute.threads)
        self._config = config
        self._scene = SceneExpert(config.scene, config.compute, config.seed)
        self._face = (
            make_face_expert(config.face, config.compute, config.seed) if config.face.expert != "none" else None
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of `decode.DECODED` to rows of `schema.PREDICTIONS`, the user's own columns last."""
        columns = {name: batch.column(name) for name in batch.column_names if name in PREDICTIONS.names}
        size = self._scene.preprocessing.size
        images, rows = pixels(batch.column("scene"), (size, size, 3))
        scene = self._scene.launch(images)
        # Crops are prepared while a GPU is still at the scenes.
        face, expressions = self._faces(batch)
        columns |= _estimates("scene", batch.num_rows, rows, scene())
        columns |= _estimates("face", batch.num_rows, np.arange(batch.num_rows), face)
        columns["in_sample"] = self._in_sample(batch)
        columns["status"] = _status(batch, face_detection=self._face is not None)
        table = conform(pa.table(columns), PREDICTIONS, "predictions").select(PREDICTIONS.names)
        for name, values in expressions.items():
            table = table.append_column(EXPRESSION + name, floats(values))
        for name in batch.column_names:
            if name.startswith(EXTRA):
                table = table.append_column(name.removeprefix(EXTRA), batch.column(name))
        return table

    def _faces(self, batch: pa.Table) -> tuple[Affect, dict[str, np.ndarray]]:
        """One prediction a row, of its faces together, and the main face's expression probabilities by name."""
        out = Affect.missing((batch.num_rows, 2))
        if self._face is None:
            return out, {}
        crops, rows = pixels(batch.column("faces"), (CROP_SIZE, CROP_SIZE, 3))
        each, probabilities = self._face.evaluate(crops)
        named = self._face.expressions if self._config.face.expression else ()
        shown = np.full((batch.num_rows, len(named)), np.nan)
        for row, first in zip(*np.unique(rows, return_index=True), strict=True):
            mine = each[rows == row]
            areas = np.array(batch.column("face_areas")[int(row)].as_py())
            one = mine[0] if len(mine) == 1 else combine_faces(mine, areas)
            out.mean[row], out.variance[row], out.valid[row] = one.mean, one.variance, one.valid
            shown[row] = probabilities[first, : len(named)]
        return out, {name: shown[:, i] for i, name in enumerate(named)}

    def _in_sample(self, batch: pa.Table) -> pa.Array:
        hashes = batch.column("content").to_pylist()
        seen = np.zeros(len(hashes), dtype=bool)
        for expert in (self._scene, self._face):
            trained_on = getattr(expert, "in_sample", None)
            if trained_on is not None:
                seen |= trained_on(hashes)
        return pa.array(seen)


class DecodeAndPredict:
    """Decoding and both experts in one: manifest rows in, predictions out, one for one."""

    def __init__(self, config: InferenceConfig) -> None:
        self._decoder, self._predictor = Decoder(config), Predictor(config)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of the manifest to rows of `schema.PREDICTIONS`."""
        return self._predictor(self._decoder(batch))


def _estimates(expert: str, n: int, rows: np.ndarray, affect: Affect) -> dict[str, pa.Array]:
    mean, variance = np.full((n, 2), np.nan), np.full((n, 2), np.nan)
    mean[rows], variance[rows] = affect.mean, affect.variance
    columns = {}
    for i, axis in enumerate(AXES):
        columns[f"{expert}_{axis}"] = floats(mean[:, i])
        columns[f"{expert}_{axis}_variance"] = floats(variance[:, i])
    there, known = np.isfinite(mean).all(axis=1), np.isfinite(variance).all(axis=1)
    source = pa.array(np.where(known, "model", "none"), pa.string(), mask=~there)
    columns[f"{expert}_variance_source"] = source
    return columns


def _status(batch: pa.Table, *, face_detection: bool) -> pa.Array:
    failed = batch.column("error").is_valid().to_pylist()
    counts = batch.column("face_count").to_pylist()
    found = [not face_detection or bool(count) for count in counts]
    return pa.array(["error" if bad else "ok" if face else "no_face" for bad, face in zip(failed, found, strict=True)])
