"""Proxy anchor against its paper, proxy by proxy, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import pytorch_metric_learning.reducers as pml_reducers
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import ProxyAnchorLoss
from mlcore.reducers import SumReducer
from mlcore.tuples import Triplets


def by_hand(embeddings, labels, proxies, margin, alpha, weights=None):
    """Equation 4 of arXiv:2003.13911, with each sample's term times its weight."""
    weights = weights or [1.0] * len(labels)
    pull, push, with_positives = 0.0, 0.0, 0
    for c, proxy in enumerate(proxies):
        cosines = [F.cosine_similarity(row, proxy, dim=0).item() for row in embeddings]
        terms = list(zip(cosines, labels.tolist(), weights, strict=True))
        near = [weight * math.exp(-alpha * (s - margin)) for s, label, weight in terms if label == c and weight]
        far = [weight * math.exp(alpha * (s + margin)) for s, label, weight in terms if label != c]
        with_positives += bool(near)
        pull += math.log(1 + sum(near))
        push += math.log(1 + sum(far))
    return pull / with_positives + push / len(proxies)


def sample(seed):
    torch.manual_seed(seed)
    return torch.randn(9, 4, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 3, 3, 4, 4])  # class 2 is missing


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("margin", "alpha"), [(0.1, 32.0), (0.0, 1.0), (0.4, 8.0)])
def test_matches_the_paper(margin, alpha, seed):
    embeddings, labels = sample(seed)
    loss = ProxyAnchorLoss(5, 4, margin=margin, alpha=alpha).double()
    expected = by_hand(embeddings, labels, loss.proxies.detach(), margin, alpha)
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_known_angles_give_the_known_number():
    loss = ProxyAnchorLoss(2, 2, margin=0.0, alpha=1.0)
    loss.load_state_dict({"proxies": torch.eye(2)})
    value = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.659835, abs=1e-6)  # ln(1 + exp(-1)) + ln(1 + exp(0)) / 2


def test_matches_pytorch_metric_learning_without_a_miner():
    embeddings, labels = sample(2)
    ours, theirs = ProxyAnchorLoss(5, 4).double(), pml.ProxyAnchorLoss(5, 4)
    theirs.proxies.data = ours.proxies.detach().clone()
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))
    torch.testing.assert_close(ours.get_logits(embeddings), ours.alpha * theirs.get_logits(embeddings))


def test_a_weight_counts_a_sample_that_many_times_where_theirs_shifts_the_exponent():
    embeddings, labels = sample(3)
    loss = ProxyAnchorLoss(5, 4, alpha=2.0).double()
    mined = Triplets(*(torch.tensor(column) for column in ([0, 2], [1, 3], [5, 0])))  # sample 0 twice; 4, 7, 8 never
    weights = [1.0, 0.5, 0.5, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    expected = by_hand(embeddings, labels, loss.proxies.detach(), 0.1, 2.0, weights)
    assert loss(embeddings, labels, mined).item() == pytest.approx(expected)


def test_given_sum_adds_the_proxies_up_as_theirs_does():
    embeddings, labels = sample(4)
    ours = ProxyAnchorLoss(5, 4, reducer=SumReducer()).double()
    theirs = pml.ProxyAnchorLoss(5, 4, reducer=pml_reducers.SumReducer())
    theirs.proxies.data = ours.proxies.detach().clone()
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))


def test_large_exponents_do_not_overflow():
    loss = ProxyAnchorLoss(2, 2, alpha=128.0)
    loss.load_state_dict({"proxies": torch.tensor([[1.0, 0.0], [-1.0, 0.0]])})
    embeddings = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 1]))
    value.backward()
    assert value.item() == pytest.approx(2 * 128.0 * 1.1)
    assert torch.isfinite(embeddings.grad).all()


def test_margins_are_drawn_on_both_sides_of_the_right_angle():
    inside, outside = ProxyAnchorLoss(2, 2, margin=0.1).margin_lines()
    assert inside.place(0.0) == pytest.approx(math.acos(0.1))
    assert outside.place(0.0) == pytest.approx(math.acos(-0.1))


def test_a_soft_label_stands_in_its_share_among_the_positives_and_in_the_rest_among_the_negatives():
    torch.manual_seed(5)
    embeddings, shares = torch.randn(6, 4, dtype=torch.float64), torch.rand(6, 5, dtype=torch.float64)
    shares[:, 2] = 0.0
    shares = shares / shares.sum(dim=1, keepdim=True)
    margins, weights = (
        torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]).double(),
        torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0]).double(),
    )
    loss = ProxyAnchorLoss(5, 4, alpha=4.0, class_margins=margins, class_weights=weights).double()
    cosines = F.normalize(embeddings) @ F.normalize(loss.proxies.detach()).T
    pull, push = [], []
    for c in range(5):
        near = sum(w * math.exp(-4 * (s - 0.1 * c)) for w, s in zip(shares[:, c], cosines[:, c], strict=True))
        far = sum((1 - w) * math.exp(4 * (s + 0.1 * c)) for w, s in zip(shares[:, c], cosines[:, c], strict=True))
        pull += [weights[c] * math.log(1 + near)] if c != 2 else []
        push.append(weights[c] * math.log(1 + far))
    assert loss(embeddings, shares).item() == pytest.approx(float(sum(pull) / 4 + sum(push) / 5), rel=1e-6)


def test_a_distance_counts_the_nearest_sub_centre():
    embeddings, labels = sample(6)
    loss = ProxyAnchorLoss(5, 4, sub_centers=3, alpha=2.0, distance=LpDistance()).double()
    one = ProxyAnchorLoss(5, 4, alpha=2.0, distance=to_the_nearest_of(loss)).double()
    torch.testing.assert_close(loss(embeddings, labels), one(embeddings, labels))


def to_the_nearest_of(loss):
    """A distance to classes that looks up their nearest sub-centre itself."""

    class Nearest(LpDistance):
        def forward(self, query_emb, ref_emb=None):
            flat = loss.proxies.detach().flatten(0, 1)
            return LpDistance()(query_emb, flat).unflatten(1, (5, 3)).amin(dim=2)

    return Nearest()


def test_in_a_sampled_step_only_the_sampled_proxies_push():
    torch.manual_seed(0)
    loss = ProxyAnchorLoss(100, 4, sample_rate=0.25)
    loss(torch.randn(6, 4), torch.tensor([3, 3, 50, 7, 99, 7])).backward()
    touched = loss.proxies.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert {3, 7, 50, 99} <= set(touched.tolist())
    assert len(touched) == 4 + 24


@pytest.mark.parametrize("option", ["label_smoothing", "focal_gamma"])
def test_options_about_probabilities_are_refused(option):
    with pytest.raises(TypeError, match=f"there is no argument '{option}'"):
        ProxyAnchorLoss(5, 4, **{option: 0.1})
