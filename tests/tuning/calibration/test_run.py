"""The sweep of the calibration: what it tries, what it scores, and what it chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse.config import CalibrationConfig, CalibrationSweepConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.gating import gate
from emofuse.fusion.select import fuse
from emofuse.metrics.uncertainty import crps
from emofuse.tables.columns import both, texts
from emofuse.tables.schema import read_metadata
from emofuse.tuning.calibration import CrossValidationData, choose, complexity, full_grid, surface_table, sweep
from emofuse.tuning.calibration.choice import mean_and_error
from emofuse.tuning.calibration.grid import GATES, Grid
from emofuse.tuning.calibration.losses import BUNDLES, dealt
from emofuse.tuning.calibration.run import choice_record, sweep_sentences
from emofuse.tuning.calibration.sweep import tasks_of
from tests.tuning.miscalibrated import table

SMALL = CalibrationSweepConfig(
    means=("identity", "affine"),
    losses=("mse",),
    l2=(1e-4, 1e-1),
    variances=("none", "scaling"),
    methods=("inverse_variance", "equal", "stacked"),
    max_weight_ratio=(2.0,),
    min_face_score=(0.7,),
    max_face_std=(0.3,),
    min_luma=(60.0,),
    folds=3,
)


@pytest.fixture(scope="module")
def sweep_data() -> CrossValidationData:
    return CrossValidationData.of(table(360), "valid", folds=3)


def test_the_grid_holds_every_combination_that_goes_together_once() -> None:
    grid = full_grid(CalibrationSweepConfig(means=("identity", "affine", "linear", "isotonic")), both=True)
    parts = [grid.parts(number) for number in range(len(grid))]
    assert len(set(parts)) == len(grid) == (1 + 9 + 6 + 1) * 5 * 7 * 75
    assert all(layers.mean == "affine" for layers, _ in parts if layers.loss == "ccc")
    assert all(fusion.method == "inverse_variance" for _, fusion in parts if fusion.max_weight_ratio)
    with pytest.raises(IndexError):
        grid.parts(len(grid))


def test_a_lone_expert_has_no_rules_or_gates_to_try_and_one_without_variances_nothing_to_recalibrate() -> None:
    assert len(full_grid(SMALL, both=False)) == 3 * 2
    assert len(full_grid(SMALL, both=False, known=False)) == 3
    with pytest.raises(ConfigError, match="nothing to try"):
        full_grid(replace(SMALL, methods=()), both=True)


def test_complexity_counts_free_numbers() -> None:
    plain = CalibrationConfig(mean="identity", variance="none")
    assert complexity(plain, FusionConfig(method="equal")) == 0
    assert complexity(CalibrationConfig(mean="affine", variance="scaling"), FusionConfig(method="constant")) == 7
    assert complexity(plain, FusionConfig(method="equal", min_luma=40.0, max_face_std=0.5)) == 2


def test_a_configuration_s_loss_is_what_fitting_and_fusing_it_by_itself_gives(sweep_data: CrossValidationData) -> None:
    surface = sweep(sweep_data, SMALL, storage_path=None).surface
    grid = full_grid(SMALL, both=True)
    for number in range(0, len(grid), 7):
        layers, fusion = grid.parts(number)
        losses = np.full(len(sweep_data), np.nan)
        for fold in range(3):
            held = sweep_data.fold == fold
            calibration = sweep_data.fit(~held, layers)
            moved = [calibration.apply(n, sweep_data.mean[i, held], sweep_data.variance[i, held]) for i, n in
                     enumerate(("scene", "face"))]  # fmt: skip
            mean, variance = np.stack([moved[0][0], moved[1][0]]), np.stack([moved[0][1], moved[1][1]])
            shut = gate(sweep_data.face_score[held], variance[1], sweep_data.luma[held], fusion)
            mean[1, shut["gate_score"] | shut["gate_std"] | shut["gate_luma"]] = np.nan
            fused = fuse(mean, variance, fusion, **calibration.fusion_arguments())
            truth, clipped = sweep_data.truth[held], np.clip(fused.mean, -1, 1)
            losses[held] = [
                crps(*each).mean()
                for each in zip(truth[:, None], clipped[:, None], fused.variance[:, None], strict=True)
            ]
        assert surface.column("objective")[number].as_py() == pytest.approx(losses.mean(), rel=1e-6)


def test_the_surface_is_whole_and_names_its_options(sweep_data: CrossValidationData) -> None:
    swept = sweep(sweep_data, SMALL, storage_path=None)
    rows = swept.surface.to_pylist()
    assert len(rows) == len(swept.grid) == swept.facts["configurations"] == 3 * 2 * 4 * 8
    parameters = read_metadata(swept.surface.schema)["parameters"]
    assert len({tuple(row[name] for name in parameters) for row in rows}) == len(rows)
    assert sum(row["chosen"] for row in rows) == 1
    chosen = rows[swept.chosen]
    best = min(rows, key=lambda row: row["objective"])
    assert chosen["within_one_se"]
    assert chosen["difference"] <= best["standard_error"]
    assert not any(row["within_one_se"] and row["complexity"] < chosen["complexity"] for row in rows)


@pytest.mark.parametrize(("groups", "warned"), [(19, True), (20, False)])
def test_a_choice_on_few_groups_is_called_rough(sweep_data: CrossValidationData, groups: int, warned: bool) -> None:
    record = choice_record(sweep(sweep_data, SMALL, storage_path=None))
    record["sweep"]["groups"] = groups
    said = sweep_sentences(record)
    assert f"of {groups} groups in" in said[0]
    assert any("may be chance" in line for line in said) is warned


def test_miscalibrated_experts_want_their_means_and_variances_corrected(sweep_data: CrossValidationData) -> None:
    swept = sweep(sweep_data, SMALL, storage_path=None)
    layers, _ = swept.grid.parts(swept.chosen)
    assert (layers.mean, layers.variance) == ("affine", "scaling")


def test_trials_on_a_cluster_give_the_same_surface(
    sweep_data: CrossValidationData, ray_cluster: object, tmp_path: Path
) -> None:
    few = replace(SMALL, means=("affine",))
    there = sweep(sweep_data, few, storage_path=str(tmp_path))
    here = sweep(sweep_data, few, storage_path=None)
    assert there.surface.equals(here.surface)
    assert there.facts["trials"] == 3
    assert not list(tmp_path.iterdir())


def test_the_rule_takes_the_simplest_within_one_standard_error() -> None:
    value = np.array([0.50, 0.48, 0.479, 0.481, 0.60])
    within = np.array([False, True, True, True, False])
    assert choose(value, np.array([0, 4, 9, 2, 1]), within) == 3
    assert choose(value, np.array([0, 4, 4, 4, 1]), within) == 2


def test_a_simpler_configuration_is_taken_only_where_the_difference_is_within_its_error() -> None:
    rng = np.random.default_rng(0)
    counts = np.full(50, 10)
    best = 10 * rng.uniform(0.3, 0.7, 50)
    near = best + 10 * rng.normal(0.0005, 0.01, 50)
    far = best + 10 * rng.normal(0.01, 0.01, 50)
    grid = Grid(
        [CalibrationConfig(mean=mean, variance="none") for mean in ("identity", "affine", "linear")],
        [FusionConfig(method="equal")],
        [dict.fromkeys(GATES)],
    )
    surface = surface_table(grid, np.stack([far, near, best]), counts, "mae")
    # Far lies well within the error of the loss itself, so a rule without pairs would have taken it.
    assert surface.column("difference")[0].as_py() < surface.column("standard_error")[2].as_py()
    assert surface.column("chosen").to_pylist() == [False, True, False]


def test_standard_errors_are_those_of_redrawn_groups() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 20, 300)
    sums = counts * rng.normal(0.5, 0.1, 300)
    value, error = mean_and_error(sums[None], counts)
    drawn = rng.integers(0, 300, (4000, 300))
    redrawn = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert value[0] == pytest.approx(sums.sum() / counts.sum())
    assert error[0] == pytest.approx(redrawn.std(), rel=0.05)


def test_what_cannot_be_scored_is_never_chosen() -> None:
    grid = full_grid(SMALL, both=False)
    sums = np.full((len(grid), 10), np.nan)
    with pytest.raises(DataError, match="no configuration"):
        surface_table(grid, sums, np.ones(10), "crps")
    sums[4] = 1.0
    assert surface_table(grid, sums, np.ones(10), "crps").column("chosen").to_pylist().index(True) == 4


def test_folds_and_bundles_take_no_group_apart() -> None:
    groups = np.random.default_rng(2).integers(0, 400, 3000)
    fold, bundle = dealt(groups, 5, 0)
    for name in np.unique(groups):
        assert len(set(fold[groups == name])) == len(set(bundle[groups == name])) == 1
    assert set(fold) == set(range(5))
    assert bundle.max() < BUNDLES
    with pytest.raises(DataError, match="2 folds or more"):
        dealt(np.zeros(9, dtype=int), 5, 0)


def test_tasks_cover_the_grid_once_in_every_fold() -> None:
    grid = full_grid(CalibrationSweepConfig(), both=True)
    tasks = tasks_of(grid.calibrations, 5)
    covered = sorted((fold, i) for fold, start, stop in tasks for i in range(start, stop))
    assert covered == [(fold, i) for fold in range(5) for i in range(len(grid.calibrations))]
    assert len(tasks) < len(grid) / 1000


def test_only_labelled_rows_of_valid_that_no_expert_was_trained_on_are_used() -> None:
    rows = table(300)
    trained = np.arange(300) % 2 == 0
    at = rows.schema.get_field_index("in_sample")
    sweep_data = CrossValidationData.of(rows.set_column(at, rows.schema.field(at), pa.array(trained)), "valid")
    kept = (texts(rows, "split") == "valid") & ~trained
    np.testing.assert_array_equal(sweep_data.truth, both(rows)[kept])
    with pytest.raises(DataError, match="no expert was trained on"):
        CrossValidationData.of(rows.set_column(at, rows.schema.field(at), pa.array(np.ones(300, dtype=bool))), "valid")


def test_layers_that_cannot_be_fitted_leave_the_others_to_go_on(sweep_data: CrossValidationData) -> None:
    flat = replace(sweep_data, mean=np.where(np.isfinite(sweep_data.mean), 0.1, np.nan))
    options = replace(SMALL, means=("identity", "spline"), variances=("scaling",))
    rows = sweep(flat, options, storage_path=None).surface.to_pylist()
    assert all((row["objective"] is None) == (row["mean"] == "spline") for row in rows)
    assert all(row["mean"] == "identity" for row in rows if row["chosen"])


def test_a_face_that_is_seen_in_one_fold_alone_stops_nothing(sweep_data: CrossValidationData) -> None:
    mean = sweep_data.mean.copy()
    mean[1, sweep_data.fold != 0] = np.nan
    rows = sweep(replace(sweep_data, mean=mean), SMALL, storage_path=None).surface.to_pylist()
    assert all(row["objective"] is not None for row in rows if row["method"] == "inverse_variance")
