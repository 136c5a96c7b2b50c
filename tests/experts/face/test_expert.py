from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from emofuse.affect import Affect
from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.face.emonet import load_emonet
from emofuse.experts.face.emonet_expert import EmoNetExpert
from emofuse.experts.face.expert import FaceExpert, combine_faces, face_card, make_face_expert
from emofuse.experts.face.tta import Views
from emofuse.io.weights import sha256_of

pytestmark = pytest.mark.slow

FLOAT32 = ComputeConfig(dtype="float32", face_chunk=4, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def config(checkpoint: Path) -> FaceConfig:
    return FaceConfig(expert="emonet", checkpoint=str(checkpoint), views=3)


@pytest.fixture(scope="module")
def emonet(config: FaceConfig) -> FaceExpert:
    return make_face_expert(config, FLOAT32, seed=5)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (256, 256)) for c in coarse])


@pytest.fixture(scope="module")
def evaluated(emonet: FaceExpert, crops: np.ndarray) -> Affect:
    return emonet(crops)


def test_is_the_mean_and_variance_of_a_plain_loop_over_views(
    checkpoint: Path, crops: np.ndarray, evaluated: Affect
) -> None:
    network, views = load_emonet(checkpoint), Views(3, 5, torch.device("cpu"))
    loop = np.empty((3, 3, 2))
    with torch.inference_mode():
        for face in range(3):
            for k in range(3):
                out = network(views.make(torch.from_numpy(crops[[face]]), torch.tensor([k])))
                loop[face, k] = out["valence"].item(), out["arousal"].item()
    assert evaluated.mean == pytest.approx(loop.mean(axis=1), abs=1e-6)
    assert np.sqrt(evaluated.variance) == pytest.approx(loop.std(axis=1, ddof=1), abs=1e-6)


def test_a_face_has_the_same_bits_whatever_its_neighbours(
    emonet: FaceExpert, crops: np.ndarray, evaluated: Affect
) -> None:
    for order in ([2], [1, 0, 1]):
        again = emonet(crops[order])
        assert np.array_equal(again.mean, evaluated.mean[order])
        assert np.array_equal(again.variance, evaluated.variance[order])


def test_one_view_is_the_network_itself_and_its_variance_unknown(
    config: FaceConfig, checkpoint: Path, crops: np.ndarray
) -> None:
    out = make_face_expert(replace(config, views=1), FLOAT32)(crops[:1])
    with torch.inference_mode():
        single = load_emonet(checkpoint)(torch.from_numpy(crops[:1]).permute(0, 3, 1, 2).float() / 255)
    assert out.mean[0] == pytest.approx([single["valence"].item(), single["arousal"].item()], abs=1e-6)
    assert np.isnan(out.variance).all()
    assert out.valid.all()


def test_expression_probabilities_are_averaged_over_views(emonet: FaceExpert, crops: np.ndarray) -> None:
    affect, expression = emonet.evaluate(crops[:1])
    assert affect.mean.shape == (1, 2)
    assert expression.shape == (1, 8) == (1, len(emonet.expressions))
    assert expression.sum() == pytest.approx(1, abs=1e-5)
    assert (expression > 0).all()


def test_views_and_means_are_not_clamped(config: FaceConfig, crops: np.ndarray, tmp_path: Path) -> None:
    state = torch.load(config.checkpoint or "", weights_only=True)
    state["emo_fc_2.3.bias"][-2:] = torch.tensor([1.7, -2.5])
    torch.save(state, tmp_path / "loud.pth")
    out = make_face_expert(replace(config, checkpoint=str(tmp_path / "loud.pth"), views=1), FLOAT32)(crops[:1])
    assert out.valence[0] > 1
    assert out.arousal[0] < -1


def test_bfloat16_stays_near_float32(config: FaceConfig, crops: np.ndarray, evaluated: Affect) -> None:
    half = make_face_expert(config, replace(FLOAT32, dtype="bfloat16"), seed=5)
    assert half.card["dtype"] == "bfloat16"
    # bfloat16 has 8 bits of mantissa; the last layers stand in float32.
    assert np.abs(half(crops).mean - evaluated.mean).max() < 0.01


