"""Sequences: traces of the raw and the smoothed estimates beside frames of the clip."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes

from emofuse.affect import AXES
from emofuse.config import MediaConfig
from emofuse.report.drawing import ACCENT, INK, MUTED, WIDE, Panel, draw
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal
from emofuse.report.thumbnails import thumbnails
from emofuse.tables.columns import both, column, texts

SHOWN = 6
FRAMES = 8
POINTS = 1500
"""A trace is drawn with at most so many points."""


@dataclass(frozen=True)
class Frame:
    """A frame beside the traces: its time, and its image or why there is none."""

    when: str
    image: str
    problem: str


@dataclass(frozen=True)
class Clip:
    """One sequence of the page."""

    name: str
    note: str
    panels: tuple[Panel, ...]
    frames: tuple[Frame, ...]


def clips(run: RunFolder, media: MediaConfig | None = None) -> tuple[list[Clip], int]:
    """The longest sequences of a run, and how many it has in all."""
    names = texts(run.fused, "sequence")
    lengths = Counter(name for name in names if name is not None)
    chosen = [run.fused.filter(names == name) for name, _ in lengths.most_common(SHOWN)]
    return [_clip(f"trace-{k}", table, media or MediaConfig()) for k, table in enumerate(chosen)], len(lengths)


def _clip(key: str, rows: pa.Table, media: MediaConfig) -> Clip:
    rows = rows.sort_by([("frame_index", "ascending"), ("timestamp", "ascending")])
    time, unit = _clock(rows)
    panels = tuple(_trace(f"{key}-{axis}", rows, time, unit, d) for d, axis in enumerate(AXES))
    at = np.unique(np.linspace(0, rows.num_rows - 1, FRAMES).round().astype(int))
    images = thumbnails(rows.take(at).to_pylist(), media)
    digits = 1 if unit == "s" else 0
    frames = tuple(
        Frame(f"{decimal(float(time[i]), digits)} {unit}", *image) for i, image in zip(at, images, strict=True)
    )
    faces = int((column(rows, "face_count") > 0).sum())
    note = f"{rows.num_rows:,} frames, {faces:,} with a face"
    return Clip(str(rows.column("sequence")[0].as_py()), note, panels, frames)


def _clock(rows: pa.Table) -> tuple[np.ndarray, str]:
    """Seconds where every frame has a time, else frame numbers."""
    time = column(rows, "timestamp")
    if np.isfinite(time).all():
        return time, "s"
    frame = column(rows, "frame_index")
    return (frame if np.isfinite(frame).all() else np.arange(rows.num_rows, dtype=np.float64)), "frame"


def _trace(key: str, rows: pa.Table, time: np.ndarray, unit: str, d: int) -> Panel:
    axis = AXES[d]
    raw, steady, truth = (both(rows, name)[:, d] for name in ("fused", "smoothed", ""))
    deviation = np.sqrt(both(rows, "fused", "variance")[:, d])
    held = column(rows, f"held_{axis}") == 1

    def paint(axes: Axes) -> str:
        some = slice(None, None, max(1, len(time) // POINTS))
        band: dict[str, Any] = {"color": MUTED, "alpha": 0.16, "linewidth": 0, "label": "fusion ± standard deviation"}
        axes.fill_between(time[some], (raw - deviation)[some], (raw + deviation)[some], **band)
        axes.plot(time[some], raw[some], color=MUTED, linewidth=0.8, label="fusion")
        axes.plot(time[some], steady[some], color=ACCENT, linewidth=1.8, label="smoothed")
        if np.isfinite(truth).any():
            axes.plot(time[some], truth[some], color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), label="rated")
        if held.any():
            axes.plot(time[held], np.full(held.sum(), -1.0), "|", color=INK, markersize=7, label="held", zorder=4)
        seconds = "time (s)" if unit == "s" else "frame"
        axes.set(xlim=(time.min(), max(time.max(), time.min() + 1e-6)), ylim=(-1.05, 1.05), xlabel=seconds)
        axes.set(ylabel=f"{axis} (−1 to 1)")
        axes.legend(loc="upper left", ncols=5, bbox_to_anchor=(0.0, 1.16), borderaxespad=0)
        return _finding(axis, raw, steady, held)

    return draw(key, paint, WIDE)


def _finding(axis: str, raw: np.ndarray, steady: np.ndarray, held: np.ndarray) -> str:
    before, after = (
        float(np.nanmean(np.abs(np.diff(x)))) if np.isfinite(x).sum() > 1 else np.nan for x in (raw, steady)
    )
    change = 100 * (1 - after / before) if before > 0 else np.nan
    return (
        f"Trace of {axis} over {len(raw):,} frames: the mean step per frame is {decimal(before)} raw and "
        f"{decimal(after)} smoothed ({decimal(change, 0)} % less); {int(held.sum()):,} frames held."
    )
