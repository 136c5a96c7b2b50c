"""The report: one self-contained HTML file from the tables of a run directory."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from emofuse.affect import AXES
from emofuse.config import MediaConfig, StatisticsConfig
from emofuse.io import storage
from emofuse.report import certainty, facts, figures, gallery, sequences, surface, tables, verdicts
from emofuse.report.run_folder import RunFolder, open_run
from emofuse.report.subgroups import subgroup_tables

EXPERT_NAMES = {"rated": "Rated", "scene": "Scene", "face": "Face", "fused": "Fused"}


def build_report(
    run_dir: str | Path, *, config: StatisticsConfig | None = None, media: MediaConfig | None = None
) -> Path:
    """Write `report.html` into a run directory.

    Args:
        run_dir: a run directory with run.json; tables that are absent leave their sections out.
        config: how many images the gallery holds, and the confidence of the intervals.
        media: how images are read for thumbnails; one that cannot be read gets a placeholder.

    Returns:
        The page's path (of a run elsewhere than on local disk: the last parts of its address).

    Raises:
        DataError: if the directory is no run, or a table in it is not what it should be.
    """
    run = open_run(run_dir)
    storage.write_bytes(run.run.report, render(run, config, media).encode("utf-8"))
    return Path(run.run.report)


def render(run: RunFolder, config: StatisticsConfig | None = None, media: MediaConfig | None = None) -> str:
    """The page as text; see `build_report`."""
    config = config or StatisticsConfig()
    # The content policy admits this one script by its hash: nothing in a name or path can run.
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        _environment()
        .get_template("page.html")
        .render(
            css=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            **_what(run),
            **_evaluation(run, config),
            **_drawn(run, media),
            gallery=gallery.gallery(run, config.gallery, media),
            orders={k: v for k, v in gallery.ORDERS.items() if k != "uncertain" or facts.varying_axes(run)},
            expert_names=EXPERT_NAMES | ({"rated": "Stand-in"} if run.dataset.get("demonstration") else {}),
        )
    )


def _what(run: RunFolder) -> dict[str, Any]:
    """What was run, on what, and the counts."""
    return {
        "title": facts.title(run),
        "has_rows": run.fused.num_rows > 0,
        "dataset": run.dataset,
        "stand_ins": tables.STAND_INS if run.dataset.get("demonstration") else "",
        "counts": facts.counts(run),
        "reasons": facts.reasons(run),
        "dropped": facts.dropped(run),
        "notes": facts.notes(run) + facts.fusion(run),
        "reasons_shown": facts.REASONS_SHOWN,
        "stages": facts.stages(run),
        "experts": facts.experts(run),
        "cards": {name: list(facts.flat(card)) for name, card in run.section("experts").items() if card},
        "weights": list(facts.flat(run.section("weights"))),
        "options": list(facts.flat(run.section("config"))),
        "provenance": facts.provenance(run),
        "dataset_facts": list(facts.flat({k: v for k, v in run.dataset.items() if k != "counts"})),
        "started": str(run.facts.get("started") or ""),
        "version": str(run.facts.get("emofuse") or ""),
    }


def _drawn(run: RunFolder, media: MediaConfig | None) -> dict[str, Any]:
    """Figures and sequences."""
    clips, in_all = sequences.clips(run, media)
    stability = [
        tables.systems(run.metrics, axis, subset="sequences", split=run.split, wanted=tables.STABILITY) for axis in AXES
    ]
    return {
        "plots": figures.plots(run),
        "certainty": certainty.plots(run),
        "sweep": surface.plots(run),
        "chosen": surface.chosen(run.surface),
        "clips": clips,
        "clips_in_all": in_all,
        "stability": [table for table in stability if table.rows],
    }


def _evaluation(run: RunFolder, config: StatisticsConfig) -> dict[str, Any]:
    """The tables, the verdicts and the sentences."""
    weight = verdicts.face_weights(run.fused, run.evaluated)
    blocks = {
        kind: [_block(run, subset, in_sample, wanted) for subset, in_sample in _cases(run)]
        for kind, wanted in (("accuracy", tables.ACCURACY), ("uncertainty", tables.UNCERTAINTY))
    }
    return {
        "split": run.split,
        "confidence": round(100 * config.confidence),
        "conclusions": verdicts.conclusions(run.metrics, run.comparisons, face_weight=weight, split=run.split),
        "blocks": {kind: [block for block in of if block["tables"]] for kind, of in blocks.items()},
        "declared": verdicts.declared(verdicts.compared(run.comparisons, split=run.split)),
        "families": verdicts.FAMILIES,
        "human": not set(tables.HUMAN).isdisjoint(run.metrics.column("system").to_pylist()),
        "comparisons": _explored(run),
        "subgroups": subgroup_tables(run.subgroups),
        "metric_name": tables.metric_name,
        "metric_help": tables.METRIC_HELP,
        "system_name": tables.system_name,
        "decimal": tables.decimal,
        "interval": tables.interval,
        "p_value": verdicts.p_value,
    }


def _explored(run: RunFolder) -> list[dict[str, Any]]:
    """The exploratory comparisons of each subset that has any."""
    made = []
    for subset, in_sample in _cases(run):
        found = verdicts.compared(run.comparisons, split=run.split, in_sample=in_sample)
        rows = [c for c in found if c.subset == subset and c.family == verdicts.EXPLORATORY]
        made.append({"name": tables.SUBSET_NAMES[subset], "in_sample": in_sample, "rows": rows})
    return [block for block in made if block["rows"]]


def _cases(run: RunFolder) -> list[tuple[str, bool]]:
    subsets = set(run.metrics.column("subset").to_pylist())
    ordered = [name for name in tables.SUBSET_NAMES if name in subsets]
    return [(name, in_sample) for in_sample in (False, True) for name in ordered if not (in_sample and name != "all")]


def _block(run: RunFolder, subset: str, in_sample: bool, wanted: tuple[str, ...]) -> dict[str, Any]:
    made = [
        tables.systems(run.metrics, axis, subset=subset, split=run.split, in_sample=in_sample, wanted=wanted)
        for axis in AXES
    ]
    return {
        "subset": subset,
        "name": tables.SUBSET_NAMES[subset],
        "in_sample": in_sample,
        "tables": [table for table in made if table.rows],
    }


def _asset(name: str) -> str:
    return resources.files("emofuse.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("emofuse.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    return environment
