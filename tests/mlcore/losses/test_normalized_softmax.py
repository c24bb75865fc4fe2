"""Normalized softmax against its paper, one sample at a time, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, DotProductSimilarity, LpDistance
from mlcore.losses import NormalizedSoftmaxLoss
from mlcore.miners import BatchHardMiner


def by_hand(embedding, label, proxies, temperature):
    """Equation 4 of arXiv:1811.12649."""
    logits = [F.cosine_similarity(embedding, proxy, dim=0).item() / temperature for proxy in proxies]
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


def sample(seed, count=10, classes=5, size=4):
    torch.manual_seed(seed)
    return torch.randn(count, size, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_matches_the_paper(temperature, seed):
    embeddings, labels = sample(seed)
    loss = NormalizedSoftmaxLoss(5, 4, temperature=temperature).double()
    proxies = loss.proxies.detach()
    expected = [
        by_hand(row, label, proxies, temperature) for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


def test_known_angles_give_the_known_number():
    loss = NormalizedSoftmaxLoss(2, 2, temperature=0.5)
    loss.load_state_dict({"proxies": torch.tensor([[3.0, 0.0], [0.0, 0.1]])})
    value = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.126928, abs=1e-6)  # ln(1 + exp(-1 / 0.5))


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(2)
    ours, theirs = NormalizedSoftmaxLoss(5, 4).double(), pml.NormalizedSoftmaxLoss(5, 4)
    theirs.W.data = ours.proxies.detach().T.clone()
    tuples = BatchHardMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    torch.testing.assert_close(ours.get_logits(embeddings), theirs.get_logits(embeddings))


def test_raw_embeddings_count_by_length_when_asked():
    embeddings, labels = sample(3)
    loss = NormalizedSoftmaxLoss(5, 4, distance=DotProductSimilarity(normalize_embeddings=False)).double()
    assert loss(2.0 * embeddings, labels).item() != pytest.approx(loss(embeddings, labels).item())
    expected = embeddings @ F.normalize(loss.proxies.detach()).T / 0.05
    torch.testing.assert_close(loss.get_logits(embeddings).detach(), expected)


def test_a_similarity_is_required():
    NormalizedSoftmaxLoss(2, 2, distance=CosineSimilarity())
    with pytest.raises(ValueError, match="must be a similarity"):
        NormalizedSoftmaxLoss(2, 2, distance=LpDistance())


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_power_of_the_cosine_is_scaled_after_it_is_taken(power):
    embeddings, labels = sample(4)
    ours = NormalizedSoftmaxLoss(5, 4, temperature=0.2, distance=CosineSimilarity(power=power)).double()
    theirs = pml.NormalizedSoftmaxLoss(5, 4, temperature=0.2, distance=pml_distances.CosineSimilarity(power=power))
    theirs.W.data = ours.proxies.detach().T.clone()
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))
    torch.testing.assert_close(ours(embeddings, F.one_hot(labels, 5).double()), theirs(embeddings, labels))
