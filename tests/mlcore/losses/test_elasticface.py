"""ElasticFace in both kinds against its paper: plain losses with the margins that were drawn."""

from __future__ import annotations

import pytest
import torch

from mlcore.losses import ArcFaceLoss, CosFaceLoss, ElasticFaceArcLoss, ElasticFaceCosLoss

KINDS = pytest.mark.parametrize(
    ("kind", "parent"), [(ElasticFaceArcLoss, ArcFaceLoss), (ElasticFaceCosLoss, CosFaceLoss)], ids=["arc", "cos"]
)


def one_by_one(parent, proxies, embeddings, labels, margins):
    values = []
    for i, margin in enumerate(margins.tolist()):
        loss = parent(5, 3, margin=margin).double()
        loss.proxies = proxies
        values.append(loss(embeddings[i : i + 1], labels[i : i + 1]))
    return torch.stack(values).mean()


@KINDS
@pytest.mark.parametrize("plus", [False, True])
def test_each_sample_has_the_parent_s_loss_with_the_margin_it_drew(kind, parent, plus):
    torch.manual_seed(0)
    loss = kind(5, 3, std=0.1, plus=plus, seed=3).double()
    embeddings, labels = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 5
    draws = 0.1 * torch.randn(7, 1, generator=loss.step_generator()).double().squeeze(1)
    if plus:
        cosines = torch.nn.functional.cosine_similarity(embeddings, loss.proxies.detach()[labels])
        handed = torch.empty(7, dtype=torch.float64)
        for rank, i in enumerate(sorted(range(7), key=lambda i: -cosines[i])):
            handed[i] = sorted(draws.tolist())[rank]
        draws = handed
    expected = one_by_one(parent, loss.proxies, embeddings, labels, loss.margin + draws)
    torch.testing.assert_close(loss(embeddings, labels), expected)


@KINDS
def test_the_margin_is_its_mean_in_evaluation(kind, parent):
    loss, plain = kind(5, 3).eval(), parent(5, 3)
    plain.proxies = loss.proxies
    embeddings, labels = torch.randn(7, 3), torch.arange(7) % 5
    torch.testing.assert_close(loss(embeddings, labels), plain(embeddings, labels))


@KINDS
def test_draws_change_with_the_steps_and_repeat_from_saved_state(kind, parent):
    loss, again = kind(5, 3), kind(5, 3)
    embeddings, labels = torch.randn(7, 3), torch.arange(7) % 5
    first = loss(embeddings, labels).item()
    again.load_state_dict(loss.state_dict())
    second = loss(embeddings, labels).item()
    assert first != second
    assert again(embeddings, labels).item() == second
