"""VPL against its paper: ArcFace against proxies mixed with the last embedding of their class, step by step."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mlcore.losses import ArcFaceLoss, VPLLoss


def test_is_arcface_against_the_mixed_proxies_while_the_memory_is_young():
    torch.manual_seed(0)
    loss = VPLLoss(4, 3, memory_share=0.3, max_age=2, start=2).double()
    memory: dict[int, tuple[int, torch.Tensor]] = {}
    for step, labels in enumerate([[0, 1, 1], [1, 2, 2], [0, 1, 1], [1, 1, 1], [1, 3, 3], [0, 2, 1]]):
        embeddings, labels = torch.randn(3, 3, dtype=torch.float64), torch.tensor(labels)
        mixed = F.normalize(loss.proxies.detach())
        for label, (when, kept) in memory.items():
            if step >= 2 and step - when <= 2:
                mixed[label] = 0.7 * mixed[label] + 0.3 * kept
        arcface = ArcFaceLoss(4, 3).double()
        arcface.load_state_dict({"proxies": mixed})
        torch.testing.assert_close(loss(embeddings, labels), arcface(embeddings, labels))
        for row, label in zip(embeddings, labels.tolist(), strict=True):
            memory[label] = (step, F.normalize(row, dim=0))


def test_is_arcface_in_evaluation_and_before_its_start():
    torch.manual_seed(0)
    loss, arcface = VPLLoss(4, 3, start=3), ArcFaceLoss(4, 3)
    arcface.proxies = loss.proxies
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 4
    for _ in range(3):
        torch.testing.assert_close(loss(embeddings, labels), arcface(embeddings, labels))
    assert (loss(embeddings, labels) - arcface(embeddings, labels)).abs() > 1e-3
    loss.eval()
    torch.testing.assert_close(loss(embeddings, labels), arcface(embeddings, labels))


def test_the_memory_is_saved_and_knows_sampled_classes():
    loss = VPLLoss(50, 3, sample_rate=0.1)
    embeddings, labels = torch.randn(4, 3), torch.tensor([40, 2, 2, 9])
    loss(embeddings, labels)
    saved = loss.state_dict()
    assert (saved["remembered_at"] >= 0).nonzero().squeeze(1).tolist() == [2, 9, 40]
    torch.testing.assert_close(saved["memory"][[40, 2, 9]], F.normalize(embeddings[[0, 2, 3]]))
