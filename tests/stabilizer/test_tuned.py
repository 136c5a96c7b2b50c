"""The file that holds what a sweep of the stabilizer chose."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emofuse.config import EvaluationConfig, FusionConfig, StabilizerConfig
from emofuse.errors import ConfigError, DataError
from emofuse.stabilizer.tuned import TunedStabilizer, with_tuned

ROWS = {"split": "valid", "fingerprint": "f", "groups": 1}


@pytest.fixture
def path(tmp_path):
    options = StabilizerConfig(uncertainty_threshold=np.inf, process_variance=(0.1, 0.2), autocorrelation=(0.5, 1.0))
    tuned = TunedStabilizer.of(options, FusionConfig(min_luma=40.0), ["a", "b"], **ROWS)
    tuned.save(tmp_path / "stabilizer.json")
    return tmp_path / "stabilizer.json"


def test_what_was_written_is_read(path):
    config, tuned = with_tuned(EvaluationConfig(seed=3, stabilizer=StabilizerConfig(file=str(path))))
    expected = StabilizerConfig(uncertainty_threshold=np.inf, process_variance=(0.1, 0.2), autocorrelation=(0.5, 1.0))
    assert config == EvaluationConfig(seed=3, stabilizer=expected)
    assert tuned.gates == {"min_face_score": None, "max_face_std": None, "min_luma": 40.0}
    assert tuned.in_sample(["b", "c", "a"]).tolist() == [True, False, True]
    assert tuned.fitted_on.rows == 2


def test_without_a_file_the_options_stay():
    config = EvaluationConfig(stabilizer=StabilizerConfig(alpha=0.3))
    assert with_tuned(config) == (config, None)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"stabilizer": {"alpha": 0.3}}, "stabilizer.alpha"),
        ({"fusion": {"min_face_score": 0.8}}, "fusion.min_face_score"),
    ],
)
def test_options_that_the_file_holds_are_refused_beside_it(path, options, name):
    stabilizer = StabilizerConfig(file=str(path), **options.get("stabilizer", {}))
    config = EvaluationConfig(stabilizer=stabilizer, fusion=FusionConfig(**options.get("fusion", {})))
    with pytest.raises(ConfigError, match=f"^{name} cannot be given"):
        with_tuned(config)


def test_other_options_of_the_fusion_may_stand_beside_it(path):
    fusion = FusionConfig(method="equal")
    assert with_tuned(EvaluationConfig(fusion=fusion, stabilizer=StabilizerConfig(file=str(path))))[0].fusion == fusion


@pytest.mark.parametrize("part", ["options", "gates", "fitted_on"])
def test_a_damaged_file_is_named(path, part):
    content = json.loads(path.read_text())
    del content[part]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="damaged"):
        TunedStabilizer.load(path)
