"""What is known of experts without a calibration, and what the default rule makes of it."""

import copy

import numpy as np
import pytest

from emofuse import fusion
from emofuse.config import FusionConfig
from emofuse.experts.card import embedded_head, read_card
from emofuse.fusion.fused_variance import FusedScale
from emofuse.fusion.joint_parameters import assumed_joint_parameters
from emofuse.fusion.parameters import FusionParameters, parameters_of_cards

SCENE, FACE = np.array([[0.6, 0.6]]), np.array([[-0.2, -0.2]])
MEAN, VARIANCE = np.stack([SCENE, FACE]), np.stack([np.full((1, 2), 0.09), np.full((1, 2), 0.25)])


@pytest.fixture(scope="module")
def shipped():
    return {name: read_card(embedded_head(name)) for name in ("scene", "face")}


def test_the_shipped_experts_are_known_together(shipped):
    known = parameters_of_cards(shipped)
    assert (known.source, known.rule) == ("stored pair", "joint_gaussian")
    # Errors and outputs given the truth, out of fold on OASIS, 183 pictures with a face.
    np.testing.assert_allclose(known.joint.errors[:, 0, 1], [0.817, 0.801], atol=5e-4)
    np.testing.assert_allclose(known.joint.given_truth[:, 0, 1], [0.497, 0.305], atol=5e-4)
    # The prior is of the rows that the face was fitted on, all of which both experts answered.
    np.testing.assert_allclose(known.joint.prior_mean, shipped["face"]["labels"]["mean"], atol=1e-12)
    np.testing.assert_allclose(known.joint.prior_variance, shipped["face"]["labels"]["variance"], atol=1e-12)


def test_a_head_of_the_same_form_on_other_labels_is_another_expert(shipped):
    cards = copy.deepcopy(shipped)
    cards["scene"]["labels"]["mean"][0] += 1e-9
    known = parameters_of_cards(cards)
    assert (known.source, known.rule) == ("assumed correlation", "best_linear_unbiased")
    np.testing.assert_allclose(known.joint.errors[:, 0, 1], 0.5)
    np.testing.assert_allclose(known.joint.prior_mean, shipped["face"]["labels"]["mean"])


@pytest.mark.parametrize("cards", [{}, {"scene": None, "face": None}, {"scene": {"loss": "mse"}, "face": {}}])
def test_of_foreign_experts_only_a_correlation_is_assumed(cards):
    known = parameters_of_cards(cards)
    assert (known.source, known.joint) == ("assumed correlation", None)
    fused = fusion.fuse(MEAN, VARIANCE, FusionConfig(), known)
    # Best linear unbiased weights of (.6, .09) and (-.2, .25) at a correlation of .5: Lyons et al. 1988.
    np.testing.assert_allclose(fused.mean, 0.5368421053, atol=1e-9)
    np.testing.assert_allclose(fused.variance, 0.0888157895, atol=1e-9)


def test_a_scale_goes_with_its_rule_and_with_the_kind_of_row():
    scale = FusedScale(np.array([2.0, 3.0]), np.array([5.0, 7.0]), np.zeros((2, 2), dtype=int))
    joint = assumed_joint_parameters([0.0, 0.0], [0.5, 0.5])
    known = FusionParameters("calibration", joint, "joint_gaussian", scales={"joint_gaussian": scale})
    plain = FusionParameters("calibration", joint, "joint_gaussian")
    gated = MEAN.copy()
    gated[1] = np.nan
    for mean, factor in ((MEAN, [[5, 7]]), (gated, [[2, 3]])):
        before, after = (fusion.fuse(mean, VARIANCE, FusionConfig(), each) for each in (plain, known))
        np.testing.assert_allclose(after.variance, factor * before.variance)
        np.testing.assert_array_equal(after.mean, before.mean)
    other = FusionConfig(method="equal")
    np.testing.assert_array_equal(
        fusion.fuse(MEAN, VARIANCE, other, known).variance, fusion.fuse(MEAN, VARIANCE, other, plain).variance
    )
