"""The main path: a manifest of images becomes a run directory with predictions, metrics and a report.

evaluate      look at manifest and options → predict what is not stored yet → evaluate → report → commit
predict       the first half alone: the predictions
re_evaluate   the second half alone, from stored predictions, without any image
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from rich.console import Console

from emofuse.calibration import Calibration
from emofuse.config import EvaluationConfig, InferenceConfig
from emofuse.errors import ConfigError
from emofuse.evaluation.checks import check_evaluation
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.evaluation.rows import check_split, rows_sentence
from emofuse.evaluation.subgroups import check_columns
from emofuse.experts.device import device_of
from emofuse.experts.face.detectors import detects_with_torch
from emofuse.inference import sink
from emofuse.inference.cluster import cluster_address, joined, ray_cluster
from emofuse.inference.job import Job
from emofuse.inference.manifest import ManifestSummary, check_complete, check_whole, scan_manifest
from emofuse.inference.preflight import Experts, describe
from emofuse.inference.progress import timed, watch
from emofuse.inference.resources import local_plan, plan
from emofuse.inference.run import predict_local, predict_ray, resolved
from emofuse.io import storage
from emofuse.io.addresses import display_uri, printable
from emofuse.report import build_report
from emofuse.report.terminal import overview
from emofuse.runs import run as runs
from emofuse.runs.run import Run
from emofuse.tables.schema import PREDICTIONS, STATUSES, conform, read_metadata


def evaluate(
    manifest: str | None = None,
    *,
    out: str | None = None,
    inference: InferenceConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    local: bool = False,
    address: str | None = None,
    console: Console | None = None,
) -> Run:
    """Predict a manifest, as far as that is not done yet, and evaluate it.

    The same call again goes on where it stopped, and a finished run is left as it is.

    Args:
        manifest: address of a Parquet manifest; None takes the demonstration photographs.
        out: the run directory; None names one below the folder of runs, after data and options.
        inference: the options that can change a prediction.
        evaluation: the options that can change only the evaluation.
        local: in this process, without Ray: the same numbers.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.
        console: where progress and the table of systems are shown; by default standard output.

    Raises:
        DataError: if the manifest is not one, or rows were lost.
        ConfigError: if an option cannot be served, or the directory holds another run.
        CheckpointError: if weights are missing or wrong.
    """
    evaluation, console = evaluation or EvaluationConfig(), console or Console()
    job = _InferenceJob.of(manifest, out, inference or InferenceConfig(), local, address)
    check_split(job.found.splits, evaluation.split)
    check_columns(pa.unify_schemas([job.found.columns, PREDICTIONS]), evaluation.by)
    calibration = _calibration_for(evaluation, job.experts.cards)
    with job.cluster() as cluster:
        config = resolved(job.config, cluster)
        run, record = _open(job.fingerprint(config), job.name, out, console, evaluation)
        if not run.finished:
            job.predict(run, record, config, console)
    if run.finished:
        return _tell(run, console, f"{display_uri(run.address)} is finished already; nothing was done")
    table = storage.read_table(run.predictions)
    return _evaluate(run, record, table, evaluation, calibration, job.config, console)


def predict(
    manifest: str | None = None,
    *,
    out: str | None = None,
    inference: InferenceConfig | None = None,
    local: bool = False,
    address: str | None = None,
    console: Console | None = None,
) -> pa.Table:
    """Predict a manifest, as far as that is not done yet; `evaluate` with the same `out` takes it from there.

    Args:
        manifest: address of a Parquet manifest; None takes the demonstration photographs.
        out: the run directory; None names one below the folder of runs, after data and options.
        inference: the options.
        local: in this process, without Ray: the same numbers.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.
        console: where progress is shown; by default standard output.

    Returns:
        One row for each row of the manifest, in the order they were committed: both experts' means and variances.

    Raises:
        DataError: if the manifest is not one, or rows were lost.
        ConfigError: if an option cannot be served, or the directory holds another run.
        CheckpointError: if weights are missing or wrong.
    """
    console = console or Console()
    job = _InferenceJob.of(manifest, out, inference or InferenceConfig(), local, address)
    with job.cluster() as cluster:
        config = resolved(job.config, cluster)
        run, record = _open(job.fingerprint(config), job.name, out, console)
        if not run.finished:
            job.predict(run, record, config, console)
    return run.read_predictions()


def re_evaluate(
    predictions: str,
    *,
    out: str | None = None,
    inference: InferenceConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    console: Console | None = None,
) -> Run:
    """Evaluate stored predictions anew, without any image.

    Args:
        predictions: a file, the predictions folder of a run, or the run's directory.
        out: the run directory; None names one below the folder of runs, after data and options.
        inference: its `media` says how the report's gallery reads images.
        evaluation: the options.
        console: where the table of systems is shown; by default standard output.

    Raises:
        DataError: if it is no predictions table.
        ConfigError: if an option cannot be served, or the directory holds another run.
    """
    evaluation, console = evaluation or EvaluationConfig(), console or Console()
    if out is not None:
        runs.check_output(out)
    predictions, origin = runs.predictions_of(storage.absolute(predictions))
    table = conform(storage.read_table(predictions), PREDICTIONS, "predictions")
    check_whole(table.num_rows, origin)
    check_columns(table.schema, evaluation.by)
    cards: Any = read_metadata(table.schema).get("experts") or {}
    calibration = _calibration_for(evaluation, cards)
    mark = origin.get("fingerprints", {}).get("predict") or sink.table_fingerprint(table)
    name = storage.stem(storage.parent(predictions) if origin else predictions)
    run, record = _open(mark, name, out, console, evaluation)
    if run.finished:
        return _tell(run, console, f"{display_uri(run.address)} is finished already; nothing was done")
    record |= {key: origin[key] for key in ("manifest", "dataset", "experts", "weights") if key in origin}
    record |= {"predictions": predictions, "counts": sink.count_statuses(table)}
    return _evaluate(run, record, table, evaluation, calibration, inference or InferenceConfig(), console)


@dataclass(frozen=True)
class _InferenceJob:
    """What is to be predicted, by which experts, and where: all that can be looked at before a cluster is joined."""

    manifest: str
    found: ManifestSummary
    experts: Experts
    config: InferenceConfig
    local: bool
    address: str | None

    @classmethod
    def of(
        cls, manifest: str | None, out: str | None, config: InferenceConfig, local: bool, address: str | None
    ) -> _InferenceJob:
        if local and address:
            raise ConfigError("local runs in this process and address names a Ray cluster: give one of them")
        if out is not None:
            runs.check_output(out)
        if local:
            device_of(config.compute)  # the machines of a cluster are asked later
        manifest = storage.absolute(manifest) if manifest else demo_manifest()
        return cls(manifest, scan_manifest(manifest), describe(config), config, local, address)

    @property
    def name(self) -> str:
        return storage.stem(self.manifest)

    def cluster(self) -> Any:
        """The cluster that is there to be joined, None for none: what it has decides on which device the run is."""
        return nullcontext() if self.local else joined(cluster_address(self.address))

    def fingerprint(self, config: InferenceConfig) -> str:
        return runs.inference_fingerprint(self.found.content, config, self.experts.weights)

    def predict(self, run: Run, record: dict[str, Any], config: InferenceConfig, console: Console) -> None:
        """Commit the predictions of all rows that have none yet, and see that none is lost."""
        record |= {
            "manifest": {"address": self.manifest, "rows": self.found.rows, "content": self.found.content},
            "dataset": self.found.metadata,
            "experts": self.experts.cards,
            "weights": self.experts.weights,
        }
        record["config"]["predict"] = asdict(config)
        run.save(record)
        missing = self.found.rows - sink.committed_rows(run.predictions)
        if missing > 0:
            bar = watch(lambda: sink.committed_rows(run.predictions), self.found.rows, console)
            with timed(record, "predict", missing), bar:
                self._predict(run, config)
        record["counts"] = check_complete(self.found.rows, run.predictions)
        run.save(record)

    def _predict(self, run: Run, config: InferenceConfig) -> None:
        metadata, rows = {"experts": self.experts.cards, "dataset": self.found.metadata}, self.found.rows
        if self.local:
            predict_local(Job(self.manifest, run.predictions, config, local_plan(config.compute, rows), metadata))
            return
        networks = detects_with_torch(config.face)
        with ray_cluster(self.address) as cluster:
            width = plan(config.compute, cluster, rows, torch_detector=networks)
            predict_ray(Job(self.manifest, run.predictions, config, width, metadata))


def _calibration_for(evaluation: EvaluationConfig, cards: Mapping[str, Any]) -> Calibration | None:
    """The calibration of the options, seen to fit the experts and the fusion before a run directory is claimed."""
    calibration = Calibration.load(evaluation.calibration) if evaluation.calibration else None
    if calibration:
        calibration.check_experts(cards)
    check_evaluation(evaluation, calibration, cards)
    return calibration


def _open(
    predict: str, name: str, out: str | None, console: Console, evaluation: EvaluationConfig | None = None
) -> tuple[Run, dict[str, Any]]:
    """The run directory, claimed for these fingerprints, and its record so far.

    Args:
        predict: the fingerprint of the predictions.
        name: of the data, for a directory that is not named.
        out: the directory, if it is named.
        console: is told where the run goes.
        evaluation: None where nothing is evaluated.
    """
    marks = {"predict": predict}
    if evaluation:
        files = (evaluation.calibration, evaluation.stabilizer.file)
        contents = [runs.content_sha256(path) if path else None for path in files]
        marks["evaluate"] = runs.evaluation_fingerprint(predict, evaluation, *contents)
    last = list(marks.values())[-1]
    run = Run(storage.absolute(out) if out else storage.join(runs.folder(), f"{name}-{last[:8]}"))
    record = {"config": {}, **run.open(marks), **runs.provenance()}
    console.print(f"run directory: {display_uri(run.address)}", highlight=False, soft_wrap=True, markup=False)
    return run, record


def _evaluate(
    run: Run,
    record: dict[str, Any],
    predictions: pa.Table,
    evaluation: EvaluationConfig,
    calibration: Calibration | None,
    inference: InferenceConfig,
    console: Console,
) -> Run:
    """Evaluate, write the tables and the report, and commit the run."""
    record["config"]["evaluate"] = asdict(evaluation)
    with timed(record, "evaluate", predictions.num_rows):
        evaluated = evaluate_table(predictions, evaluation, calibration)
        evaluated.write(run)
    record |= {"split": evaluated.split, "rows": evaluated.rows}
    run.save(record)
    with timed(record, "report", predictions.num_rows):
        build_report(run.address, config=evaluation.statistics, media=inference.media)
    run.save(record)
    run.commit()
    return _tell(run, console)


def _tell(run: Run, console: Console, note: str = "") -> Run:
    """The table of systems and what may be concluded, as the page says it; the last line names the page."""
    record = run.load()
    counts = record.get("counts", {})
    statuses = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if status in counts)
    tables, sentences = overview(run.address)
    for table in tables:
        console.print(table)
    lines = [
        f"{counts.get('in', 0):,} rows in, {counts.get('out', 0):,} out: {statuses}",
        rows_sentence(record.get("rows", {})),
        *sentences,
        str(record.get("dataset", {}).get("label_note") or ""),
        note,
        f"report: {display_uri(run.report)}",
    ]
    for line in filter(None, lines):
        console.print(printable(line), highlight=False, soft_wrap=True, markup=False)
    return run


def demo_manifest() -> str:
    """The manifest of the demonstration photographs, written into the folder of runs."""
    from emofuse.datasets import demo

    address = storage.join(runs.folder(), "demo.parquet")
    storage.write_table(address, demo.build().table)
    return address
