"""The whole of a run in order: predict what is not stored yet, evaluate, report, commit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
from rich.console import Console

from emofuse.calibration import Calibration
from emofuse.config import EvaluationConfig, InferenceConfig
from emofuse.evaluation.checks import check_evaluation, check_inference
from emofuse.evaluation.evaluate_table import choose_split, evaluate_table
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


@dataclass
class Evaluation:
    """One run of the main job.

    Attributes:
        inference_config: the options that can change a prediction.
        evaluation_config: the options that can change only the evaluation.
        out: the run directory; None names one below the folder of runs, after data and fingerprint.
        console: where progress and the table of systems are shown.
    """

    inference_config: InferenceConfig
    evaluation_config: EvaluationConfig
    out: str | None = None
    console: Console = field(default_factory=Console)

    def evaluate(self, manifest: str | None, *, local: bool = False, address: str | None = None) -> Run:
        """Predict a manifest, as far as that is not done yet, and evaluate it.

        Args:
            manifest: address of a Parquet manifest; None takes the demonstration photographs.
            local: in this process, without Ray.
            address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.

        Raises:
            DataError: if the manifest is not one, or rows were lost.
            ConfigError: if an option cannot be served, or the directory holds another run.
            CheckpointError: if weights are missing or wrong.
        """
        if self.out is not None:
            runs.check_output(self.out)
        # A cluster is joined first: what it has decides on which device the run is, and so its fingerprint.
        with joined(None if local else cluster_address(address)) as cluster:
            check_inference(self.inference_config)
            if local:
                from emofuse.experts.device import device_of

                device_of(self.inference_config.compute)
            manifest = storage.absolute(manifest) if manifest else demo_manifest()
            found, config = scan_manifest(manifest), resolved(self.inference_config, cluster)
            choose_split(found.splits, self.evaluation_config.split)
            experts = describe(config)
            mark = runs.inference_fingerprint(found.content, config, experts.weights)
            run, record = self._open(mark, storage.stem(manifest), experts.cards)
            if run.finished:
                return self._tell(run, f"{display_uri(run.address)} is finished already; nothing was done")
            record |= {
                "manifest": {"address": manifest, "rows": found.rows, "content": found.content},
                "dataset": found.metadata,
                "experts": experts.cards,
                "weights": experts.weights,
            }
            record["config"]["predict"] = asdict(config)
            run.save(record)
            self._predict(run, record, found, config, experts, local=local, address=address)
            return self._evaluate(run, record, storage.read_table(run.predictions))

    def re_evaluate(self, predictions: str) -> Run:
        """Evaluate stored predictions anew, without any image.

        Args:
            predictions: a file, the predictions folder of a run, or the run's directory.

        Raises:
            DataError: if it is no predictions table.
            ConfigError: if an option cannot be served, or the directory holds another run.
        """
        if self.out is not None:
            runs.check_output(self.out)
        predictions, origin = runs.predictions_of(storage.absolute(predictions))
        table = conform(storage.read_table(predictions), PREDICTIONS, "predictions")
        check_whole(table.num_rows, origin)
        mark = origin.get("fingerprints", {}).get("predict") or sink.table_fingerprint(table)
        name = storage.stem(storage.parent(predictions) if origin else predictions)
        run, record = self._open(mark, name, read_metadata(table.schema).get("experts") or {})
        if run.finished:
            return self._tell(run, f"{display_uri(run.address)} is finished already; nothing was done")
        record |= {key: origin[key] for key in ("manifest", "dataset", "experts", "weights") if key in origin}
        record |= {"predictions": predictions, "counts": sink.count_statuses(table)}
        return self._evaluate(run, record, table)

    def _open(self, predict: str, name: str, cards: Any) -> tuple[Run, dict[str, Any]]:
        """The run directory, claimed, and its record so far; not before a calibration is seen to fit the experts."""
        path = self.evaluation_config.calibration
        calibrating = Calibration.load(path) if path else None
        if calibrating:
            calibrating.check_experts(cards)
        check_evaluation(self.evaluation_config, calibrating, cards)
        calibration = runs.content_sha256(path) if path else None
        evaluate = runs.evaluation_fingerprint(predict, self.evaluation_config, calibration)
        marks = {"predict": predict, "evaluate": evaluate}
        address = storage.absolute(self.out) if self.out else storage.join(runs.folder(), f"{name}-{evaluate[:8]}")
        run = Run(address)
        record = {"config": {}, **run.open(marks), **runs.provenance()}
        self.console.print(f"run directory: {display_uri(address)}", highlight=False, soft_wrap=True, markup=False)
        return run, record

    def _predict(
        self,
        run: Run,
        record: dict[str, Any],
        found: ManifestSummary,
        config: InferenceConfig,
        experts: Experts,
        *,
        local: bool,
        address: str | None,
    ) -> None:
        before = sink.committed_rows(run.predictions)
        metadata = {"experts": experts.cards, "dataset": found.metadata}

        def job(width: Any) -> Job:
            return Job(record["manifest"]["address"], run.predictions, config, width, metadata)

        if before < found.rows:
            bar = watch(lambda: sink.committed_rows(run.predictions), found.rows, self.console)
            with timed(record, "predict", found.rows - before), bar:
                if local:
                    predict_local(job(local_plan(config.compute, found.rows)))
                else:
                    from emofuse.inference.ray_graph import detects_with_torch

                    networks = detects_with_torch(config.face)
                    with ray_cluster(address) as cluster:
                        predict_ray(job(plan(config.compute, cluster, found.rows, torch_detector=networks)))
        record["counts"] = check_complete(found.rows, run.predictions)
        run.save(record)

    def _evaluate(self, run: Run, record: dict[str, Any], predictions: pa.Table) -> Run:
        """Evaluate, write the tables and the report, and commit the run."""
        record["config"]["evaluate"] = asdict(self.evaluation_config)
        with timed(record, "evaluate", predictions.num_rows):
            evaluated = evaluate_table(predictions, self.evaluation_config)
            evaluated.write(run)
        record["split"] = evaluated.split
        run.save(record)
        with timed(record, "report", predictions.num_rows):
            build_report(run.address, config=self.evaluation_config.statistics, media=self.inference_config.media)
        run.save(record)
        run.commit()
        return self._tell(run, None)

    def _tell(self, run: Run, note: str | None) -> Run:
        """The table of systems and what may be concluded, as the page says it; the last line names the page."""
        record = run.load()
        counts = record.get("counts", {})
        statuses = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if status in counts)
        lines = [f"{counts.get('in', 0):,} rows in, {counts.get('out', 0):,} out: {statuses}"]
        tables, sentences = overview(run.address)
        for table in tables:
            self.console.print(table)
        lines += sentences
        lines += [
            str(record.get("dataset", {}).get("label_note") or ""),
            note or "",
            f"report: {display_uri(run.report)}",
        ]
        for line in filter(None, lines):
            self.console.print(printable(line), highlight=False, soft_wrap=True, markup=False)
        return run


def demo_manifest() -> str:
    """The manifest of the demonstration photographs, written into the folder of runs."""
    from emofuse.datasets import demo

    address = storage.join(runs.folder(), "demo.parquet")
    storage.write_table(address, demo.build().table)
    return address


__all__ = ["Evaluation", "demo_manifest"]
