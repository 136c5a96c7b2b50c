"""A backbone's features of a manifest's images: computed once, then read from Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from emofuse.affect import AXES
from emofuse.errors import DataError
from emofuse.experts.backbone import Backbone
from emofuse.io.images import MediaError, content_hash, read_bytes
from emofuse.io.storage import replacing
from emofuse.runs import run as runs
from emofuse.tables import schema
from emofuse.training.image_source import Box, FeatureSource, prepared

LAYOUT = 2
"""Of the cached tables; one of another layout is not read."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The rows of a manifest that could be read, with their features.

    Attributes:
        sample_id: str, (N,).
        uri: where the image lies, str, (N,).
        person: whose face of the image is meant, box or None, (N,).
        content_hash: sha256 of each image's file, str, (N,).
        group: str, (N,).
        split: str or None, (N,).
        labels: float64, (N, 2), reference scale; NaN where there is none.
        features: float32, (N, D).
        fingerprint: of images, backbone, weights and preprocessing: the key of the cache.
        cached: whether the features were read and not computed.
        left_out: reason → number of rows.
    """

    sample_id: np.ndarray
    uri: np.ndarray
    person: np.ndarray
    content_hash: np.ndarray
    group: np.ndarray
    split: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    fingerprint: str
    cached: bool
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.sample_id)

    def rows(self, chosen: np.ndarray) -> FeatureSet:
        """These rows only; a mask or indices."""
        names = ("sample_id", "uri", "person", "content_hash", "group", "split", "labels", "features")
        parts = {name: getattr(self, name)[chosen] for name in names}
        return FeatureSet(**parts, fingerprint=self.fingerprint, cached=self.cached, left_out=self.left_out)

    @property
    def keys(self) -> list[str]:
        """What `prepared` is asked for, one key a row; rows of the same part of an image have the same."""
        return [key_of(*one) for one in zip(self.content_hash, self.person, strict=True)]

    def parts(self) -> dict[str, tuple[str, Box | None]]:
        """Every distinct key with where it is found."""
        return dict(zip(self.keys, zip(self.uri, self.person, strict=True), strict=True))


def key_of(content: str, person: Box | None) -> str:
    """The key of an image, or of a person in it."""
    return content if person is None else f"{content} {person}"


def features_of(manifest: pa.Table, backbone: Backbone, source: FeatureSource, cache: Path) -> FeatureSet:
    """Features of every readable image of a manifest, from `cache` where they are there already.

    Args:
        manifest: of `schema.MANIFEST`; frames of videos are refused.
        backbone: computes the features, with the mean and standard deviation of the source's preprocessing.
        source: how images are read, cut and prepared.
        cache: folder of feature tables, one for each fingerprint.

    Raises:
        DataError: if no image can be read, or the manifest holds frames of videos.
    """
    manifest = schema.conform(manifest, schema.MANIFEST, "manifest", required=("uri",))
    if manifest.column("frame_index").null_count < manifest.num_rows:
        raise DataError("training takes images; this manifest holds frames of videos")
    uris = manifest.column("uri").to_pylist()
    hashes: list[str | None] = []
    left_out: dict[str, int] = {}
    for uri in uris:
        try:
            hashes.append(content_hash(read_bytes(uri or "", source.media)))
        except MediaError as error:
            hashes.append(None)
            left_out[error.kind] = left_out.get(error.kind, 0) + 1
    boxes = manifest.column("person_box").to_pylist()
    persons = [tuple(box) if box and source.cut == "face" else None for box in boxes]
    keys = [value and key_of(value, person) for value, person in zip(hashes, persons, strict=True)]
    key = _fingerprint([value for value in keys if value], backbone, source)
    path = cache / f"features-{key[:16]}.parquet"
    cached = path.is_file()
    if not cached:
        parts = {value: part for value, part in zip(keys, zip(uris, persons, strict=True), strict=True) if value}
        with replacing(path) as pending:
            pq.write_table(_compute(parts, backbone, source), pending)
    columns: dict[str, list[Any]] = {"person": persons, "content_hash": hashes}
    return _join(manifest, columns, keys, pq.read_table(path), key, cached, left_out)


def _fingerprint(keys: list[str], backbone: Backbone, source: FeatureSource) -> str:
    face = source.face if source.cut == "face" else None
    shape = (source.compute.batch_size, source.compute.dtype)
    return runs.fingerprint(
        LAYOUT, sorted(set(keys)), backbone.name, backbone.fingerprint(), source.preprocessing, source.cut, face, shape,
        source.media.max_pixels,
    )  # fmt: skip


def _compute(parts: dict[str, tuple[str, Box | None]], backbone: Backbone, source: FeatureSource) -> pa.Table:
    keys, reasons, rows = [], [], []
    images = prepared(parts, source)
    while chunk := list(islice(images, source.compute.batch_size)):
        usable = [image for _, image, _ in chunk if image is not None]
        features = iter(backbone_features(backbone, usable, source) if usable else [])
        for value, image, reason in chunk:
            keys.append(value)
            reasons.append(reason)
            rows.append(None if image is None else next(features))
    kind = pa.list_(pa.float32(), backbone.dimension)
    columns = {
        "key": pa.array(keys),
        "reason": pa.array(reasons, pa.string()),
        "features": pa.array(rows, kind),
    }
    return pa.table(columns)


def backbone_features(backbone: Backbone, images: list[np.ndarray], source: FeatureSource) -> np.ndarray:
    """Features float32 (n, D) of n prepared images, n at most the batch size; padded to the one batch shape."""
    size, batch = source.preprocessing.size, source.compute.batch_size
    full = np.zeros((batch, size, size, 3), np.uint8)
    full[: len(images)] = images
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        return backbone(torch.from_numpy(full).to(device)).float().cpu().numpy()[: len(images)]


def _join(
    manifest: pa.Table,
    columns: dict[str, list[Any]],
    keys: list[str | None],
    table: pa.Table,
    fingerprint: str,
    cached: bool,
    left_out: dict[str, int],
) -> FeatureSet:
    place = {value: i for i, value in enumerate(table.column("key").to_pylist())}
    reasons = table.column("reason").to_pylist()
    kept = [i for i, value in enumerate(keys) if value is not None and reasons[place[value]] is None]
    for value in keys:
        if value is not None and (reason := reasons[place[value]]) is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
    if not kept:
        raise DataError(f"no image of the manifest can be used: {left_out}")
    column = table.column("features").combine_chunks()
    width = column.type.list_size
    # flatten() leaves nulls out, so the place of a row is its place among those that have features
    flat = np.asarray(column.flatten(), dtype=np.float32).reshape(-1, width)
    order = {i: n for n, i in enumerate(j for j, reason in enumerate(reasons) if reason is None)}
    features = flat[[order[place[keys[i]]] for i in kept]]  # type: ignore[index]
    rows = manifest.take(kept)
    labels = np.stack([rows.column(axis).to_numpy().astype(np.float64) for axis in AXES], axis=1)
    text = {
        name: np.array(rows.column(name).to_pylist(), dtype=object) for name in ("sample_id", "uri", "group", "split")
    }
    # An array of tuples, not of two dimensions.
    given = {name: np.fromiter((values[i] for i in kept), object, len(kept)) for name, values in columns.items()}
    return FeatureSet(
        **text,
        **given,
        labels=labels,
        features=features,
        fingerprint=fingerprint,
        cached=cached,
        left_out=left_out,
    )
