"""Metric loss and classifier against the sum written down."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mlcore.losses import ContrastiveLoss, SupConLoss
from mlcore.training.methods import TrainWithClassifier


def cross_entropy_by_hand(logits, labels, smoothing):
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        for place, value in enumerate(row):
            share = (1.0 - smoothing) * (place == label) + smoothing / len(row)
            total += share * (log_sum - value)
    return total / len(labels)


@pytest.mark.parametrize(("weight", "smoothing"), [(1.0, 0.0), (0.3, 0.2), (0.0, 0.0)])
def test_matches_the_sum_written_down(weight, smoothing):
    torch.manual_seed(0)
    features, labels, head = torch.randn(10, 6), torch.arange(10) % 4, nn.Linear(6, 5)
    method = TrainWithClassifier(
        lambda size: ContrastiveLoss(), None, 4, 5, classifier_weight=weight, label_smoothing=smoothing
    )
    made = method(head, (features,), labels)
    embeddings = head(features)
    metric = ContrastiveLoss()(embeddings, labels).item()
    logits = embeddings @ method.classifier.weight.T + method.classifier.bias
    classifier = weight * cross_entropy_by_hand(logits, labels, smoothing)
    assert made.parts == {"metric": pytest.approx(metric), "classifier": pytest.approx(classifier, rel=1e-4)}
    assert made.loss.item() == pytest.approx(metric + classifier, rel=1e-5)


def test_the_classifier_trains_and_is_no_metric_loss():
    torch.manual_seed(0)
    method = TrainWithClassifier(lambda size: SupConLoss(), None, 4, 5)
    method(nn.Identity(), (torch.randn(8, 5),), torch.arange(8) % 4).loss.backward()
    assert method.classifier.weight.grad.abs().sum() > 0
    assert method.losses() == [method.loss]


def test_labels_that_the_classifier_does_not_know_are_refused():
    method = TrainWithClassifier(lambda size: SupConLoss(), None, 4, 5)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 4\), one number per class; got 7"):
        method(nn.Identity(), (torch.randn(3, 5),), torch.tensor([0, 7, 1]))
