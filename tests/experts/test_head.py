"""MC dropout on features: golden numbers, the closed form, the masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.experts.head import Head, HeadSpec, closed_form_moments, sampled_moments


def a_head(kind: str = "linear", *, inputs: int = 40, dropout: float = 0.3, log_variance: bool = False) -> Head:
    torch.manual_seed(0)
    head = Head(HeadSpec(inputs, kind, dropout, log_variance)).eval()  # type: ignore[arg-type]
    head.standardise.fit(torch.randn(100, inputs) * 3 + 1)
    return head


def test_moments_are_the_golden_ones() -> None:
    """Five passes; source: docs/methods.md, MC dropout, computed with numpy (ddof 1) and by hand."""
    means = torch.tensor([0.20, 0.30, 0.25, 0.35, 0.15], dtype=torch.float64)[:, None, None].expand(5, 1, 2)
    noise = torch.tensor([0.010, 0.012, 0.011, 0.009, 0.013], dtype=torch.float64)[:, None, None].expand(5, 1, 2)
    moments = sampled_moments(means, noise.log())
    assert moments.mean.flatten().tolist() == pytest.approx([0.25, 0.25], abs=1e-12)
    assert moments.epistemic.flatten().tolist() == pytest.approx([0.00625] * 2, abs=1e-12)
    assert moments.aleatoric is not None
    assert moments.aleatoric.flatten().tolist() == pytest.approx([0.011] * 2, abs=1e-12)
    assert moments.variance.flatten().tolist() == pytest.approx([0.01725] * 2, abs=1e-12)


def test_variance_does_not_cancel_in_float32() -> None:
    """E[x^2] - E[x]^2 gives -1.2e-7 here."""
    values = (0.9 + 1e-4 * torch.arange(5, dtype=torch.float32))[:, None, None].expand(5, 1, 2)
    assert float(sampled_moments(values).epistemic[0, 0]) == pytest.approx(2.5e-8, rel=1e-2)


def test_one_pass_has_no_variance_and_no_log_variance_is_missing_not_zero() -> None:
    moments = sampled_moments(torch.zeros(1, 3, 2))
    assert torch.isnan(moments.epistemic).all()
    assert moments.aleatoric is None


def test_samples_are_not_clamped() -> None:
    samples = torch.tensor([0.6, 1.2, 0.9, 1.5])[:, None, None].expand(4, 1, 2)
    moments = sampled_moments(samples)
    assert float(moments.mean[0, 0]) == pytest.approx(1.05)
    assert float(moments.variance[0, 0]) == pytest.approx(0.15)


@pytest.mark.parametrize("log_variance", [False, True])
def test_sampling_tends_to_the_closed_form(log_variance: bool) -> None:
    """The bounds follow from T: 5 standard errors; SE(variance)/variance = sqrt(2/(T-1)) for near-normal sums."""
    head = a_head(inputs=400, log_variance=log_variance)
    with torch.no_grad():
        head.layers[-1].weight.mul_(0.3)  # type: ignore[operator, union-attr]
    features, passes = torch.randn(6, 400) * 3 + 1, 4000
    with torch.inference_mode():
        exact = closed_form_moments(head, features)
        sampled = sampled_moments(*head.split(head.sample(features, head.masks(passes, seed=1))))
    assert torch.allclose(sampled.mean, exact.mean, atol=float(5 * (exact.epistemic.max() / passes).sqrt()))
    assert (sampled.epistemic / exact.epistemic - 1).abs().max() < 5 * math.sqrt(2 / (passes - 1))
    if log_variance:
        assert exact.aleatoric is not None
        assert sampled.aleatoric is not None
        assert (sampled.aleatoric / exact.aleatoric - 1).abs().max() < 0.1


def test_the_closed_form_is_exact_over_all_masks() -> None:
    """Three inputs have eight masks; their weighted moments are the truth, computed one by one."""
    head = a_head(inputs=3, dropout=0.25, log_variance=True).double()
    features = torch.randn(4, 3, dtype=torch.float64)
    masks = torch.tensor([[i >> j & 1 for j in range(3)] for i in range(8)], dtype=torch.float64)
    weight = (0.75 ** masks.sum(1) * 0.25 ** (3 - masks.sum(1)))[:, None, None]
    with torch.inference_mode():
        means, logs = head.split(head.sample(features, [masks[:, None] / 0.75]))
        assert logs is not None
        mean = (weight * means).sum(0)
        exact = closed_form_moments(head, features)
    assert torch.allclose(exact.mean, mean, atol=1e-12)
    assert torch.allclose(exact.epistemic, (weight * (means - mean) ** 2).sum(0), atol=1e-12)
    assert exact.aleatoric is not None
    assert torch.allclose(exact.aleatoric, (weight * logs.exp()).sum(0), rtol=1e-9)


def test_two_layers_have_no_closed_form() -> None:
    head = a_head("two_layer")
    assert not head.is_closed_form
    with pytest.raises(ValueError, match="single dropout"):
        closed_form_moments(head, torch.zeros(1, 40))


@pytest.mark.parametrize("kind", ["linear", "two_layer"])
def test_one_batched_pass_is_the_passes_one_by_one(kind: str) -> None:
    head = a_head(kind)
    features, masks = torch.randn(7, 40), head.masks(20, seed=3)
    with torch.inference_mode():
        together = head.sample(features, masks)
        singly = torch.cat([head.sample(features, [mask[t : t + 1] for mask in masks]) for t in range(20)])
    assert together.shape == (20, 7, 2)
    assert torch.allclose(together, singly, atol=1e-6)


def test_masks_follow_from_the_seed_and_keep_the_mean() -> None:
    head = a_head("two_layer")
    one, again, other = head.masks(20, 0), head.masks(20, 0), head.masks(20, 1)
    assert [mask.shape for mask in one] == [(20, 1, 256), (20, 1, 128)]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert one[0].unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert abs(float(one[0].mean()) - 1) < 5 * math.sqrt(0.3 / 0.7 / (20 * 256))


def test_no_dropout_gives_no_variance() -> None:
    head = a_head(dropout=0.0)
    assert float(closed_form_moments(head, torch.randn(3, 40)).epistemic.detach().abs().max()) == 0


def test_standardising_ignores_a_feature_that_never_changes() -> None:
    features = np.random.default_rng(0).normal(2, 5, (50, 4)).astype(np.float32)
    features[:, 1] = 7
    head = Head(HeadSpec(4))
    head.standardise.fit(torch.from_numpy(features))
    out = head.standardise(torch.from_numpy(features)).numpy()
    assert out.mean(0) == pytest.approx(np.zeros(4), abs=1e-5)
    assert out.std(0) == pytest.approx([1, 0, 1, 1], abs=1e-5)


@pytest.mark.parametrize("wrong", [{"kind": "three_layer"}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_heads_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        HeadSpec(inputs=4, **wrong)  # type: ignore[arg-type]
