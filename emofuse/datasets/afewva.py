"""AFEW-VA (Kossaifi et al. 2017): clips from films, rated frame by frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.errors import ConfigError, DataError
from emofuse.scales import SCALES

ORIGIN = Origin(
    name="afewva",
    title="AFEW-VA (Kossaifi, Tzimiropoulos, Todorovic & Pantic 2017)",
    scale=SCALES["afewva"],
    licence="non-commercial research only, on request from the authors",
)


def build(root: str, *, fps: float = 25.0, every: int = 1) -> Built:
    """AFEW-VA: 600 clips as folders of frames, -10 to 10; there is no mark for an unlabelled frame.

    Reads NNN/NNN.json with its frames NNN/00000.png …, at any depth (the set comes in twelve parts). A clip is a
    sequence; its group is its actor, so nobody is in two splits, or the clip where no actor is named. No splits
    are published.

    Args:
        root: The folder with the clips, or any address that fsspec opens.
        fps: Frames per second of the clips, which the set does not state; films run at 24 or 25.
        every: Take every k-th frame.

    Raises:
        ConfigError: if fps or every is not positive.
        DataError: if there is no clip, a file is not in the published form, or a rating is off the scale.
    """
    import pandas as pd

    if every < 1 or not fps > 0:
        raise ConfigError(f"fps and every must be positive; got {fps} and {every}")
    place = Root.open(root)
    rows = pd.DataFrame(row for path in _clips(place) for row in _frames(place, path))
    if rows.empty:
        raise DataError(f"no clip of AFEW-VA below {root}: looked for NNN/NNN.json")
    rows = rows[rows["frame"] % every == 0].reset_index(drop=True)
    # Images of their own have no index in a video; their times put them in order.
    rows["timestamp"] = rows["frame"] / fps
    report = Report(read=len(rows))
    return assemble(locate(rows, place, report), ORIGIN, place, report)


def _clips(root: Root) -> Iterator[str]:
    for path in root.sizes:
        parts = path.split("/")
        if len(parts) > 1 and parts[-1] == f"{parts[-2]}.json":
            yield path


def _frames(root: Root, path: str) -> Iterator[dict[str, Any]]:
    folder = path.rpartition("/")[0]
    clip = folder.rpartition("/")[2]
    try:
        about = json.loads(root.read_bytes(path))
        actor = str(about.get("actor") or "").strip()
        for frame, rated in about["frames"].items():
            yield {
                "path": _image(root, f"{folder}/{frame}"),
                "frame": int(frame),
                "sequence": clip,
                "group": actor or f"clip {clip}",
                **{axis: float(rated[axis]) for axis in AXES},
            }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not in the form of AFEW-VA: {type(error).__name__} {error}") from None


def _image(root: Root, stem: str) -> str:
    return next((stem + ending for ending in (".png", ".jpg") if stem + ending in root.sizes), f"{stem}.png")