def test_auto_takes_bfloat16_only_within_its_bound(
    config: FaceConfig, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, one = replace(FLOAT32, dtype="auto"), replace(config, views=1)
    monkeypatch.setattr("emofuse.experts.face.precision.gains_by_bfloat16", lambda device: True)
    taken = make_face_expert(one, auto)
    assert taken.card["dtype"] == "bfloat16"
    assert 0 < taken.card["bfloat16_difference"] <= 0.01
    monkeypatch.setattr("emofuse.experts.face.emonet_expert.BFLOAT16_BOUND", 1e-9)
    refused = make_face_expert(one, auto)
    assert refused.card["dtype"] == "float32"
    assert np.array_equal(refused(crops[:1]).mean, make_face_expert(one, FLOAT32)(crops[:1]).mean)


def test_another_chunk_stays_within_the_design_bound(config: FaceConfig, crops: np.ndarray, evaluated: Affect) -> None:
    other = make_face_expert(config, replace(FLOAT32, face_chunk=2), seed=5)(crops[:1])
    assert other.mean[0] == pytest.approx(evaluated.mean[0], abs=1e-5)


def test_no_faces_no_predictions(emonet: FaceExpert) -> None:
    out, expression = emonet.evaluate(np.empty((0, 256, 256, 3), np.uint8))
    assert out.mean.shape == (0, 2)
    assert expression.shape == (0, 8)


@pytest.mark.parametrize("wrong", [np.zeros((1, 224, 224, 3), np.uint8), np.zeros((1, 256, 256, 3), np.float32)])
def test_other_crops_are_refused(emonet: FaceExpert, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(N, 256, 256, 3\)"):
        emonet(wrong)


def test_the_card_says_where_the_weights_come_from(config: FaceConfig, emonet: FaceExpert, checkpoint: Path) -> None:
    assert (emonet.card["file"], emonet.card["sha256"]) == (checkpoint.name, sha256_of(checkpoint))
    assert emonet.card["licence"] == "CC BY-NC-ND 4.0"
    assert (emonet.card["views"], emonet.card["n_expression"]) == (3, 8)
    assert len(emonet.card["scales"]) == 1
    assert face_card(config, 5).items() <= emonet.card.items()


@pytest.mark.parametrize("make", [make_face_expert, face_card])
def test_missing_weights_stop_at_once_with_one_line(make: object, tmp_path: Path) -> None:
    for checkpoint in (None, str(tmp_path / "emonet_8.pth")):
        face = FaceConfig(expert="emonet", checkpoint=checkpoint)
        with pytest.raises(CheckpointError, match=r"emonet_8.pth.*github.com/face-analysis.*CC BY-NC-ND") as caught:
            make(face, FLOAT32) if make is make_face_expert else face_card(face)
        assert "\n" not in str(caught.value)


def test_a_checkpoints_hash_may_be_asked_for(config: FaceConfig) -> None:
    with pytest.raises(CheckpointError, match="another hash: expected sha256 abc"):
        face_card(replace(config, checkpoint=f"{config.checkpoint}#sha256=abc"))


def test_options_that_name_no_expert_are_refused(config: FaceConfig) -> None:
    with pytest.raises(ConfigError, match="embedded or emonet"):
        make_face_expert(FaceConfig(expert="none"), FLOAT32)
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        EmoNetExpert(replace(config, views=0), FLOAT32)


def test_the_embedded_expert_evaluates_crops_alone(crops: np.ndarray) -> None:
    expert = make_face_expert(FaceConfig(), ComputeConfig(batch_size=2, device="cpu"))
    out, expression = expert.evaluate(crops)
    assert out.mean.shape == (3, 2)
    assert out.valid.all()
    assert expression.shape == (3, 0)
    assert expert.card["expert"] == "face" == face_card(FaceConfig())["expert"]
    assert np.array_equal(expert(crops[[2]]).mean, out.mean[[2]])
    assert expert(np.empty((0, 256, 256, 3), np.uint8)).mean.shape == (0, 2)


def test_combining_weights_by_precision_and_size() -> None:
    # By hand: weights ∝ 1/.1, 3/.2 (valence) = .4, .6 and 1/.4, 3/.1 (arousal) = 1/13, 12/13.
    two = Affect.of([[0.5, -0.2], [0.1, 0.3]], [[0.1, 0.4], [0.2, 0.1]])
    one = combine_faces(two, [1, 3])
    assert one.mean == pytest.approx([0.4 * 0.5 + 0.6 * 0.1, (-0.2 + 12 * 0.3) / 13])
    assert one.variance == pytest.approx([0.16 * 0.1 + 0.36 * 0.2, (0.4 + 144 * 0.1) / 169])


def test_combining_equal_sizes_is_inverse_variance_fusion() -> None:
    two = Affect.of([[0.6, 0.6], [-0.2, -0.2]], [[0.09, 0.09], [0.25, 0.25]])
    one = combine_faces(two, [10, 10])
    # docs/methods.md, inverse variance of (.6, .09) and (-.2, .25).
    assert one.mean == pytest.approx(0.388235294117647)
    assert one.variance == pytest.approx(0.0661764705882353)


def test_combining_with_an_unknown_variance_goes_by_size() -> None:
    two = Affect.of([[0.5, 0.5], [0.1, 0.1]], [[np.nan, 0.1], [0.2, 0.1]])
    one = combine_faces(two, [1, 3])
    assert one.mean == pytest.approx([0.2, 0.2])
    assert np.isnan(one.variance[0])
    assert one.variance[1] == pytest.approx(0.1 * (1 + 9) / 16)


def test_combining_leaves_out_what_is_not_valid() -> None:
    two = Affect.of([[0.5, 0.5], [np.nan, np.nan]], [[0.1, 0.1], [0.2, 0.2]])
    one = combine_faces(two, [1, 3])
    assert one.mean == pytest.approx([0.5, 0.5])
    assert one.variance == pytest.approx([0.1, 0.1])
    assert not combine_faces(Affect.missing((2, 2)), [1, 1]).valid.any()
    assert not combine_faces(Affect.missing((0, 2)), []).valid.any()


def test_combining_wants_an_area_for_each_face() -> None:
    two = Affect.of([[0.5, 0.5], [0.1, 0.1]])
    for areas in ([1], [1, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="positive areas"):
            combine_faces(two, areas)
