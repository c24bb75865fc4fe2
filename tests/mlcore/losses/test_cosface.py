"""CosFace against its paper, one sample at a time, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import DotProductSimilarity
from mlcore.losses import CosFaceLoss
from mlcore.miners import BatchHardMiner


def by_hand(embedding, label, proxies, margin, scale):
    """Equation 4 of arXiv:1801.09414."""
    cosines = [F.cosine_similarity(embedding, proxy, dim=0).item() for proxy in proxies]
    logits = [scale * (cosine - margin * (j == label)) for j, cosine in enumerate(cosines)]
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("margin", "scale"), [(0.0, 8.0), (0.35, 8.0), (0.6, 30.0)])
def test_matches_the_paper(margin, scale, seed):
    torch.manual_seed(seed)
    loss = CosFaceLoss(5, 4, margin=margin, scale=scale).double()
    embeddings, labels = torch.randn(10, 4, dtype=torch.float64), torch.randint(5, (10,))
    proxies = loss.proxies.detach()
    expected = [
        by_hand(embedding, label, proxies, margin, scale)
        for embedding, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


def test_known_angles_give_the_known_number():
    loss = CosFaceLoss(2, 2, margin=0.35, scale=2.0)
    loss.load_state_dict({"proxies": torch.eye(2)})
    value = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.241008, abs=1e-6)  # ln(1 + exp(-2 (1 - 0.35)))


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    torch.manual_seed(2)
    embeddings, labels = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 5
    ours, theirs = CosFaceLoss(5, 4).double(), pml.CosFaceLoss(5, 4)
    theirs.W.data = ours.proxies.detach().T.clone()
    tuples = BatchHardMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    torch.testing.assert_close(ours.get_logits(embeddings), theirs.get_logits(embeddings))


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="must be CosineSimilarity"):
        CosFaceLoss(2, 2, distance=DotProductSimilarity())


def test_margin_is_drawn_as_a_cosine_below_the_own_proxy_angles():
    (line,) = CosFaceLoss(2, 2, margin=0.5).margin_lines()
    assert line.place(0.0) == pytest.approx(math.pi / 3)
