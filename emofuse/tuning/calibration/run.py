"""Phase 1 from stored predictions to a run directory: sweep and fit on valid, evaluate on test once.

RUN/  run.json  calibration.json  layers.parquet  surface.parquet  predictions/  fused/  metrics.parquet
      comparisons.parquet  report.html  _SUCCESS
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from emofuse.affect import AXES
from emofuse.calibration import Calibration
from emofuse.config import CalibrationConfig, CalibrationSweepConfig, EvaluationConfig, FusionConfig, MediaConfig
from emofuse.errors import ConfigError, DataError
from emofuse.evaluation.checks import check_evaluation
from emofuse.evaluation.evaluate_table import EvaluationResult, evaluate_table
from emofuse.evaluation.rows import rows_sentence
from emofuse.fusion.select import chosen_fusion
from emofuse.inference import sink
from emofuse.inference.manifest import check_whole
from emofuse.inference.progress import timed
from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.report import build_report
from emofuse.report.terminal import summary_sentences, systems_table
from emofuse.runs import run as runs
from emofuse.runs.run import Run
from emofuse.tables.columns import group_names, rows_fingerprint, texts
from emofuse.tables.schema import PREDICTIONS, conform, read_metadata
from emofuse.tuning.calibration.choice import RULE
from emofuse.tuning.calibration.helped import helped, helped_sentences
from emofuse.tuning.calibration.losses import CrossValidationData, Layers
from emofuse.tuning.calibration.sweep import Swept, sweep

SPLIT = "valid"
FEW_GROUPS = 20
"""Below so many groups a sweep says that its choice is to be taken with care."""


@dataclass(frozen=True)
class CalibrationJob:
    """How a calibration is found, and how it is evaluated.

    Attributes:
        split: where it is fitted; anything but valid is refused.
        tune: sweep and choose; else `layers` and `fusion` are fitted as they are.
        options: what the sweep tries.
        layers: without a sweep, the corrections.
        fusion: without a sweep, the rule and gates.
        evaluation_config: as for the main job; its calibration is the one that is fitted here.
        media: how the report's gallery reads images.
        local: sweep in this process, without Ray.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.
        console: where the result is shown.
    """

    split: str = SPLIT
    tune: bool = True
    options: CalibrationSweepConfig = field(default_factory=CalibrationSweepConfig)
    layers: CalibrationConfig = field(default_factory=CalibrationConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    evaluation_config: EvaluationConfig = field(default_factory=EvaluationConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    local: bool = False
    address: str | None = None
    console: Console = field(default_factory=Console)

    def run(self, predictions: str, out: str) -> Run:
        """Fit, evaluate and write everything; a finished run is a no-op that says so.

        Args:
            predictions: a predictions table, or the predictions folder of a run, or the run's directory.
            out: the run directory of this calibration.

        Raises:
            ConfigError: if another split than valid is asked for, or the directory holds another run.
            DataError: if there is no such table, or no labelled rows of valid.
        """
        if self.split != SPLIT:
            raise ConfigError(
                f"a calibration is fitted on the valid split alone, not on {self.split!r}: "
                "on train the experts are overconfident, and test is read once"
            )
        check_evaluation(self.evaluation_config, None)
        address, origin = runs.predictions_of(storage.absolute(predictions))
        table = conform(storage.read_table(address), PREDICTIONS, "predictions").sort_by("sample_id")
        check_whole(table.num_rows, origin)
        _check_groups(table, self.split)
        run = Run(runs.check_output(out))
        record = {"config": {}, **run.open(self._marks(table, origin)), **runs.provenance()}
        if run.finished:
            return self._tell(run, "finished already; nothing was done")
        record |= {key: origin[key] for key in ("manifest", "dataset", "experts", "weights") if key in origin}
        record |= {"kind": "calibration", "predictions": address, "counts": sink.count_statuses(table)}
        asked: dict[str, Any] = (
            {"sweep": self.options} if self.tune else {"calibration": self.layers, "fusion": self.fusion}
        )
        asked["evaluate"] = self.evaluation_config
        record["config"] = {name: asdict(part) for name, part in asked.items()}
        calibration = self.fit(table, run, record)
        self._evaluate(table, calibration, run, record)
        run.commit()
        return self._tell(run, None)

    def fit(self, table: pa.Table, run: Run, record: dict[str, Any]) -> Calibration:
        """The calibration, fitted on all of valid with the layers, rule and gates that were chosen there.

        Args:
            table: of `schema.PREDICTIONS`.
            run: takes `layers.parquet`, `surface.parquet` and `calibration.json`.
            record: of the run; gets the sweep's facts and the choice.
        """
        sweep_data = CrossValidationData.of(
            table, self.split, folds=self.options.folds, seed=self.evaluation_config.seed
        )
        # Not before: a directory is claimed for a fit that can be made, or the corrected one would be refused.
        run.save(record)
        layers: CalibrationConfig | Layers = self.layers
        fusion = chosen_fusion(self.fusion, None)
        with timed(record, "fit", len(sweep_data)):
            if self.tune:
                where = None if self.local else run.address
                swept = sweep(sweep_data, self.options, storage_path=where, address=self.address)
                layers, fusion = swept.layers, swept.fusion
                storage.write_table(storage.join(run.address, "surface.parquet"), swept.surface)
                storage.write_table(storage.join(run.address, "layers.parquet"), swept.tried)
                record |= choice_record(swept)
            mark = rows_fingerprint(table, self.split)
            cards: Any = read_metadata(table.schema).get("experts")
            calibration = sweep_data.fit(slice(None), layers, fusion, fingerprint=mark, cards=cards)
        record["fitted_on"] = {name: value for name, value in asdict(calibration.fitted_on).items() if name != "ids"}
        run.save(record)
        return calibration

    def _evaluate(self, table: pa.Table, calibration: Calibration, run: Run, record: dict[str, Any]) -> None:
        """Evaluate with the stored calibration, as the main job would, and write tables and report."""
        with tempfile.TemporaryDirectory() as folder, timed(record, "evaluate", table.num_rows):
            path = Path(folder) / "calibration.json"
            calibration.save(path)
            record["config"]["evaluate"]["calibration"] = storage.join(run.address, path.name)
            storage.write_bytes(storage.join(run.address, path.name), path.read_bytes())
            evaluated: EvaluationResult = evaluate_table(table, replace(self.evaluation_config, calibration=str(path)))
        with timed(record, "helped", table.num_rows):
            objective = self.options.objective if self.tune else None
            statistics, seed = self.evaluation_config.statistics, self.evaluation_config.seed
            record["helped"] = helped(table, calibration.config, objective, statistics, seed)
        # The report shows the experts before and after, so the run keeps what they said before.
        storage.write_table(storage.join(run.predictions, "part-0.parquet"), table)
        evaluated.write(run)
        record |= {"split": evaluated.split, "rows": evaluated.rows}
        run.save(record)
        with timed(record, "report", table.num_rows):
            build_report(run.address, config=self.evaluation_config.statistics, media=self.media)
        run.save(record)

    def _marks(self, table: pa.Table, origin: dict[str, Any]) -> dict[str, str]:
        predict = origin.get("fingerprints", {}).get("predict") or sink.table_fingerprint(table)
        asked = (self.tune, self.options if self.tune else (self.layers, self.fusion))
        return {"predict": predict, "evaluate": runs.fingerprint(predict, asked, self.evaluation_config)}

    def _tell(self, run: Run, note: str | None) -> Run:
        metrics, comparisons = storage.read_table(run.metrics), storage.read_table(run.comparisons)
        record = run.load()
        lines = [*sweep_sentences(record), rows_sentence(record.get("rows", {}))]
        lines += summary_sentences(metrics, comparisons)
        if metrics.num_rows:
            self.console.print(systems_table(metrics))
        lines += helped_sentences(record.get("helped", []))
        lines += [f"{display_uri(run.address)}: {note}"] if note else []
        lines += [
            f"calibration: {display_uri(storage.join(run.address, 'calibration.json'))}",
            f"report: {display_uri(run.report)}",
        ]
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)
        return run


def _check_groups(table: pa.Table, split: str) -> None:
    """That no group is both fitted on and evaluated.

    Raises:
        DataError: naming one that is.
    """
    names, splits = group_names(table), texts(table, "split")
    shared = np.isin(names, names[splits == split]) & (splits != split)
    if shared.any():
        first, other = texts(table, "group")[shared][0], splits[shared][0] or "rows of no split"
        raise DataError(
            f"{split} and {other} share {len(np.unique(names[shared]))} group(s), first {first!r}; split by group anew"
        )


def choice_record(swept: Swept) -> dict[str, Any]:
    """For run.json: what was swept and what was chosen by which rule."""
    measured = swept.surface.slice(swept.chosen, 1).to_pylist()[0]
    shown = ("objective", "standard_error", "difference", "difference_error", "complexity")
    return {
        "sweep": swept.facts,
        "chosen": {
            "layers": {name: asdict(each) for name, each in swept.layers.items()},
            "fusion": asdict(swept.fusion),
            "measured": {name: measured[name] for name in shown},
            "rule": RULE,
        },
    }


def sweep_sentences(record: dict[str, Any]) -> list[str]:
    """What the sweep took and what was chosen, in words; none where there was no sweep."""
    if "sweep" not in record:
        return []
    facts, chosen = record["sweep"], record["chosen"]
    fusion, measured = chosen["fusion"], chosen["measured"]
    warning = f"only {facts['groups']} groups to choose on: the choice may be chance, its error bars are rough"
    gates = [f"{name} {fusion[name]:g}" for name in ("max_weight_ratio", "min_face_score", "max_face_std", "min_luma")
             if fusion[name] is not None]  # fmt: skip
    return [
        f"{facts['configurations']:,} configurations on {facts['rows']:,} rows of {facts['groups']:,} groups in "
        f"{facts['trials']} trials, {facts['seconds']:.1f} s ({facts['configurations_per_second']:,.0f} per second)",
        *[_layers_sentence(name, layers) for name, layers in chosen["layers"].items()],
        "chosen: " + ", ".join([fusion["method"].replace("_", " ") + " fusion", *gates]),
        f"{facts['objective']} {measured['objective']:.4f} ± {measured['standard_error']:.4f}, "
        f"{measured['difference']:.4f} ± {measured['difference_error']:.4f} above the best",
        *[warning] * (facts["groups"] < FEW_GROUPS),
    ]


def _layers_sentence(expert: str, layers: dict[str, Any]) -> str:
    """An expert's layers: of both axes at once where they are the same."""
    # run.json has a pair, valence and arousal, as a list.
    pairs = {name: list(each) if isinstance(each, list | tuple) else [each] * 2 for name, each in layers.items()}
    said = [
        f"{pairs['mean'][i]} mean ({pairs['loss'][i]}, l2 {pairs['l2'][i]:g}), {pairs['variance'][i]} variance"
        for i in range(len(AXES))
    ]
    if said[0] == said[1]:
        return f"chosen for {expert}: {said[0]}"
    return f"chosen for {expert}: " + "; ".join(f"{axis} {each}" for axis, each in zip(AXES, said, strict=True))
