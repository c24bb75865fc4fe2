"""DeepNCM against its paper, step by step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import DeepNCMLoss


@pytest.mark.parametrize("euclidean", [False, True])
def test_means_follow_the_batches_and_the_softmax_is_over_them(euclidean):
    torch.manual_seed(0)
    loss = DeepNCMLoss(4, 3, alpha=0.8, scale=5.0, euclidean=euclidean).double()
    means = dict(enumerate(loss.proxies.clone()))
    seen = set()
    for labels in (torch.tensor([0, 0, 1]), torch.tensor([1, 2, 1]), torch.tensor([0, 2, 1])):
        embeddings = torch.randn(3, 3, dtype=torch.float64)
        for label in set(labels.tolist()):
            mean = embeddings[labels == label].mean(dim=0)
            means[label] = 0.8 * means[label] + 0.2 * mean if label in seen else mean
            seen.add(label)
        stacked = torch.stack([means[label] for label in range(4)])
        if euclidean:
            logits = -0.5 * torch.cdist(embeddings, stacked).square()
        else:
            logits = 5.0 * F.cosine_similarity(embeddings[:, None], stacked[None], dim=2)
        torch.testing.assert_close(loss(embeddings, labels), F.cross_entropy(logits, labels))
        torch.testing.assert_close(loss.proxies, stacked)
        torch.testing.assert_close(loss.get_logits(embeddings), logits, rtol=1e-5, atol=1e-5)


def test_means_are_saved_learn_nothing_by_gradient_and_stand_still_in_evaluation():
    loss = DeepNCMLoss(4, 3)
    loss(torch.randn(8, 3), torch.arange(8) % 4)
    before = loss.state_dict()["proxies"].clone()
    loss.eval()(torch.randn(8, 3, requires_grad=True), torch.arange(8) % 4).backward()
    assert torch.equal(loss.proxies, before)
    assert not list(loss.parameters())


def test_one_hot_shares_give_the_same_means():
    torch.manual_seed(0)
    hard, soft = DeepNCMLoss(4, 3), DeepNCMLoss(4, 3)
    soft.load_state_dict(hard.state_dict())
    embeddings, labels = torch.randn(8, 3), torch.arange(8) % 3
    hard(embeddings, labels)
    soft(embeddings, F.one_hot(labels, 4).float())
    torch.testing.assert_close(soft.proxies, hard.proxies)
