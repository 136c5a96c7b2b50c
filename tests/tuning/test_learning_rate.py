"""The search on Ray Tune: cheap trials on stored features, every curve kept, never worse than not searching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from emofuse.config import TrainingConfig
from emofuse.errors import DataError
from emofuse.runs.run import Run
from emofuse.training.features import FeatureSet
from emofuse.training.plan import Search, TrainPlan
from emofuse.training.run import searched
from emofuse.training.trainer import PhaseTrainer
from emofuse.tuning.learning_rate import Searcher, chosen_config, search_space

CONFIG = TrainingConfig(head="two_layer", epochs=4, batch_size=32)


def rows_of(count: int, split: str) -> FeatureSet:
    rng = np.random.default_rng(len(split))
    features = rng.normal(1, 2, (count, 16)).astype(np.float32)
    labels = np.clip((features - 1) @ np.full((16, 2), 0.05) + rng.normal(0, 0.05, (count, 2)), -1, 1)
    names = np.array([f"{split}{i}" for i in range(count)], dtype=object)
    splits, nobody = np.array([split] * count, dtype=object), np.full(count, None)
    return FeatureSet(names, names, nobody, names, names, splits, labels, features, "", False, {})


ROWS, VALID = rows_of(80, "train"), rows_of(30, "valid")


@pytest.fixture(scope="module")
def search(ray_cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Search:
    return Searcher(trials=6, folder=tmp_path_factory.mktemp("search"), concurrent=2)(ROWS, VALID, CONFIG, 0)


def test_every_trial_leaves_its_curve(search: Search) -> None:
    trials = search.trials.to_pandas()
    assert trials.trial.nunique() == 6
    assert set(trials["head"]) <= {"linear", "two_layer"}
    for _, curve in trials.groupby("trial"):
        assert curve.epoch.tolist() == list(range(1, len(curve) + 1))
        assert (curve.best_valid_loss == curve.valid_loss.cummin()).all()
    low, high = search.record["centre"] / 10, search.record["centre"] * 10
    assert trials.learning_rate.between(low, high).all()


def test_the_chosen_values_give_the_best_trials_loss_again(search: Search) -> None:
    """Trials train as training does: the same values and seed end at the same valid loss, to the last bit."""
    best = search.record["best_valid_loss"]
    assert best == search.trials.to_pandas().valid_loss.min()
    if best < search.record["untuned_valid_loss"]:
        again = PhaseTrainer(ROWS, VALID, search.config, seed=0).train_phase_0()
        assert again.best["frozen"] == best


def test_the_search_is_centred_on_the_valley_of_its_range_test(search: Search) -> None:
    assert search.record["centre"] == search.range_test.learning_rate
    assert search.record["trials"] == 6
    assert search.record["failed"] == 0
    assert search.record["seconds_per_trial"] == pytest.approx(search.record["seconds"] / 6)


def test_a_search_without_valid_rows_is_refused() -> None:
    with pytest.raises(DataError, match="valid"):
        Searcher(trials=1, folder=Path())(ROWS, VALID.rows(np.zeros(30, dtype=bool)), CONFIG, 0)


def test_a_trials_values_replace_those_of_the_options() -> None:
    assert set(search_space(1e-3)) == {"learning_rate", "weight_decay", "dropout", "head"}
    values = {"learning_rate": 1e-3, "weight_decay": 0.1, "dropout": 0.5, "head": "linear", "extra": 1}
    chosen = chosen_config(CONFIG, values)
    assert (chosen.learning_rate, chosen.weight_decay, chosen.dropout, chosen.head) == (1e-3, 0.1, 0.5, "linear")
    assert chosen.start == "random"
    assert chosen.epochs == CONFIG.epochs


def test_a_resumed_run_does_not_search_again(search: Search, tmp_path: Path) -> None:
    calls: list[int] = []

    def once(*_: object) -> Search:
        calls.append(1)
        return search

    run = Run(str(tmp_path))
    record = run.open({"train": "mark"})
    first = searched(run, record, once, ROWS, VALID, TrainPlan())
    second = searched(run, run.load(), once, ROWS, VALID, TrainPlan())
    assert first == second == search.config
    assert len(calls) == 1
    assert pq.read_table(tmp_path / "trials.parquet").num_rows == search.trials.num_rows
    assert pq.read_table(tmp_path / "range_test.parquet").num_rows == len(search.range_test.lrs)
