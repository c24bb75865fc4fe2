"""What all margin-softmax losses share: soft targets, weights, warm-up, sampled classes, against plain softmaxes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import LOSSES, ArcFaceLoss, CosFaceLoss, NormalizedLinearLoss, NormalizedSoftmaxLoss, margin_softmax
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, auto_scale, margins_by_count

CLASSES, SIZE = 5, 4
SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}
SOFTMAX = [spec for spec in LOSSES.values() if issubclass(spec.load(), MarginSoftmaxLoss)]
ALL = pytest.mark.parametrize("spec", SOFTMAX, ids=lambda spec: spec.key)


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


@ALL
def test_what_the_fused_step_gives_is_what_the_whole_matrix_gives(spec, monkeypatch):
    monkeypatch.setattr(margin_softmax, "FEW", 0)
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


def test_focal_and_class_weights_multiply_each_samples_own_loss():
    embeddings, labels = sample()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    loss = NormalizedSoftmaxLoss(**SIZES, temperature=0.2, focal_gamma=2.0, class_weights=weights).double()
    p = (cosines_of(loss, embeddings) / 0.2).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(loss(embeddings, labels), (-weights[labels] * (1 - p) ** 2 * p.log()).mean())


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
    classes = loss.batch_of(embeddings, labels).classes
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
        first = loss.batch_of(embeddings, labels).classes.tolist()
        loss(embeddings, labels)
        return first, loss.batch_of(embeddings, labels).classes.tolist()

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


def test_a_second_derivative_is_refused_where_it_would_be_wrong(monkeypatch):
    monkeypatch.setattr(margin_softmax, "FEW", 0)
    embeddings, labels = sample()
    loss = ArcFaceLoss(**SIZES).double()
    with pytest.raises(RuntimeError, match="Set needs_every_cosine = True"):
        torch.autograd.grad(loss(embeddings.requires_grad_(), labels), embeddings, create_graph=True)
    loss.needs_every_cosine = True
    assert torch.autograd.gradgradcheck(lambda rows: loss(rows, labels), embeddings)
