"""Data sets as published become manifests: one file per format, one function each.

>>> from emofuse.datasets import CONVERTERS
>>> CONVERTERS["demo"]().table.num_rows
14
"""

from collections.abc import Callable

from emofuse.datasets import (
    afewva,
    affectnet,
    affwild2,
    csv,
    demo,
    emotic,
    findingemo,
    folder,
    hf,
    oasis,
    predictions,
    splits,
    veatic,
    videos,
)
from emofuse.datasets.base import Built, Origin, Report
from emofuse.datasets.deal import with_splits

CONVERTERS: dict[str, Callable[..., Built]] = {
    "demo": demo.build,
    "folder": folder.build,
    "csv": csv.build,
    "oasis": oasis.build,
    "findingemo": findingemo.build,
    "emotic": emotic.build,
    "affectnet": affectnet.build,
    "hf": hf.build,
    "videos": videos.build,
    "afewva": afewva.build,
    "affwild2": affwild2.build,
    "veatic": veatic.build,
    "predictions": predictions.build,
}
"""How a data set is called on the command line, and what makes its table."""

__all__ = ["CONVERTERS", "Built", "Origin", "Report", "splits", "with_splits"]
