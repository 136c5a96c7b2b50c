"""Every drawing has units, a finding in words, and colours that follow the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emofuse.report import certainty, figures, sequences
from emofuse.report.drawing import SCATTER_LIMIT, Panel, density, draw
from emofuse.report.run_folder import open_run

UNITS = ("reference", "−1 to 1", "0 to 1", "%", "(s)", "images", "frame")


@pytest.fixture(scope="module")
def panels(run_dir: Path) -> list[Panel]:
    run = open_run(run_dir)
    found = [panel for plot in figures.plots(run) + certainty.plots(run) for panel in plot.panels]
    return found + [panel for clip in sequences.clips(run)[0] for panel in clip.panels]


def texts(panel: Panel) -> list[str]:
    return [text.text or "" for text in ET.fromstring(panel.svg).iter() if text.tag.endswith("text")]


def test_both_axes_carry_units(panels: list[Panel]) -> None:
    for panel in panels:
        words = [text for text in texts(panel) if re.search("[a-z]", text)]
        named = [text for text in words if any(unit in text for unit in UNITS)]
        assert len(named) >= (1 if "Coverage of faces" in panel.alt else 2), words


def test_colours_are_the_page_s(panels: list[Panel]) -> None:
    for panel in panels:
        assert "var(--accent)" in panel.svg
        colours = set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{3,6})", panel.svg))
        assert colours == set()
        assert "<style" not in panel.svg
        assert "DejaVu" not in panel.svg


def test_alternative_text_says_the_finding(panels: list[Panel]) -> None:
    assert all(re.search(r"\d", panel.alt) and panel.alt.endswith(".") for panel in panels)
    assert len({panel.alt for panel in panels}) == len(panels)


def test_finding_of_predicted_against_rated() -> None:
    truth = np.linspace(-0.8, 0.8, 50)[:, None].repeat(2, axis=1)
    plot = figures.predicted_against_rated(truth, 0.5 * truth + 0.1)
    assert plot is not None
    error = np.abs(0.1 - 0.5 * truth[:, 0]).mean()
    assert f"50 images: correlation 1.00, mean absolute error {error:.3f}" in plot.panels[0].alt
    assert "standard deviation 0.24 against 0.47" in plot.panels[0].alt


def test_faces_are_counted(run_dir: Path) -> None:
    run = open_run(run_dir)
    plot = figures.faces(run)
    assert plot is not None
    status = run.fused.column("status").to_pylist()
    found, none, lost = (status.count(name) for name in ("ok", "no_face", "error"))
    assert f"{found} have a face ({100 * found / 150:.0f} %), {none} have none, {lost} could" in plot.panels[0].alt


@pytest.mark.parametrize(("n", "aggregated"), [(SCATTER_LIMIT, False), (SCATTER_LIMIT + 1, True), (200_000, True)])
def test_many_points_become_cells(n: int, aggregated: bool) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (2, n))
    largest = 0

    def paint(axes) -> str:
        nonlocal largest
        largest = density(axes, *points, (-1, 1, -1, 1))
        return "."

    panel = draw("many", paint)
    assert (largest > 0) is aggregated
    assert len(panel.svg) < 600_000


def test_cells_count_every_point() -> None:
    largest = 0

    def paint(axes) -> str:
        nonlocal largest
        x = np.concatenate([np.zeros(4000), np.full(7, 0.9)])
        largest = density(axes, x, x, (-1, 1, -1, 1))
        return "."

    draw("cells", paint)
    assert largest == 4000


def test_names_are_not_read_as_formulas() -> None:
    panel = draw("formula", lambda axes: str(axes.set_title("$x$ & <b>")))
    assert "$x$ & <b>" in texts(panel)
    assert "<b>" not in panel.svg


def test_without_faces_or_labels_figures_are_left_out(make_run: Callable[..., Path], tmp_path: Path) -> None:
    keys = {plot.key for plot in figures.plots(open_run(make_run(tmp_path, rows=12, labels=False, errors=12)))}
    assert keys == {"faces"}


def test_reliability_of_a_calibrated_and_an_overconfident_expert() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.2, (4000, 2))
    zero, fair = np.zeros_like(truth), np.full_like(truth, 0.04)
    alt = certainty.reliability(truth, {"scene": (zero, fair), "face": (zero, fair / 9)}).panels[0].alt
    scene, face = (int(x) for x in re.findall(r"(\d+) %(?=[ ,])", alt)[1:3])
    # 90 % of a normal distribution lie within 1.645 sigma, 41.6 % within a third of that; +- 3 standard errors.
    assert scene == pytest.approx(90, abs=2)
    assert face == pytest.approx(41.6, abs=3)


def test_trace_tells_the_steps_and_the_held_frames(run_dir: Path) -> None:
    run = open_run(run_dir)
    (clip,), in_all = sequences.clips(run)
    rows = run.fused.filter([name == "clip" for name in run.fused.column("sequence").to_pylist()]).to_pandas()
    raw, steady = (rows[f"{name}_valence"].diff().abs().mean() for name in ("fused", "smoothed"))
    assert in_all == 1
    assert f"{raw:.3f} raw and {steady:.3f} smoothed" in clip.panels[0].alt
    assert f"{int(rows.held_valence.sum())} frames held" in clip.panels[0].alt
    assert clip.frames[0].when == f"{rows.timestamp.min():.1f} s"
    assert len(clip.frames) == sequences.FRAMES
