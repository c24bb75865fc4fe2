"""Sub-center ArcFace against pytorch-metric-learning (degrees, proxies laid flat), and its outliers against a loop."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import ArcFaceLoss, SubCenterArcFaceLoss
from mlcore.miners import TripletMarginMiner


def pair(margin=0.5, sub_centers=3):
    torch.manual_seed(0)
    embeddings, labels = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 4
    ours = SubCenterArcFaceLoss(5, 3, margin=margin, sub_centers=sub_centers).double()
    theirs = pml.SubCenterArcFaceLoss(
        num_classes=5, embedding_size=3, margin=math.degrees(margin), sub_centers=sub_centers
    )
    theirs.W.data = ours.proxies.detach().reshape(-1, 3).T.clone()
    return embeddings, labels, ours, theirs


@pytest.mark.parametrize("mined", [False, True])
@pytest.mark.parametrize("margin", [0.1, 0.5])
def test_matches_pytorch_metric_learning(margin, mined):
    embeddings, labels, ours, theirs = pair(margin)
    tuples = TripletMarginMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    torch.testing.assert_close(ours.get_logits(embeddings), theirs.get_logits(embeddings))


def test_one_sub_centre_is_arcface():
    embeddings, labels, _, _ = pair()
    one, arcface = SubCenterArcFaceLoss(5, 3, sub_centers=1).double(), ArcFaceLoss(5, 3).double()
    arcface.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(embeddings, labels), arcface(embeddings, labels))
    assert one.get_outliers(embeddings, labels)[1].shape == (5, 3)


def outliers_by_loop(loss, embeddings, labels, threshold):
    unit, proxies, found, centers = F.normalize(embeddings), F.normalize(loss.proxies.detach(), dim=-1), [], {}
    for label in labels.unique().tolist():
        mine = [i for i in range(len(labels)) if labels[i] == label]
        votes = [0] * proxies.shape[1]
        for i in mine:
            votes[int((proxies[label] @ unit[i]).argmax())] += 1
        dominant = votes.index(max(votes))
        centers[label] = loss.proxies.detach()[label, dominant]
        found += [i for i in mine if math.acos(float(proxies[label, dominant] @ unit[i])) > threshold]
    return sorted(found), centers


@pytest.mark.parametrize("threshold", [math.radians(75), math.radians(40), math.radians(120)])
def test_outliers_are_far_from_the_proxy_with_most_votes(threshold):
    embeddings, labels, ours, theirs = pair()
    found, centers = ours.get_outliers(embeddings, labels, threshold)
    expected, expected_centers = outliers_by_loop(ours, embeddings, labels, threshold)
    assert found.tolist() == expected
    for label, center in expected_centers.items():
        torch.testing.assert_close(centers[label], center)
    in_degrees, _ = theirs.get_outliers(embeddings, labels, threshold=math.degrees(threshold))
    assert sorted(in_degrees.tolist()) == expected
    assert torch.isfinite(centers[4]).all()  # theirs leaves a class without samples to chance


def test_outliers_alone_come_without_the_centres():
    embeddings, labels, ours, _ = pair()
    alone = ours.get_outliers(embeddings, labels, return_dominant_centers=False)
    assert alone.tolist() == ours.get_outliers(embeddings, labels)[0].tolist()


def test_a_threshold_in_degrees_is_refused_with_the_radians():
    embeddings, labels, ours, _ = pair()
    with pytest.raises(ValueError, match=r"got 75\. If that is degrees, pass 1\.309"):
        ours.get_outliers(embeddings, labels, threshold=75.0)
