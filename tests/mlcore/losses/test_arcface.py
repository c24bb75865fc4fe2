"""ArcFace against its paper, one sample at a time, and against pytorch-metric-learning (whose margin is in degrees)."""

from __future__ import annotations

import itertools
import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import ArcFaceLoss
from mlcore.miners import TripletMarginMiner


def by_hand(embedding, label, proxies, margin, scale):
    """Equation 3 of arXiv:1801.07698, with acos and no tricks."""
    angles = [math.acos(F.cosine_similarity(embedding, proxy, dim=0)) for proxy in proxies]
    logits = [scale * math.cos(angle + margin * (j == label)) for j, angle in enumerate(angles)]
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


def at_angle(angle, margin=0.5, scale=1.0, dtype=torch.float64):
    """The loss, and the embedding's gradient, `angle` away from its proxy in the plane, the other proxy opposite."""
    loss = ArcFaceLoss(2, 2, margin=margin, scale=scale).to(dtype)
    loss.load_state_dict({"proxies": torch.tensor([[1.0, 0.0], [-1.0, 0.0]])})
    embedding = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=dtype, requires_grad=True)
    value = loss(embedding, torch.tensor([0]))
    value.backward()
    return value.item(), embedding.grad


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5])
def test_matches_the_paper_where_angle_plus_margin_is_below_pi(margin, seed):
    torch.manual_seed(seed)
    loss = ArcFaceLoss(num_classes=4, embedding_size=3, margin=margin, scale=16.0).double()
    with torch.no_grad():
        loss.proxies.copy_(torch.rand(4, 3))  # one octant: every angle is below 90 degrees
    embeddings, labels = torch.rand(8, 3, dtype=torch.float64), torch.arange(8) % 4
    proxies = loss.proxies.detach()
    expected = [
        by_hand(embedding, label, proxies, margin, scale=16.0)
        for embedding, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 8)


def test_known_angles_give_the_known_number():
    loss = ArcFaceLoss(2, 2, margin=0.5, scale=1.0)
    loss.load_state_dict({"proxies": torch.eye(2)})
    value = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.347685, abs=1e-6)  # ln(1 + exp(cos 90deg - cos 0.5))


@pytest.mark.parametrize("mined", [False, True])
@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_matches_pytorch_metric_learning_at_all_angles(margin, mined):
    torch.manual_seed(2)
    embeddings, labels = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 4
    ours, theirs = ArcFaceLoss(4, 3, margin=margin).double(), pml.ArcFaceLoss(4, 3, margin=math.degrees(margin))
    theirs.W.data = ours.proxies.detach().T.clone()
    tuples = TripletMarginMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    torch.testing.assert_close(ours.get_logits(embeddings), theirs.get_logits(embeddings))


def test_loss_grows_with_the_angle_all_the_way_to_pi():
    values = [at_angle(math.radians(degrees))[0] for degrees in range(0, 181, 2)]
    assert all(later > earlier for earlier, later in itertools.pairwise(values))


@pytest.mark.parametrize("angle", [0.0, math.pi])
def test_gradient_is_finite_on_the_proxy_and_opposite_where_theirs_is_not(angle):
    _, gradient = at_angle(angle, scale=64.0, dtype=torch.float32)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("angle", [1e-3, 0.4, 1.5, math.pi - 0.6, math.pi - 0.4])
def test_gradient_is_that_of_the_angle(angle):
    step = 1e-6
    slope = (at_angle(angle + step)[0] - at_angle(angle - step)[0]) / (2 * step)
    _, gradient = at_angle(angle)
    tangent = torch.tensor([[-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    assert (gradient * tangent).sum().item() == pytest.approx(slope, rel=1e-4)


def test_a_margin_in_degrees_is_refused_with_the_radians():
    with pytest.raises(ValueError, match=r"between 0 and 1.5 rad; got 28.6. If that is degrees, pass 0.499"):
        ArcFaceLoss(2, 2, margin=28.6)


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="must be CosineSimilarity"):
        ArcFaceLoss(2, 2, distance=LpDistance())


def test_margin_is_drawn_beside_the_own_proxy_angles():
    (line,) = ArcFaceLoss(2, 2, margin=0.3).margin_lines()
    assert line.between == "proxies"
    assert line.place(0.4) == pytest.approx(0.7)
