"""The page holds what a run holds: counts, reasons, numbers and words, and nothing of it as code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.config import StatisticsConfig
from emofuse.errors import ConfigError, DataError
from emofuse.report import build_report
from emofuse.report.run_folder import headline_split, open_run
from emofuse.report.tables import decimal, interval, systems
from emofuse.tables import schema

pytestmark = pytest.mark.slow

VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Collects what the tests ask of a page, and that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def outline(path: Path) -> Outline:
    parsed = Outline()
    parsed.feed(path.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="module")
def page(run_dir: Path) -> Outline:
    return outline(build_report(run_dir))


def test_returns_the_page_in_the_run(run_dir: Path) -> None:
    assert build_report(str(run_dir)) == run_dir / "report.html"


def test_numbers_are_those_of_the_metrics(run_dir: Path, page: Outline) -> None:
    metrics = pq.read_table(run_dir / "metrics.parquet")
    for axis in ("valence", "arousal"):
        for row in systems(metrics, axis).rows:
            for cell in row.cells:
                if cell:
                    assert f"{decimal(cell.value)} {interval(cell.low, cell.high)}".strip() in page.words


def test_counts_and_every_reason(page: Outline) -> None:
    assert "150 rows in, 150 out" in page.words
    assert "file not found 1" in page.words
    assert "image is truncated 2" in page.words
    assert "image missing 2" in page.words


def test_stand_ins_are_named_wherever_labels_are(page: Outline) -> None:
    assert page.words.count("stand-ins, few, and for demonstration only") == 3
    assert "theme means of OASIS" in page.words


def test_nothing_is_loaded_from_elsewhere(page: Outline) -> None:
    sources = [a.get("src") or "" for tag in ("img", "script", "iframe") for a in page.all(tag)]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources if source)
    links = [a["href"] or "" for a in page.all("link") + page.all("a") if "href" in a]
    assert all(link.startswith(("#", "data:,")) for link in links)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)


def test_tables_and_figures_can_be_read_aloud(page: Outline) -> None:
    assert len(page.all("caption")) == sum(a.get("class") is not None for a in page.all("table"))
    assert all("scope" in a for a in page.all("th"))
    drawings = [a for a in page.all("div") if a.get("role") == "img"]
    assert len(drawings) >= 12
    assert all(a.get("aria-label") for a in drawings)
    assert all(a.get("alt") for a in page.all("img"))
    assert sum("Predicted against rated" in str(a["aria-label"]) for a in drawings) == 2


def test_ids_are_unique_and_references_resolve(page: Outline) -> None:
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.found:
        for name in ("href", "aria-labelledby"):
            target = attrs.get(name) or ""
            if name == "aria-labelledby" or target.startswith("#"):
                assert not target or target.lstrip("#") in ids
        clip = re.match(r"url\(#(.*)\)", attrs.get("clip-path") or "")
        assert clip is None or clip[1] in ids


def test_gallery_is_bounded_and_never_in_sample(run_dir: Path) -> None:
    parsed = outline(build_report(run_dir, config=StatisticsConfig(gallery=10)))
    cards = [a for a in parsed.all("li") if "card" in (a.get("class") or "")]
    assert len(cards) == 10
    run = open_run(run_dir)
    ids = np.array(run.fused.column("sample_id").to_pylist())
    inside = set(ids[~run.evaluated])
    shown = re.findall(r'<p class="note id">([^<]*)</p>', (run_dir / "report.html").read_text(encoding="utf-8"))
    assert len(shown) == 10
    assert not inside & set(shown)


def test_hostile_names_stay_text(make_run: Callable[..., Path], tmp_path: Path) -> None:
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>$x$ ${7*7} {{7*7}}'
    run = make_run(tmp_path, rows=24, frames=12, errors=1, names={0: hostile + "0", 1: hostile, 3: hostile + "3"})
    fused = pq.read_table(run / "fused")
    at = fused.schema.get_field_index("sequence")
    named = [hostile if name else None for name in fused.column("sequence").to_pylist()]
    pq.write_table(fused.set_column(at, "sequence", pa.array(named)), run / "fused" / "part-00000.parquet")
    facts = json.loads((run / "run.json").read_text())
    facts["dataset"]["title"] = hostile
    (run / "run.json").write_text(json.dumps(facts))
    parsed = outline(build_report(run))
    assert len(parsed.all("script")) == 1
    assert not any("onerror" in attrs or attrs.get("src") == "x" for _, attrs in parsed.found)
    assert parsed.words.count(hostile) >= 4


def test_images_that_are_gone_have_a_reason(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=20)
    shutil.rmtree(run / "images")
    parsed = outline(build_report(run))
    assert not parsed.all("img")
    assert "missing: no file at" in parsed.words


def test_run_without_labels(make_run: Callable[..., Path], tmp_path: Path) -> None:
    parsed = outline(build_report(make_run(tmp_path, rows=20, labels=False)))
    assert "No image of this split has both a label and an estimate" in parsed.words
    assert "Predicted against rated" not in parsed.words
    assert "Most uncertain" in parsed.words


@pytest.mark.parametrize("rows", [4, 5])
def test_next_to_nothing_still_makes_a_page(make_run: Callable[..., Path], tmp_path: Path, rows: int) -> None:
    assert "What may be concluded" in outline(build_report(make_run(tmp_path, rows=rows, errors=3))).words


def test_tables_alone_make_a_page(run_dir: Path, tmp_path: Path) -> None:
    """A calibration run has metrics and comparisons, and need not have a fused table."""
    for name in ("run.json", "metrics.parquet", "comparisons.parquet"):
        shutil.copy(run_dir / name, tmp_path / name)
    parsed = outline(build_report(tmp_path))
    assert "Fusion against scene alone" in parsed.words


def test_scene_only_is_said(make_run: Callable[..., Path], tmp_path: Path) -> None:
    parsed = outline(build_report(make_run(tmp_path, rows=40, face_gain=0.0)))
    assert parsed.words.count("scene only, not fusion") >= 2


@pytest.mark.slow
def test_ten_thousand_rows_are_aggregated(make_run: Callable[..., Path], tmp_path: Path) -> None:
    path = build_report(make_run(tmp_path, rows=10_000))
    assert path.stat().st_size < 4_000_000
    assert "images per cell" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_sweep_and_agreement_are_drawn_where_they_exist(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=200)
    rng = np.random.default_rng(0)
    alpha = np.repeat([0.5, 0.6, 0.7, 0.8], 25)
    surface = {"filter": ["ema", "kalman"] * 50, "alpha": alpha, "gain": rng.uniform(size=100)}
    surface |= {"objective": rng.uniform(size=100), "jitter": alpha / 9, "response_time": 4 - alpha}
    pq.write_table(pa.table(surface), run / "surface.parquet")
    before = pq.read_table(run / "fused").select(schema.PREDICTIONS.names)
    shifted = pa.array(before.column("face_valence").to_numpy() + 0.4, pa.float32(), from_pandas=True)
    before = before.set_column(before.schema.get_field_index("face_valence"), "face_valence", shifted)
    (run / "predictions").mkdir()
    pq.write_table(before, run / "predictions" / "part-0.parquet")
    words = [str(a.get("aria-label")) for a in outline(build_report(run)).all("div") if a.get("role") == "img"]
    assert sum("best objective" in word for word in words) == 3
    assert sum("none of its filter beats" in word for word in words) == 1
    biases = [
        float(m[1].replace("−", "-")) for w in words if (m := re.search(r"Valence \w+ calibration: bias ([+−.\d]+)", w))
    ]
    assert biases[0] - biases[1] == pytest.approx(0.4, abs=2e-3)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no run\.json"):
        build_report(tmp_path)
    (tmp_path / "run.json").write_text("{not json")
    with pytest.raises(ConfigError, match="not JSON"):
        build_report(tmp_path)


@pytest.mark.parametrize(
    ("splits", "headline"),
    [(["train", "test"], "test"), (["all", "valid"], "all"), (["train"], "train"), ([], "all")],
)
def test_headline_split(splits: list[str], headline: str) -> None:
    row = {
        "system": "fused",
        "in_sample": False,
        "subset": "all",
        "axis": "valence",
        "metric": "mae",
        "n": 1,
        "n_groups": 1,
    }
    metrics = pa.Table.from_pylist([{**row, "split": split} for split in splits], schema=schema.METRICS)
    assert headline_split(metrics) == headline


def test_sweep_alone_says_what_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"emofuse": "0.1.0", "fingerprints": {"tune": "ab" * 32}}))
    table = pa.table(
        {
            "filter": ["ema", "kalman", "ema"],
            "alpha": [0.7, None, 0.5],
            "objective": [0.1, 0.2, None],
            "chosen": [True, False, False],
        }
    )
    pq.write_table(table, tmp_path / "surface.parquet")
    parsed = outline(build_report(tmp_path))
    assert "Sweep of 3 configurations" in parsed.words
    assert "alpha 0.7 objective 0.1" in parsed.words
    assert "rows in" not in parsed.words
    assert "may be concluded" not in parsed.words


@pytest.mark.slow
def test_a_run_that_detected_no_faces_says_nothing_of_them(run_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    for file in (run / "fused").iterdir():
        table = pq.read_table(file)
        place = table.schema.get_field_index("face_count")
        pq.write_table(table.set_column(place, "face_count", pa.nulls(table.num_rows, pa.int32())), file)
    build_report(run)
    text = (run / "report.html").read_text()
    assert "with a face</dt>" not in text
    assert "read, with a face" not in text
    assert "Coverage of faces" not in text
    build_report(run_dir)
    assert "with a face</dt>" in (run_dir / "report.html").read_text()
