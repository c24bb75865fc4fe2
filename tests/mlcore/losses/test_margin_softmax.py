"""What softmax losses with a margin share: shares of it, warm-up, margins per class, the fused step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import LOSSES, ArcFaceLoss, CosFaceLoss, margin_softmax
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, margins_by_count

CLASSES, SIZE = 5, 4
SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}
WITH_MARGIN = [spec for spec in LOSSES.values() if issubclass(spec.load(), MarginSoftmaxLoss)]


def sample(seed=0, count=10):
    torch.manual_seed(seed)
    return torch.randn(count, SIZE, dtype=torch.float64), torch.randint(CLASSES, (count,))


def cosines_of(loss, embeddings):
    return F.normalize(embeddings) @ F.normalize(loss.proxies.detach()).T


@pytest.mark.parametrize("spec", WITH_MARGIN, ids=lambda spec: spec.key)
def test_what_the_fused_step_gives_is_what_the_whole_matrix_gives(spec, monkeypatch):
    monkeypatch.setattr(margin_softmax, "DENSE_BELOW", 0)
    if "sub_centers" not in spec.defaults():
        pytest.skip("this loss sets it itself")
    embeddings, labels = sample()
    loss = spec.build(SIZES, sub_centers=2).double().eval()
    dense = copy.deepcopy(loss)
    dense.needs_every_cosine = True
    values = []
    for one in (loss, dense):
        rows = embeddings.clone().requires_grad_()
        value = one(rows, labels)
        value.backward()
        values.append((value, rows.grad, one.proxies.grad))
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_soft_label_gives_each_class_its_share_of_the_margin(share):
    embeddings, _ = sample()
    loss = ArcFaceLoss(**SIZES, margin=0.4, scale=8.0).double()
    shares = torch.zeros(10, CLASSES, dtype=torch.float64)
    shares[:, 1], shares[:, 3] = share, 1.0 - share
    with torch.no_grad():
        loss.proxies.abs_()
    angles = cosines_of(loss, embeddings.abs_()).acos()
    expected = -(shares * (8.0 * (angles + 0.4 * shares).cos()).log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(loss(embeddings, shares), expected.mean())


def test_mixing_a_class_with_itself_is_that_class():
    embeddings, labels = sample()
    loss = CosFaceLoss(**SIZES).double()
    hot = F.one_hot(labels, CLASSES).double()
    torch.testing.assert_close(loss(embeddings, 0.3 * hot + 0.7 * hot), loss(embeddings, labels))


def test_label_smoothing_is_torch_s_with_the_margin_on_the_true_class():
    embeddings, labels = sample()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    loss = CosFaceLoss(**SIZES, scale=8.0, label_smoothing=0.2, class_weights=weights).double()
    logits = 8.0 * (cosines_of(loss, embeddings) - 0.35 * F.one_hot(labels, CLASSES))
    expected = F.cross_entropy(logits, labels, weights, label_smoothing=0.2, reduction="none").mean()
    torch.testing.assert_close(loss(embeddings, labels), expected)


def test_a_margin_per_class_is_that_of_the_label():
    embeddings, labels = sample()
    margins = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    loss = CosFaceLoss(**SIZES, scale=8.0, class_margins=margins).double()
    logits = cosines_of(loss, embeddings)
    logits[torch.arange(10), labels] -= margins.float().double()[labels]
    torch.testing.assert_close(loss(embeddings, labels), F.cross_entropy(8.0 * logits, labels))


def test_margins_by_count_are_larger_for_rare_classes():
    margins = margins_by_count(torch.tensor([1, 16, 10_000]))
    assert margins.tolist() == pytest.approx([0.55, 0.3, 0.1])
    with pytest.raises(ValueError, match="every class needs a sample"):
        margins_by_count(torch.tensor([1, 0]))


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        (torch.zeros(3), r"shape \(5,\)"),
        (torch.full((5,), 28.6), "between 0 and 1.5 rad; got 28.6. If that is degrees, pass 0.499"),
        (torch.full((5,), math.nan), "between 0 and 1.5"),
    ],
)
def test_margins_per_class_are_checked(margins, message):
    with pytest.raises(ValueError, match=message):
        ArcFaceLoss(**SIZES, class_margins=margins)


def test_the_margin_grows_with_training_steps_and_is_saved():
    embeddings, labels = sample()
    loss = CosFaceLoss(**SIZES, margin_warm_up_steps=4).double()
    plain = [CosFaceLoss(**SIZES, margin=0.35 * share).double() for share in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0)]
    for one in plain:
        one.proxies = loss.proxies
    for one in plain[:3]:
        torch.testing.assert_close(loss(embeddings, labels), one(embeddings, labels))
    loss.eval()
    for _ in range(2):
        torch.testing.assert_close(loss(embeddings, labels), plain[3](embeddings, labels))
    again = CosFaceLoss(**SIZES, margin_warm_up_steps=4).double()
    again.load_state_dict(loss.state_dict())
    for one in plain[3:]:
        torch.testing.assert_close(again(embeddings, labels), one(embeddings, labels))


def test_a_second_derivative_is_refused_where_it_would_be_wrong(monkeypatch):
    monkeypatch.setattr(margin_softmax, "DENSE_BELOW", 0)
    embeddings, labels = sample()
    loss = ArcFaceLoss(**SIZES).double()
    with pytest.raises(RuntimeError, match="Set needs_every_cosine = True"):
        torch.autograd.grad(loss(embeddings.requires_grad_(), labels), embeddings, create_graph=True)
    loss.needs_every_cosine = True
    assert torch.autograd.gradgradcheck(lambda rows: loss(rows, labels), embeddings)
