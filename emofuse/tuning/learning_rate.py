"""Ray Tune searches the learning rate, together with weight decay, dropout and head, on features computed once."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from emofuse.config import TrainingConfig
from emofuse.errors import DataError
from emofuse.experts.device import resolve_device
from emofuse.inference.cluster import ray_cluster
from emofuse.training.features import FeatureSet
from emofuse.training.plan import Search
from emofuse.training.trainer import PhaseTrainer
from emofuse.tuning.trials import fit

GRACE = 3
"""Epochs before ASHA may stop a trial: the first quarter of one cycle is spent warming up."""


@dataclass(frozen=True)
class Searcher:
    """A search to be run before training.

    Attributes:
        trials: how many.
        folder: where Tune keeps its own files, in `tune` below it.
        reuse: keep each trial's actor for the next one; starting one costs more than a trial does.
        gpu_share: of a GPU for each trial, where there are GPUs.
        concurrent: trials at once; by default as many as the cluster has CPUs.
    """

    trials: int
    folder: Path
    reuse: bool = True
    gpu_share: float = 0.25
    concurrent: int | None = None

    def __call__(self, rows: FeatureSet, valid: FeatureSet, config: TrainingConfig, seed: int) -> Search:
        """Search around the valley of a range test.

        Args:
            rows: labelled rows to fit.
            valid: labelled rows to compare the trials on.
            config: the options that are not searched, and the head and dropout of the first trial.
            seed: fixes the draws; every trial trains with it.

        Where no trial beats the options as they came, those stay.

        Raises:
            DataError: if there are no valid rows to compare trials on.
        """
        if not len(valid):
            raise DataError("a search needs labelled rows in the valid split to compare its trials on")
        plain = replace(config, unfrozen_epochs=0)
        untuned = PhaseTrainer(rows, valid, plain, seed=seed).train_phase_0()
        # The range test is of a head that has still to learn: one that starts at its optimum has no valley.
        test = PhaseTrainer(rows, valid, replace(plain, start="random"), seed=seed).range_test()
        centre = config.learning_rate or test.learning_rate
        started = time.perf_counter()
        with ray_cluster() as resources:
            results = self._fit(rows, valid, plain, centre, seed, self.gpu_share if resources.get("GPU") else 0)
        seconds = time.perf_counter() - started
        best = results.get_best_result("best_valid_loss", "min", scope="last")
        reached = float((best.metrics or {})["best_valid_loss"])
        better = reached < untuned.best["frozen"]
        chosen = chosen_config(config, dict(best.config or {})) if better else config
        trials = curves(results)
        record = {
            "trials": self.trials,
            "failed": results.num_errors,
            "stopped_early": sum(count < config.epochs for count in _epochs(trials)),
            "seconds": seconds,
            "seconds_per_trial": seconds / self.trials,
            "centre": centre,
            "best_valid_loss": reached,
            "untuned_valid_loss": untuned.best["frozen"],
            "chosen": asdict(chosen),
        }
        return Search(chosen, trials, test, record)

    def _fit(
        self, rows: FeatureSet, valid: FeatureSet, config: TrainingConfig, centre: float, seed: int, gpus: float
    ) -> tune.ResultGrid:
        # One copy in the object store; every trial maps it and none carries it.
        data = ray.put((rows, valid))
        trainable = tune.with_parameters(trial, data=[data], config=config, seed=seed)
        epochs = max(config.epochs, 1)
        options = tune.TuneConfig(
            metric="valid_loss",
            mode="min",
            num_samples=self.trials,
            scheduler=ASHAScheduler(time_attr="training_iteration", max_t=epochs, grace_period=min(GRACE, epochs)),
            search_alg=tune.search.BasicVariantGenerator(random_state=seed),
            reuse_actors=self.reuse,
            max_concurrent_trials=self.concurrent,
        )
        resources = {"cpu": 1, "gpu": gpus}
        return fit(trainable, resources, search_space(centre), options, str(self.folder.absolute()), self.trials)


def search_space(centre: float) -> dict[str, Any]:
    """What is searched: the rate a decade around `centre`, weight decay, dropout, and the head."""
    return {
        "learning_rate": tune.loguniform(centre / 10, centre * 10),
        "weight_decay": tune.loguniform(1e-4, 1.0),
        "dropout": tune.uniform(0.1, 0.8),
        "head": tune.choice(["linear", "two_layer"]),
    }


def chosen_config(config: TrainingConfig, values: dict[str, Any]) -> TrainingConfig:
    """`config` with a trial's values; its start is random, since a closed form has no rate to search."""
    known = {key: values[key] for key in ("learning_rate", "weight_decay", "dropout", "head")}
    return replace(config, start="random", **known)


def trial(values: dict[str, Any], data: Any, config: TrainingConfig, seed: int) -> None:
    """One trial: the frozen phase with these values, reported epoch by epoch.

    Args:
        values: of `search_space`.
        data: a list of one reference to the training and the valid rows.
        config: the other options.
        seed: of the training.
    """
    torch.set_num_threads(1)
    rows, valid = ray.get(data[0])
    best = np.inf

    def report(row: dict[str, Any]) -> None:
        nonlocal best
        best = min(best, row["valid_loss"])
        tune.report({**row, "best_valid_loss": best})

    plain = replace(chosen_config(config, values), unfrozen_epochs=0, patience=max(config.epochs, 1))
    device = resolve_device("auto")  # what Ray has given this trial
    PhaseTrainer(rows, valid, plain, seed=seed, device=device).train_phase_0(report)


def curves(results: tune.ResultGrid) -> pa.Table:
    """Every trial's curve: its values, and a row for each epoch it reached."""
    rows: list[dict[str, Any]] = []
    kept = ("epoch", "train_loss", "valid_loss", "mae_valence", "mae_arousal", "best_valid_loss", "time_total_s")
    for number in range(len(results)):
        result = results[number]
        frame = result.metrics_dataframe
        values = result.config or {}
        records = frame.to_dict("records") if frame is not None else []
        rows += [{"trial": number, **values, **{key: record[key] for key in kept}} for record in records]
    return pa.Table.from_pylist(rows)


def _epochs(trials: pa.Table) -> list[int]:
    counts = trials.column("trial").value_counts()
    return [int(entry["counts"].as_py()) for entry in counts]
