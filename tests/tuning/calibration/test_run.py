"""The sweep of the calibration: what it tries, what it scores, and what it chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse.calibration import fit_calibration, fit_mean
from emofuse.config import CalibrationConfig, CalibrationSweepConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.gating import gate
from emofuse.fusion.select import fuse
from emofuse.metrics.uncertainty import crps
from emofuse.tables.columns import both, texts
from emofuse.tables.schema import EXPERTS, read_metadata
from emofuse.tuning.calibration import (
    CrossValidationData,
    choose,
    complexity,
    mean_candidates,
    rule_grid,
    surface_table,
    sweep,
)
from emofuse.tuning.calibration.choice import mean_and_error, measured
from emofuse.tuning.calibration.grid import GATES, Grid, of_both_axes
from emofuse.tuning.calibration.losses import BUNDLES, dealt
from emofuse.tuning.calibration.run import choice_record, sweep_sentences
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


def test_every_combination_that_goes_together_is_tried_once() -> None:
    options = CalibrationSweepConfig(
        means=("identity", "constant", "affine", "linear", "isotonic", "ordinal"), losses=("mse", "mae", "ccc")
    )
    candidates = mean_candidates(options, few_values=True)
    assert len(set(candidates)) == len(candidates) == 1 + 2 + 9 + 6 + 1 + 6
    assert all(each.mean == "affine" for each in candidates if each.loss == "ccc")
    grid = rule_grid(options, both=True)
    rules = [grid[number] for number in range(len(grid))]
    assert len(set(rules)) == len(grid) == 8 * 75
    assert all(rule.method == "inverse_variance" for rule in rules if rule.max_weight_ratio)
    with pytest.raises(IndexError):
        grid[len(grid)]


def test_the_ordinal_mean_is_offered_only_where_labels_take_few_values(sweep_data: CrossValidationData) -> None:
    assert not sweep_data.few_values
    assert replace(sweep_data, truth=np.round(sweep_data.truth * 3) / 3).few_values
    options = CalibrationSweepConfig(means=("ordinal",))
    assert {each.mean for each in mean_candidates(options, few_values=True)} == {"ordinal"}
    with pytest.raises(ConfigError, match="at least one mean, loss and l2"):
        mean_candidates(options, few_values=False)


def test_a_lone_expert_has_no_rules_or_gates_to_try() -> None:
    assert len(rule_grid(SMALL, both=False)) == 1
    with pytest.raises(ConfigError, match="nothing to try"):
        rule_grid(replace(SMALL, methods=()), both=True)


def test_complexity_counts_free_numbers() -> None:
    assert complexity(FusionConfig(method="equal")) == 0
    assert complexity(FusionConfig(method="constant")) == 1
    assert complexity(FusionConfig(method="equal", min_luma=40.0, max_face_std=0.5)) == 2


def test_two_axes_share_what_they_agree_on() -> None:
    curve, flat = CalibrationConfig(mean="ordinal", loss="mae"), CalibrationConfig(mean="constant", loss="mae")
    assert of_both_axes([curve, flat]) == CalibrationConfig(mean=("ordinal", "constant"), loss="mae")
    assert of_both_axes([flat, flat]) == flat


def test_a_mean_s_loss_is_what_fitting_it_by_itself_gives(sweep_data: CrossValidationData) -> None:
    rows = [row for row in sweep(sweep_data, SMALL, storage_path=None).tried.to_pylist() if row["layer"] == "mean"]
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        i, axis = EXPERTS.index(row["expert"]), ("valence", "arousal").index(row["axis"])
        heard, errors = np.isfinite(sweep_data.mean[i]).all(axis=1), np.full(len(sweep_data), np.nan)
        for k in range(3):
            kept, held = heard & (sweep_data.fold != k), heard & (sweep_data.fold == k)
            layer = fit_mean(
                row["kind"], sweep_data.truth[kept], sweep_data.mean[i, kept], l2=row["l2"], loss=row["loss"]
            )
            moved = np.clip(layer.apply(sweep_data.mean[i, held]), -1, 1)
            errors[held] = np.abs(moved - sweep_data.truth[held])[:, axis]
        assert row["objective"] == pytest.approx(errors[heard].mean(), rel=1e-9)
        assert row["measured_by"] == "mae"


@pytest.mark.parametrize("objective", ["mae", "crps"])
def test_a_rule_s_loss_is_what_fitting_and_fusing_it_by_itself_gives(
    sweep_data: CrossValidationData, objective: str
) -> None:
    swept = sweep(sweep_data, replace(SMALL, objective=objective), storage_path=None)  # type: ignore[arg-type]
    grid = rule_grid(SMALL, both=True)
    for number in range(0, len(grid), 5):
        fusion = grid[number]
        if fusion.max_face_std is not None:
            # The face's deviation is the same on every row here: no gate, as evaluate would say.
            assert swept.surface.column("objective")[number].as_py() is None
            continue
        losses = np.full(len(sweep_data), np.nan)
        for fold in range(3):
            held = sweep_data.fold == fold
            calibration = sweep_data.fit(~held, swept.layers)
            moved = [calibration.apply(n, sweep_data.mean[i, held], sweep_data.variance[i, held]) for i, n in
                     enumerate(("scene", "face"))]  # fmt: skip
            mean, variance = np.stack([moved[0][0], moved[1][0]]), np.stack([moved[0][1], moved[1][1]])
            shut = gate(sweep_data.face_score[held], variance[1], sweep_data.luma[held], fusion)
            mean[1, shut["gate_score"] | shut["gate_std"] | shut["gate_luma"]] = np.nan
            fused = fuse(mean, variance, fusion, calibration.fusion_parameters())
            truth, clipped = sweep_data.truth[held], np.clip(fused.mean, -1, 1)
            losses[held] = np.abs(truth - clipped).mean(axis=1) if objective == "mae" else [
                crps(*each).mean()
                for each in zip(truth[:, None], clipped[:, None], fused.variance[:, None], strict=True)
            ]  # fmt: skip
        assert swept.surface.column("objective")[number].as_py() == pytest.approx(losses.mean(), rel=1e-6)


def test_a_variance_s_loss_is_the_crps_behind_the_chosen_mean(sweep_data: CrossValidationData) -> None:
    swept = sweep(sweep_data, SMALL, storage_path=None)
    (row,) = [
        each
        for each in swept.tried.to_pylist()
        if (each["layer"], each["expert"], each["axis"], each["kind"]) == ("variance", "scene", "arousal", "scaling")
    ]
    layers, losses = replace(swept.layers["scene"], variance="scaling"), np.full(len(sweep_data), np.nan)
    for k in range(3):
        kept, held = sweep_data.fold != k, sweep_data.fold == k
        fitted = fit_calibration(
            sweep_data.truth[kept], {"scene": (sweep_data.mean[0, kept], sweep_data.variance[0, kept])}, layers,
            split="valid", fingerprint="", groups=sweep_data.groups[kept],
        )  # fmt: skip
        mean, variance, _ = fitted.apply("scene", sweep_data.mean[0, held], sweep_data.variance[0, held])
        losses[held] = [
            crps(*each) for each in zip(sweep_data.truth[held, 1:], mean[:, 1:], variance[:, 1:], strict=True)
        ]
    assert row["objective"] == pytest.approx(losses.mean(), rel=1e-6)


def test_the_tables_are_whole_and_name_their_choices(sweep_data: CrossValidationData) -> None:
    swept = sweep(sweep_data, SMALL, storage_path=None)
    rows = swept.surface.to_pylist()
    assert len(rows) == swept.facts["rules_and_gates"] == 4 * 8
    parameters = read_metadata(swept.surface.schema)["parameters"]
    assert len({tuple(row[name] for name in parameters) for row in rows}) == len(rows)
    assert rows[swept.chosen]["method"] == swept.fusion.method
    tried = swept.tried.to_pylist()
    assert len(tried) == swept.facts["layers"] == 2 * 2 * (3 + 2)
    parts = [[row for row in tried if (row["layer"], row["expert"], row["axis"]) == part]
             for part in {(row["layer"], row["expert"], row["axis"]) for row in tried}]  # fmt: skip
    for part in [rows, *parts]:
        (chosen,) = [row for row in part if row["chosen"]]
        best = min((row for row in part if row["objective"] is not None), key=lambda row: row["objective"])
        assert chosen["within_one_se"]
        assert chosen["difference"] <= best["standard_error"]
        assert not any(row["within_one_se"] and row["complexity"] < chosen["complexity"] for row in part)


def test_each_expert_and_axis_gets_its_own_layers(sweep_data: CrossValidationData) -> None:
    rng = np.random.default_rng(3)
    mean = sweep_data.mean.copy()
    # A face that knows nothing of arousal, and a scene whose valence needs no correction at all.
    mean[1, :, 1] = np.where(np.isfinite(mean[1, :, 1]), rng.uniform(-0.5, 0.5, len(sweep_data)), np.nan)
    mean[0, :, 0] = 0.8 * mean[0, :, 0] + 0.1
    options = replace(SMALL, means=("identity", "constant", "affine"), losses=("mae",))
    swept = sweep(replace(sweep_data, mean=mean), options, storage_path=None)
    assert [swept.layers["face"].mean_of(axis)[0] for axis in (0, 1)] == ["affine", "constant"]
    assert [swept.layers["scene"].mean_of(axis)[0] for axis in (0, 1)] == ["identity", "affine"]


@pytest.mark.parametrize(("groups", "warned"), [(19, True), (20, False)])
def test_a_choice_on_few_groups_is_called_rough(sweep_data: CrossValidationData, groups: int, warned: bool) -> None:
    record = choice_record(sweep(sweep_data, SMALL, storage_path=None))
    record["sweep"]["groups"] = groups
    said = sweep_sentences(record)
    assert f"of {groups} groups in" in said[0]
    assert any("may be chance" in line for line in said) is warned


def test_miscalibrated_experts_want_their_means_and_variances_corrected(sweep_data: CrossValidationData) -> None:
    swept = sweep(sweep_data, SMALL, storage_path=None)
    for layers in swept.layers.values():
        assert (layers.mean, layers.variance) == ("affine", "scaling")


def test_trials_on_a_cluster_give_the_same_tables(
    sweep_data: CrossValidationData, ray_cluster: object, tmp_path: Path
) -> None:
    few = replace(SMALL, means=("affine",))
    there = sweep(sweep_data, few, storage_path=str(tmp_path))
    here = sweep(sweep_data, few, storage_path=None)
    assert there.surface.equals(here.surface)
    assert there.tried.equals(here.tried)
    assert there.facts["trials"] == 3 * 3
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
    grid = Grid([FusionConfig(method=name) for name in ("equal", "constant", "stacked")], [dict.fromkeys(GATES)])
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
    sums = np.full((6, 10), np.nan)
    with pytest.raises(DataError, match="no configuration"):
        measured(sums, np.ones(10), range(6))
    sums[4] = 1.0
    assert measured(sums, np.ones(10), range(6))["chosen"].tolist().index(True) == 4


def test_folds_and_bundles_take_no_group_apart() -> None:
    groups = np.random.default_rng(2).integers(0, 400, 3000)
    fold, bundle = dealt(groups, 5, 0)
    for name in np.unique(groups):
        assert len(set(fold[groups == name])) == len(set(bundle[groups == name])) == 1
    assert set(fold) == set(range(5))
    assert bundle.max() < BUNDLES
    with pytest.raises(DataError, match="2 folds or more"):
        dealt(np.zeros(9, dtype=int), 5, 0)


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
    rows = [row for row in sweep(flat, options, storage_path=None).tried.to_pylist() if row["layer"] == "mean"]
    assert all((row["objective"] is None) == (row["kind"] == "spline") for row in rows)
    assert all(row["kind"] == "identity" for row in rows if row["chosen"])


def test_a_face_that_is_seen_in_one_fold_alone_is_left_as_it_is(sweep_data: CrossValidationData) -> None:
    mean = sweep_data.mean.copy()
    mean[1, sweep_data.fold != 0] = np.nan
    swept = sweep(replace(sweep_data, mean=mean), SMALL, storage_path=None)
    assert all(row["objective"] is not None for row in swept.surface.to_pylist() if row["method"] == "inverse_variance")
