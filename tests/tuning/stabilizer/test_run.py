"""Sweeps of the stabilizer: the surface against the step forms, the choice, and the job on Ray Tune."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.config import EvaluationConfig, FusionConfig, StabilizerConfig, SweepConfig
from emofuse.errors import ConfigError, DataError
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.metrics.accuracy import concordance, mae
from emofuse.metrics.stability import hold_rate, jitter, response_time
from emofuse.stabilizer import make_stabilizer, smooth
from emofuse.stabilizer.tuned import TunedStabilizer
from emofuse.tuning.stabilizer.choice import evaluated, pareto
from emofuse.tuning.stabilizer.grid import filter_grids, fusion_grid
from emofuse.tuning.stabilizer.run import StabilizerSweep, chosen_options, divided
from emofuse.tuning.stabilizer.sentences import cautions
from emofuse.tuning.stabilizer.surface import SweepData, surface_of
from tests.commandline import run_command


def _small_sweep():
    spec = importlib.util.spec_from_file_location("small_sweep", Path(__file__).resolve().parents[1] / "small_sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small_sweep = _small_sweep()
SMALL, predictions, saved = small_sweep.SWEEP, small_sweep.predictions, small_sweep.fused_run


@pytest.fixture(scope="module")
def table():
    return evaluate_table(predictions(), EvaluationConfig(split="all")).fused


@pytest.fixture(scope="module")
def sweep_data(table):
    return SweepData.of(table, "valid", None)


def grids_of(sweep_data, sweep=SMALL):
    _, variance = sweep_data.fused(FusionConfig(method="inverse_variance"))
    return filter_grids(sweep, variance, np.array([0.025, 0.05]))


class TestSurface:
    def test_every_row_agrees_with_the_step_form(self, sweep_data):
        """The sums kept along the way give what the metrics give on whole series, to 1e-12."""
        base = StabilizerConfig(max_hold=1.0)
        fusion = fusion_grid(SMALL, FusionConfig(method="inverse_variance"))[1]
        mean, variance = sweep_data.fused(fusion)
        chosen = np.concatenate(sweep_data.rows)
        for grid in grids_of(sweep_data)[1:]:
            rows = surface_of(sweep_data, [fusion], grid, base, 0.25)
            for row, config in zip(rows, grid.configs(replace(base, frame_rate=25)), strict=True):
                out, held = np.full(mean.shape, np.nan), np.zeros(mean.shape, bool)
                for one in sweep_data.rows:
                    stabilizer = make_stabilizer(config)
                    for i in one:
                        out[i] = stabilizer.update(mean[i], variance[i], sweep_data.timestamp[i]).mean
                        held[i] = stabilizer.held
                steps = np.concatenate([np.abs(np.diff(out[one], axis=0)) for one in sweep_data.rows])
                truth = sweep_data.truth[chosen]
                expected = {
                    "jitter": np.nanmean(steps, axis=0),
                    "hold_rate": hold_rate(held[chosen]),
                    "coverage": np.isfinite(out[chosen]).mean(axis=0),
                    "mae": mae(truth, out[chosen]),
                    "ccc": concordance(truth, out[chosen]),
                }
                for name, values in expected.items():
                    assert row[name] == pytest.approx(np.mean(values), abs=1e-12), (grid.filter, name)
                    assert row[f"{name}_arousal"] == pytest.approx(values[1], abs=1e-12)
                step_variance = np.nanmedian(variance[chosen], axis=0)
                stabilizer = make_stabilizer(config)
                series = np.array(
                    [
                        stabilizer.update([x, x], step_variance, i / 25).mean
                        for i, x in enumerate([0.0] * 200 + [0.25] * 90)
                    ]
                )
                assert row["response_time"] == response_time(series, 200, high=0.25).max()

    def test_doing_nothing_is_among_them(self, sweep_data):
        none = surface_of(
            sweep_data, [FusionConfig(method="inverse_variance")], grids_of(sweep_data)[0], StabilizerConfig(), 1.0
        )
        mean, _ = sweep_data.fused(FusionConfig(method="inverse_variance"))
        raw = np.mean([jitter(mean[rows]) for rows in sweep_data.rows])
        assert none[0]["jitter"] == pytest.approx(raw, abs=1e-12)
        assert none[0]["response_time"] == 1

    def test_sequences_of_unequal_length(self, table):
        """Whatever is padded beside it, a sequence adds what it adds."""
        keep = np.ones(table.num_rows, bool)
        keep[5:60] = keep[100:120] = False
        sweep_data = SweepData.of(table.filter(pa.array(keep)), "valid", None)
        assert sorted(map(len, sweep_data.rows)) == [5, 40, 60]
        row = surface_of(
            sweep_data, [FusionConfig(method="inverse_variance")], grids_of(sweep_data)[1], StabilizerConfig(), 1.0
        )[0]
        config = grids_of(sweep_data)[1].configs(StabilizerConfig())[0]
        mean, variance = sweep_data.fused(FusionConfig(method="inverse_variance"))
        outs = [smooth(mean[r], variance[r], sweep_data.timestamp[r], config)[0].mean for r in sweep_data.rows]
        steps = np.concatenate([np.abs(np.diff(out, axis=0)) for out in outs])
        assert row["jitter"] == pytest.approx(np.nanmean(steps, axis=0).mean(), abs=1e-12)

    def test_thresholds_by_quantile_differ_by_axis(self, sweep_data):
        _, variance = sweep_data.fused(FusionConfig(method="inverse_variance"))
        [row] = [r for r in grids_of(sweep_data)[1].rows if r.get("threshold_quantile") and r["alpha"] == 0.3]
        np.testing.assert_allclose(row["uncertainty_threshold"], np.nanquantile(variance, 0.9, axis=0))

    def test_gates_change_what_is_smoothed(self, sweep_data):
        nothing, shut = fusion_grid(SMALL, FusionConfig(method="inverse_variance"))
        assert (nothing.min_face_score, shut.min_face_score) == (None, 0.5)
        doubtful = sweep_data.face_score < 0.5
        scene, _ = sweep_data.fused(shut)
        np.testing.assert_allclose(scene[doubtful], np.clip(sweep_data.mean[0, doubtful], -1, 1))
        assert not np.allclose(sweep_data.fused(nothing)[0][doubtful], scene[doubtful])

    def test_frames_an_expert_was_trained_on_have_no_label(self, table):
        at = table.schema.get_field_index("in_sample")
        trained = table.set_column(at, "in_sample", pa.array([True] * table.num_rows))
        assert not SweepData.of(trained, "valid", None).labelled

    def test_images_cannot_be_smoothed(self, table):
        at = table.schema.get_field_index("sequence")
        images = table.set_column(at, "sequence", pa.nulls(table.num_rows, pa.string()))
        with pytest.raises(DataError, match="belongs to a sequence"):
            SweepData.of(images, "valid", None)


def row(*, spread=(0.0, 0.0, 0.0, 0.0), **values):
    """A row of four bundles of equal size, whose losses differ by `spread` from the loss over all."""
    gates = dict.fromkeys(("min_face_score", "max_face_std", "min_luma"))
    made = {"filter": "ema", "coverage": 1.0, "hold_rate": 0.0, "mae": np.nan, "ccc": np.nan, **gates, **values}
    loss = made["jitter"] if np.isnan(made["mae"]) else made["mae"]
    sums = np.repeat(10 * (loss + np.array(spread))[:, None], 2, axis=1)
    return made | {"numerator": sums, "denominator": np.full((4, 2), 10.0)}


FOLDS = np.array([0, 1, 0, 1])


class TestChoice:
    PLAIN = row(filter="none", response_time=1, jitter=0.5, mae=0.3)

    def test_without_labels_a_frozen_output_cannot_win(self):
        frozen = row(response_time=np.inf, jitter=0.0)
        slow, quick = row(response_time=9, jitter=0.01), row(response_time=3, jitter=0.2)
        table, _ = evaluated(
            [self.PLAIN, frozen, slow, quick], SweepConfig(max_response=0.1), 30.0, FOLDS, labelled=False
        )
        best = table.to_pylist()[0]
        assert (best["jitter"], best["chosen"], best["objective"]) == (0.2, True, 0.2)
        assert [r["objective"] for r in table.to_pylist() if r["response_time"] > 3] == [None, None]

    def test_with_labels_the_error_decides(self):
        calm, close = row(response_time=2, jitter=0.01, mae=0.28), row(response_time=2, jitter=0.3, mae=0.2)
        table, _ = evaluated([self.PLAIN, calm, close], SweepConfig(), 30.0, FOLDS, labelled=True)
        assert table.to_pylist()[0]["mae"] == 0.2

    def test_a_filter_that_answers_seldom_cannot_win(self):
        shy = row(response_time=1, jitter=0.0, mae=0.0, coverage=0.5)
        table, _ = evaluated([self.PLAIN, shy], SweepConfig(), 30.0, FOLDS, labelled=True)
        assert table.to_pylist()[0]["filter"] == "none"
        assert not table.to_pylist()[1]["pareto"]

    def test_of_those_within_one_standard_error_the_quickest_is_taken(self):
        """The least is .20 with deviations of ± .1: its standard error is .1 sqrt(4 / 3) / 2 = .0577."""
        apart = (0.1, 0.1, -0.1, -0.1)
        least = row(response_time=9, jitter=0.1, mae=0.2, spread=apart)
        near = row(response_time=4, jitter=0.2, mae=0.25, spread=(-0.1, 0.1, -0.1, 0.1))
        far = row(response_time=2, jitter=0.3, mae=0.26, spread=(-0.1, 0.1, -0.1, 0.1))
        # Its difference from the least is .05 with a standard error of 0: surely worse, however large its own error.
        like = row(response_time=1, jitter=0.3, mae=0.25, spread=apart)
        table, _ = evaluated([self.PLAIN, least, near, far, like], SweepConfig(), 30.0, FOLDS, labelled=True)
        rows = {r["response_time"]: r for r in table.to_pylist() if r["filter"] != "none"}
        assert rows[9]["standard_error"] == pytest.approx(0.1 * np.sqrt(4 / 3) / 2)
        assert [rows[k]["within_one_se"] for k in (9, 4, 2, 1)] == [True, True, False, False]
        assert [r["response_time"] for r in rows.values() if r["chosen"]] == [4]
        assert table.to_pylist()[0]["mae"] == 0.2
        assert rows[9]["fold_0"] == pytest.approx(0.2)

    def test_with_one_group_there_is_no_error_and_the_best_is_taken(self):
        alone = [{**r, "numerator": r["numerator"][:1], "denominator": r["denominator"][:1]} for r in (
            self.PLAIN, row(response_time=2, jitter=0.3, mae=0.2))]  # fmt: skip
        table, held_out = evaluated(alone, SweepConfig(), 30.0, np.zeros(1, int), labelled=True)
        assert table.to_pylist()[0]["chosen"]
        assert table.to_pylist()[0]["standard_error"] is None
        assert held_out is None

    def test_the_front(self):
        """By eye: (1, 5), (2, 3), (4, 1) stand; (3, 3) and (4, 4) are beaten, the second (2, 3) adds nothing."""
        costs = np.array([[1, 5], [2, 3], [3, 3], [4, 1], [4, 4], [2, 3], [np.nan, 0]], dtype=float)
        assert np.flatnonzero(pareto(costs)).tolist() == [0, 1, 3]

    def test_the_front_against_all_pairs(self):
        costs = np.random.default_rng(0).integers(0, 12, (300, 3)).astype(float)
        costs = np.unique(costs, axis=0)
        beaten = [((costs <= c).all(axis=1) & (costs < c).any(axis=1)).any() for c in costs]
        np.testing.assert_array_equal(pareto(costs), ~np.array(beaten))

    def test_a_row_as_options(self, sweep_data):
        for grid in grids_of(sweep_data):
            rows = surface_of(sweep_data, fusion_grid(SMALL, FusionConfig()), grid, StabilizerConfig(), 1.0)
            expected = grid.configs(StabilizerConfig())
            for i, found in enumerate(rows):
                config, fusion = chosen_options(found, StabilizerConfig(), FusionConfig())
                assert config == expected[i % len(expected)]
                assert fusion.min_face_score == (None if i < len(expected) else 0.5)


def test_tasks_cover_the_sweep_once(sweep_data):
    grids, fusions = grids_of(sweep_data), fusion_grid(replace(SMALL, min_luma=(10, 20, 30)), FusionConfig())
    for trials in (1, 7, 1000):
        tasks = divided(grids, fusions, trials)
        covered = [(grid.filter, repr(fusion)) for grid, some in tasks for fusion in some]
        assert sorted(covered) == sorted((grid.filter, repr(fusion)) for grid in grids for fusion in fusions)


class TestJob:
    def test_a_sweep_and_what_it_leaves(self, table, tmp_path):
        source = saved(tmp_path / "run", table, fusion={"method": "auto"}, calibration=None)
        run = StabilizerSweep(SMALL, local=True).run(source, str(tmp_path / "sweep"))
        surface = pq.read_table(tmp_path / "sweep" / "surface.parquet")
        assert surface.num_rows == 2 * (1 + 4 + 4 + 2 + 1)
        assert set(surface["filter"].to_pylist()) == {"none", "ema", "soft_ema", "kalman", "one_euro"}
        front = pq.read_table(tmp_path / "sweep" / "pareto.parquet")
        assert 0 < front.num_rows < surface.num_rows
        record = json.loads((tmp_path / "sweep" / "run.json").read_text())
        assert record["split"] == "valid"
        assert record["sweep"]["frames"] == 180
        [chosen] = surface.filter(surface["chosen"]).to_pylist()
        assert record["chosen"]["measured"]["objective"] == chosen["objective"]
        assert chosen["within_one_se"]
        folds = [chosen[f"fold_{k}"] for k in range(3)]
        assert np.mean(folds) == pytest.approx(chosen["objective"])  # three sequences of 60 labelled frames
        assert chosen["standard_error"] == pytest.approx(np.std(folds, ddof=1) / np.sqrt(3))
        assert record["sweep"]["groups"] == 3
        assert record["sweep"]["held_out"]["difference"] < 0
        config = TunedStabilizer.load(tmp_path / "sweep" / "stabilizer.json").options
        assert make_stabilizer(config) is not None
        found = record["sweep"]["autocorrelation"]
        assert set(found) == {"scene", "face", "fused"}
        assert max(max(one["autocorrelated_share"]) for one in found.values()) < 0.3
        assert found["fused"]["autocorrelation"] == list(config.autocorrelation)
        # Noise on a slow drift: some smoothing must beat none, and it does so on rows it was not chosen on.
        assert max(config.autocorrelated_share) < 0.3  # the noise is white
        # A drift of .02 a frame at 25 frames a second, cut off at .9: .01 a second.
        np.testing.assert_allclose(config.level_variance, 0.01, rtol=0.6)
        test = SweepData.of(table, "test", None)
        mean, variance = test.fused(FusionConfig(**record["chosen"]["fusion"]))
        smoothed = np.full(mean.shape, np.nan)
        for rows in test.rows:
            smoothed[rows] = smooth(mean[rows], variance[rows], test.timestamp[rows], config)[0].mean
        assert mae(test.truth, smoothed).mean() < mae(test.truth, mean).mean()
        assert (tmp_path / "sweep" / "report.html").stat().st_size > 10_000
        assert run.finished

    def test_a_finished_sweep_is_left_alone_and_another_refused(self, table, tmp_path, capsys):
        source = saved(tmp_path / "run", table, fusion={"method": "auto"})
        tiny = replace(SMALL, filters=("ema",), min_face_score=())
        for _ in range(2):
            StabilizerSweep(tiny, local=True).run(source, str(tmp_path / "sweep"))
        assert "finished already" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="another tune fingerprint"):
            StabilizerSweep(SMALL, local=True).run(source, str(tmp_path / "sweep"))

    def test_without_labels_jitter_is_minimised_at_a_bounded_response(self, tmp_path):
        table = evaluate_table(predictions(labelled=False), EvaluationConfig(split="all")).fused
        source = saved(tmp_path / "run", table, fusion={"method": "auto"})
        StabilizerSweep(SMALL, local=True).run(source, str(tmp_path / "sweep"))
        record = json.loads((tmp_path / "sweep" / "run.json").read_text())
        measured = record["chosen"]["measured"]
        assert measured["objective"] == measured["jitter"]
        assert measured["response_time"] <= 5
        assert record["chosen"]["stabilizer"]["autocorrelation"] is None

    def test_what_the_sweep_has_seen_is_not_held_out_any_more(self, table, tmp_path):
        source = saved(tmp_path / "run", table, fusion={"method": "auto"})
        StabilizerSweep(replace(SMALL, filters=("kalman",)), local=True).run(source, str(tmp_path / "sweep"))
        file = str(tmp_path / "sweep" / "stabilizer.json")
        done = evaluate_table(predictions(), EvaluationConfig(split="all", stabilizer=StabilizerConfig(file=file)))
        chosen = json.loads((tmp_path / "sweep" / "run.json").read_text())["chosen"]
        options = {name: tuple(v) if isinstance(v, list) else v for name, v in chosen["stabilizer"].items()}
        flags = EvaluationConfig(
            split="all", stabilizer=StabilizerConfig(**options), fusion=FusionConfig(**chosen["fusion"])
        )
        by_flags = evaluate_table(predictions(), flags).fused
        for name in ("fused_valence", "smoothed_valence", "smoothed_arousal", "gate_score"):
            assert done.fused[name].equals(by_flags[name])
        valid = np.array(done.fused["split"].to_pylist()) == "valid"
        np.testing.assert_array_equal(done.fused["in_sample"].to_numpy(), valid)
        rows = [row for row in done.metrics.to_pylist() if row["system"] == "smoothed"]
        assert {r["n_groups"] for r in rows if not r["in_sample"] and r["subset"] == "sequences"} == {3}
        # A sweep over what was so evaluated fuses as the file says.
        again = saved(tmp_path / "again", done.fused, fusion={"method": "auto"}, stabilizer={"file": file})
        unseen = StabilizerSweep(replace(SMALL, filters=("kalman",)), split="all", local=True)
        assert unseen.run(again, str(tmp_path / "second")).finished

    def test_a_second_sweep_says_that_the_labels_were_seen(self, table, tmp_path, capsys):
        at = table.schema.get_field_index("in_sample")
        seen = table.set_column(at, "in_sample", pa.array([True] * table.num_rows))
        source = saved(tmp_path / "run", seen, fusion={"method": "auto"})
        StabilizerSweep(replace(SMALL, filters=("ema",)), local=True).run(source, str(tmp_path / "sweep"))
        assert "has seen every labelled row" in capsys.readouterr().out

    def test_test_is_refused(self, table, tmp_path):
        source = saved(tmp_path / "run", table, fusion={"method": "auto"})
        with pytest.raises(ConfigError, match="not tuned on 'test'"):
            StabilizerSweep(SMALL, split="test", local=True).run(source, str(tmp_path / "sweep"))
        assert not (tmp_path / "sweep").exists()

    def test_all_is_all_but_test(self, table):
        assert SweepData.of(table, "all", None).frames == 180
        only = table.filter(pa.array(np.array(table["split"].to_pylist()) == "test"))
        with pytest.raises(DataError, match="belongs to a sequence"):
            SweepData.of(only, "all", None)

    def test_experts_beyond_the_scale_are_fused_as_they_were(self, tmp_path):
        """Twice the means: many leave [-1, 1], and the fusion of the clipped ones is another."""
        far = predictions()
        for name in [f"{expert}_{axis}" for expert in ("scene", "face") for axis in ("valence", "arousal")]:
            at = far.schema.get_field_index(name)
            twice = far[name].to_numpy(zero_copy_only=False) * 2
            far = far.set_column(at, far.schema.field(at), pa.array(twice, pa.float32(), from_pandas=True))
        fused = evaluate_table(far, EvaluationConfig(split="all")).fused
        assert np.nanmax(np.abs(fused["scene_valence"].to_numpy())) > 1
        assert np.nanmax(np.abs(fused["fused_valence"].to_numpy())) <= 1
        source = saved(tmp_path / "run", fused, fusion={"method": "auto"})
        assert (
            StabilizerSweep(replace(SMALL, filters=("ema",)), local=True).run(source, str(tmp_path / "sweep")).finished
        )

    def test_a_table_fused_otherwise_is_refused(self, table, tmp_path):
        source = saved(tmp_path / "run", table, fusion={"method": "equal"})
        with pytest.raises(DataError, match="fusing the table's experts again"):
            StabilizerSweep(SMALL, local=True).run(source, str(tmp_path / "sweep"))

    def test_on_ray_tune_the_surface_is_the_same(self, table, tmp_path, ray_cluster):
        source = saved(tmp_path / "run", table, fusion={"method": "auto"})
        for name, local in (("here", True), ("ray", False)):
            StabilizerSweep(SMALL, local=local).run(source, str(tmp_path / name))
        here, there = (pq.read_table(tmp_path / name / "surface.parquet") for name in ("here", "ray"))
        assert here.equals(there)
        record = json.loads((tmp_path / "ray" / "run.json").read_text())
        assert record["sweep"]["trials"] >= 4

    def test_errors_take_one_line(self, tmp_path):
        done = run_command("stabilize", "--fused", tmp_path / "none", "--out", tmp_path / "out", "--local")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_a_choice_that_hardly_moves_or_rests_on_little_is_called_so() -> None:
    facts = {"frames": 50, "sequences": 2, "labels_in_sample": False}
    few, frozen = cautions(facts, {"response_time": np.inf})
    assert "only 2 sequence" in few
    assert "nearly frozen" in frozen
    assert cautions({"frames": 500, "sequences": 5, "labels_in_sample": False}, {"response_time": 99.0}) == []
