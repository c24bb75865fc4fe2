"""CircleLoss at class level against its paper, one sample at a time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import CircleLossCL


def by_hand(embedding, label, proxies, margin, gamma):
    """Equation 6 of arXiv:2002.10857 with the class proxies as the one positive and the negatives."""
    cosines = [F.cosine_similarity(embedding, proxy, dim=0).item() for proxy in proxies]
    own = cosines.pop(label)
    pull = -gamma * max(1 + margin - own, 0.0) * (own - (1 - margin))
    push = [gamma * max(cosine + margin, 0.0) * (cosine - margin) for cosine in cosines]
    return math.log1p(sum(math.exp(one + pull) for one in push))


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("gamma", [8.0, 32.0])
def test_matches_the_paper(margin, gamma):
    torch.manual_seed(0)
    loss = CircleLossCL(5, 4, margin=margin, gamma=gamma).double()
    embeddings, labels = torch.randn(10, 4, dtype=torch.float64), torch.arange(10) % 5
    expected = [
        by_hand(row, label, loss.proxies.detach(), margin, gamma)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


def test_weights_pass_no_gradient():
    """For two classes the gradient by the own cosine is -p gamma [1 + m - c]+, p the share of the other class."""
    loss = CircleLossCL(2, 2, margin=0.25, gamma=4.0).double()
    loss.load_state_dict({"proxies": torch.eye(2)})
    angle = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    value = loss(torch.stack([angle.cos(), angle.sin()])[None], torch.tensor([0]))
    value.backward()
    own, other = math.cos(0.7), math.sin(0.7)
    p = 1 - math.exp(-value.item())
    expected = p * 4.0 * ((1.25 - own) * math.sin(0.7) + (other + 0.25) * math.cos(0.7))
    assert angle.grad.item() == pytest.approx(expected)


def test_lines_stand_where_both_sides_come_to_rest():
    own, other = CircleLossCL(2, 2, margin=0.5).margin_lines()
    assert own.place(0.0) == pytest.approx(math.pi / 3)
    assert other.place(0.0) == pytest.approx(math.pi / 3)
