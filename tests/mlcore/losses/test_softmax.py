"""The linear softmax against torch's own linear layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mlcore.losses import SoftmaxLoss


def test_is_a_linear_layer_and_a_cross_entropy():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 4
    loss = SoftmaxLoss(4, 3).double()
    with torch.no_grad():
        loss.bias.normal_()
    logits = F.linear(embeddings, loss.proxies, loss.bias)
    torch.testing.assert_close(loss(embeddings, labels), F.cross_entropy(logits, labels))
    torch.testing.assert_close(loss.get_logits(embeddings), logits)
    loss(embeddings, labels).backward()
    assert (loss.bias.grad != 0).all()


def test_the_bias_goes_with_its_class_when_classes_are_sampled():
    loss = SoftmaxLoss(50, 3, sample_rate=0.2)
    with torch.no_grad():
        loss.bias.copy_(torch.arange(50.0))
    embeddings, labels = torch.randn(4, 3), torch.tensor([40, 2, 2, 9])
    classes = loss.draw_classes(embeddings, labels).classes
    logits = loss.get_logits(embeddings)[:, classes]
    expected = F.cross_entropy(logits, torch.searchsorted(classes, labels))
    torch.testing.assert_close(loss(embeddings, labels), expected)
