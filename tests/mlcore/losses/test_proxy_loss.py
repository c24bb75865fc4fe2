"""What all losses with proxies share: soft labels, weights, sampled classes, scales, against plain softmaxes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import LOSSES, ArcFaceLoss, CosFaceLoss, NormalizedLinearLoss, NormalizedSoftmaxLoss
from mlcore.losses.proxy_loss import ProxyLoss, auto_scale

CLASSES, SIZE = 5, 4
SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}
WITH_PROXIES = [spec for spec in LOSSES.values() if issubclass(spec.load(), ProxyLoss)]
ALL = pytest.mark.parametrize("spec", WITH_PROXIES, ids=lambda spec: spec.key)


def sample(seed=0, count=10):
    torch.manual_seed(seed)
    return torch.randn(count, SIZE, dtype=torch.float64), torch.randint(CLASSES, (count,))


def cosines_of(loss, embeddings):
    return F.normalize(embeddings) @ F.normalize(loss.proxies.detach()).T


@ALL
def test_one_hot_shares_mean_the_same_as_class_numbers(spec):
    embeddings, labels = sample()
    loss = spec.build(SIZES).double().eval()
    shares = F.one_hot(labels, CLASSES).double()
    torch.testing.assert_close(loss(embeddings, shares), loss(embeddings, labels))


@ALL
def test_gradient_with_soft_labels_is_that_of_the_value(spec):
    if getattr(spec.load(), "detached", ""):
        pytest.skip(spec.load().detached)
    embeddings, _ = sample(count=6)
    loss = spec.build(SIZES).double().eval()
    shares = torch.rand(6, CLASSES, dtype=torch.float64).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, shares), embeddings.requires_grad_())


@ALL
@pytest.mark.parametrize(
    "options",
    [{"label_smoothing": 0.1}, {"focal_gamma": 2.0}, {"sub_centers": 3}, {"sample_rate": 0.5}],
    ids=lambda options: next(iter(options)),
)
def test_every_one_takes_every_option(spec, options):
    if set(options) & set(getattr(spec.load(), "sets_itself", ())):
        pytest.skip("this loss sets it itself")
    embeddings, labels = sample()
    loss = spec.build(SIZES, **options).double()
    for _ in range(2):
        loss(embeddings.requires_grad_(), labels).backward()
    assert torch.isfinite(embeddings.grad).all()
    assert loss.get_logits(embeddings).shape == (10, CLASSES)


def test_focal_and_class_weights_multiply_each_samples_own_loss():
    embeddings, labels = sample()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    loss = NormalizedSoftmaxLoss(**SIZES, temperature=0.2, focal_gamma=2.0, class_weights=weights).double()
    p = (cosines_of(loss, embeddings) / 0.2).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(loss(embeddings, labels), (-weights[labels] * (1 - p) ** 2 * p.log()).mean())


def test_a_sampled_step_sees_its_own_classes_and_a_share_of_the_others():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, SIZE), torch.tensor([3, 3, 50, 7, 99, 7])
    loss = ArcFaceLoss(100, SIZE, sample_rate=0.25)
    loss(embeddings, labels).backward()
    touched = loss.proxies.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert set(labels.tolist()) <= set(touched.tolist())
    assert len(touched) == 4 + 24


def test_a_sampled_step_is_the_loss_over_the_classes_drawn():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, SIZE), torch.tensor([3, 3, 50, 7, 99, 7])
    weights, margins = torch.rand(100), torch.rand(100)
    options = {"class_weights": weights, "class_margins": margins}
    loss = ArcFaceLoss(100, SIZE, sample_rate=0.25, **options)
    classes = loss.draw_classes(embeddings, labels).classes
    few = ArcFaceLoss(len(classes), SIZE, class_weights=weights[classes], class_margins=margins[classes])
    with torch.no_grad():
        few.proxies.copy_(loss.proxies[classes])
    local = torch.searchsorted(classes, labels)
    hot = F.one_hot(labels, 100).float()
    torch.testing.assert_close(loss(embeddings, labels), few(embeddings, local))
    loss.steps.zero_()
    torch.testing.assert_close(loss(embeddings, hot), few(embeddings, F.one_hot(local, len(classes)).float()))


def test_sampled_classes_change_with_the_steps_and_repeat_with_the_seed():
    embeddings, labels = torch.randn(2, SIZE), torch.tensor([0, 1])

    def drawn(seed):
        loss = ArcFaceLoss(100, SIZE, sample_rate=0.1, seed=seed)
        first = loss.draw_classes(embeddings, labels).classes.tolist()
        loss(embeddings, labels)
        return first, loss.draw_classes(embeddings, labels).classes.tolist()

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0)[0] != drawn(0)[1]


def test_all_classes_are_seen_in_evaluation():
    embeddings, labels = sample()
    loss, whole = CosFaceLoss(**SIZES, sample_rate=0.01).double().eval(), CosFaceLoss(**SIZES).double()
    whole.proxies = loss.proxies
    assert loss(embeddings, labels).item() == whole(embeddings, labels).item()


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_scale_from_the_number_of_classes_learns_with_few_of_them(classes):
    assert auto_scale(classes) == pytest.approx(math.sqrt(2) * math.log(4))
    assert auto_scale(100) == pytest.approx(math.sqrt(2) * math.log(99))
    loss = NormalizedLinearLoss(classes, SIZE)
    loss(torch.randn(4, SIZE, requires_grad=True), torch.zeros(4, dtype=torch.long)).backward()
    assert (loss.proxies.grad.abs().sum() > 0) == (classes > 1)


def test_a_trainable_scale_is_a_parameter_with_a_gradient():
    embeddings, labels = sample()
    loss = CosFaceLoss(**SIZES, scale=10.0, trainable_scale=True).double()
    loss(embeddings, labels).backward()
    step = 1e-6
    values = []
    for change in (step, -step):
        with torch.no_grad():
            loss.scale.fill_(10.0 + change)
        values.append(loss(embeddings, labels).item())
    assert loss.scale.grad.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_the_nearest_sub_centre_speaks_for_its_class():
    embeddings, labels = sample()
    loss = NormalizedSoftmaxLoss(**SIZES, sub_centers=3).double()
    cosines = torch.einsum("bd,ckd->bck", F.normalize(embeddings), F.normalize(loss.proxies.detach(), dim=-1))
    expected = F.cross_entropy(cosines.amax(dim=2) / 0.05, labels)
    torch.testing.assert_close(loss(embeddings, labels), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((3, 4), 0.25), r"\(3, 5\); got \(3, 4\)"),
        (torch.full((3, 5), 1.0), "add up to 1"),
        (torch.full((3, 5), math.nan), "add up to 1"),
        (torch.tensor([[-1.0, 1.0, 1.0, 0.0, 0.0]] * 3), "none below 0"),
    ],
)
def test_soft_labels_are_shares(labels, message):
    with pytest.raises(ValueError, match=message):
        ArcFaceLoss(**SIZES)(torch.randn(3, SIZE), labels)
