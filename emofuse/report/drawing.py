"""Drawing of figures: one style, one accent colour, and SVG that follows the page's light or dark.

Figures are drawn in marker colours that become CSS variables, and their words stay text in
the page's own font: one drawing serves both schemes, prints sharply and can be read aloud.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from emofuse.affect import AXES

INK, MUTED, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", PAPER: "--paper"}
SCATTER_LIMIT = 1500
"""More points than this are drawn as counts in cells, which open quickly and do not overplot."""
PANEL = (3.5, 3.1)
WIDE = (9.0, 2.6)
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True)
class Panel:
    """One drawing: SVG to stand in the page as it is, and its alternative text."""

    svg: Markup
    alt: str


@dataclass(frozen=True)
class Plot:
    """A figure of the page: a title, its panels, and a caption that explains how to read them."""

    key: str
    title: str
    panels: tuple[Panel, ...]
    caption: str


def draw(key: str, paint: Callable[[Axes], str], size: tuple[float, float] = PANEL) -> Panel:
    """Paint one set of axes; `paint` returns the finding in words, which becomes the alternative text.

    Args:
        key: unique on the page; prefixes the drawing's ids.
        paint: draws on the axes it is given.
        size: width and height, inches.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": key}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        alt = paint(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Panel(Markup(_for_page(stream.getvalue(), key)), alt)


def _for_page(svg: str, key: str) -> str:
    """SVG text as an element of an HTML page: no prologue, ids of its own, the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    # A style element would hold for the whole page; page.css has what it says.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.S)
    svg = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = svg.replace("xlink:href", "href")
    for marker, variable in _VARIABLES.items():
        svg = svg.replace(marker, f"var({variable})")
    svg = re.sub(r"(font: [^;\"]*?\d(?:\.\d+)?px) [^;\"]+", r"\1 var(--sans)", svg)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", svg)
    svg = svg.replace("<text ", '<text fill="currentColor" ')
    return re.sub(r">\s+<", "><", svg)


def per_axis(key: str, paint: Callable[[int, Axes], str]) -> tuple[Panel, ...]:
    """One panel for valence and one for arousal; `paint` gets the axis's number before the axes to draw on."""
    return tuple(draw(f"{key}-{axis}", partial(paint, d)) for d, axis in enumerate(AXES))


def density(axes: Axes, x: np.ndarray, y: np.ndarray, extent: tuple[float, float, float, float]) -> int:
    """Points, or above `SCATTER_LIMIT` hexagons shaded by the logarithm of their count.

    Returns:
        The largest count of a hexagon, 0 where points were drawn.
    """
    if len(x) <= SCATTER_LIMIT:
        opacity = 0.8 if len(x) < 200 else 0.45
        axes.scatter(x, y, s=14 if len(x) < 200 else 8, c=ACCENT, alpha=opacity, linewidths=0, zorder=2)
        return 0
    shades = ListedColormap([(4 / 255, 4 / 255, 4 / 255, opacity) for opacity in np.linspace(0.15, 1.0, 24)])
    cells = axes.hexbin(x, y, gridsize=32, extent=extent, mincnt=1, bins="log", cmap=shades, linewidths=0, zorder=2)
    counts = np.asarray(cells.get_array())
    largest = round(float(counts.max())) if counts.size else 0
    where: dict[str, Any] = {
        "xy": (1, 1.02),
        "xycoords": "axes fraction",
        "ha": "right",
        "fontsize": 7.5,
        "color": MUTED,
    }
    axes.annotate(f"1 to {largest:,} images per cell", **where)
    return largest


def cells_note(largest: int) -> str:
    """How to read the shades of `density`, for an alternative text; empty where points were drawn."""
    return f" Shaded by the number of images in each cell, 1 to {largest:,}." if largest else ""


SYSTEM_LINES: dict[str, Any] = {
    "fused": {"color": ACCENT, "linestyle": "-", "linewidth": 1.8},
    "scene": {"color": INK, "linestyle": (0, (5, 2)), "linewidth": 1.2},
    "face": {"color": MUTED, "linestyle": (0, (1, 1.5)), "linewidth": 1.6},
}
"""The line style of each system, distinct without colour."""
