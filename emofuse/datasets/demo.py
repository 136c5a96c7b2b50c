"""A few photographs that scikit-image and matplotlib install: data for a first run anywhere."""

from __future__ import annotations

from pathlib import Path

from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.scales import SCALES
from emofuse.tables import schema

LABEL_NOTE = (
    "Demonstration only: these few labels are stand-ins, the mean ratings of an OASIS theme of the same subject "
    "(Kurdi, Lozano & Banaji 2017), not ratings of these photographs."
)
ORIGIN = Origin(
    name="demo",
    title="Photographs installed with scikit-image and matplotlib",
    scale=SCALES["oasis"],
    licence="see the README.txt and LICENSE files of scikit-image and matplotlib; mostly public domain",
)
# The OASIS theme that stands in, with its mean rating of valence and arousal, 1-7.
_STAND_INS = {
    "skimage/data/astronaut.png": ("Astronaut", 5.43, 4.12),
    "skimage/data/chelsea.png": ("Cat", 5.31, 3.88),
    "skimage/data/coffee.png": ("Coffee", 5.55, 3.80),
    "skimage/data/moon.png": ("Moon", 5.27, 3.61),
    "skimage/data/hubble_deep_field.jpg": ("Galaxy", 5.60, 4.33),
    "skimage/data/grass.png": ("Grass", 5.02, 2.36),
    "skimage/data/brick.png": ("Bricks", 4.16, 1.81),
    "skimage/data/coins.png": ("Money", 4.96, 3.68),
    "skimage/data/gravel.png": ("Rocks", 4.40, 2.12),
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": ("Neutral face", 4.40, 2.63),
}
_UNLABELLED = (
    "skimage/data/camera.png",
    "skimage/data/clock_motion.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/rocket.jpg",
)


def build() -> Built:
    """Photographs installed with scikit-image and matplotlib; needs no files of yours.

    Ten of them carry stand-in labels, for demonstration only. They are too few for splits: all are evaluated.

    Raises:
        DataError: if neither package has brought its photographs along.
    """
    import matplotlib
    import pandas as pd
    import skimage

    # The two packages need not lie in one folder, so a path begins with its package's name.
    homes = {module.__name__: Path(str(module.__file__)).resolve().parent.parent for module in (skimage, matplotlib)}
    listed = pd.DataFrame({"path": [*_STAND_INS, *_UNLABELLED]})
    nothing = (None, float("nan"), float("nan"))
    for position, column in enumerate(("theme", "valence", "arousal")):
        listed[column] = [_STAND_INS.get(path, nothing)[position] for path in listed["path"]]
    files = {path: homes[path.split("/")[0]] / path for path in listed["path"]}
    root = Root.of(files, address=" and ".join(sorted({str(home) for home in homes.values()})))
    report = Report(read=len(listed))
    built = assemble(locate(listed, root, report), ORIGIN, root, report)
    report.notes.append(LABEL_NOTE)
    return Built(schema.with_metadata(built.table, demonstration=True, label_note=LABEL_NOTE), report)
