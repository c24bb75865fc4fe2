"""What every loss hands to every reducer: each works, or says what is in its way."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import LOSSES, ArcFaceLoss, MarginLoss, ProxyAnchorLoss
from mlcore.reducers import (
    AvgNonZeroReducer,
    ClassWeightedReducer,
    DivisorReducer,
    Items,
    MeanReducer,
    MultipleReducers,
    PerAnchorReducer,
    Reducer,
    SumReducer,
    ThresholdReducer,
    flat_losses,
)
from mlcore.tuples import Triplets

CLASSES, SIZE = 4, 6
SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0])
PLAIN = {
    "mean": MeanReducer,
    "sum": SumReducer,
    "avg_non_zero": AvgNonZeroReducer,
    "divisor": DivisorReducer,
    "threshold": lambda: ThresholdReducer(low=0.1),
    "multiple": lambda: MultipleReducers({}, ThresholdReducer(low=0.1)),
}
BY_ANCHOR = {"class_weighted": lambda: ClassWeightedReducer(WEIGHTS), "per_anchor": PerAnchorReducer}

ALL = pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())


class AsTheyAre(Reducer):
    """The parts, with all that the loss says of them."""

    needs_items = True

    def forward(self, parts, embeddings):
        return parts


def batch():
    torch.manual_seed(0)
    return torch.randn(12, SIZE), torch.arange(12) % CLASSES


def built(spec, reducer):
    """A new loss, the same each time but for the reducer."""
    torch.manual_seed(1)
    loss = spec.build(SIZES)
    loss.reducer = reducer
    return loss


def by_hand(key, part):
    losses = flat_losses(part).tolist()
    if key == "sum":
        return sum(losses)
    own_divisor = part.divisor if isinstance(part, Items) else None
    if key == "avg_non_zero" and own_divisor is not None:  # the loss counts its hinges, of which an item may hold two
        return sum(losses) / max(1, int(own_divisor))
    if key == "avg_non_zero":
        return sum(losses) / max(1, sum(x > 0 for x in losses))
    if key in ("threshold", "multiple"):
        kept = [x for x in losses if x > 0.1]
        return sum(kept) / max(1, len(kept))
    divisor = own_divisor if key == "divisor" else None
    return sum(losses) / max(1, len(losses) if divisor is None else int(divisor))


def by_hand_and_anchor(key, part):
    losses, anchors, labels = part.losses.tolist(), part.anchors.tolist(), part.labels.tolist()
    if key == "class_weighted":
        weighted = [x * WEIGHTS[labels[a]].item() for x, a in zip(losses, anchors, strict=True)]
        return sum(weighted) / max(1, len(losses))
    mine = [[x for x, b in zip(losses, anchors, strict=True) if b == a] for a in range(len(labels))]
    return sum(sum(each) / max(1, len(each)) for each in mine) / len(labels)


@ALL
@pytest.mark.parametrize("key", PLAIN)
def test_reducers_of_items_alone_work_with_every_loss(spec, key):
    embeddings, labels = batch()
    parts = built(spec, AsTheyAre())(embeddings, labels)
    value = built(spec, PLAIN[key]())(embeddings.requires_grad_(), labels)
    value.backward()
    assert value.item() == pytest.approx(sum(by_hand(key, part) for part in parts.values()), rel=1e-4, abs=1e-5)
    assert torch.isfinite(embeddings.grad).all()


@ALL
@pytest.mark.parametrize("key", BY_ANCHOR)
def test_reducers_by_anchor_work_unless_a_loss_has_none(spec, key):
    embeddings, labels = batch()
    loss = built(spec, BY_ANCHOR[key]())
    if getattr(spec.load(), "without_anchors", ""):
        with pytest.raises(ValueError, match=f"{key}: needs to know the anchor"):
            loss(embeddings, labels)
        return
    parts = built(spec, AsTheyAre())(embeddings, labels)
    value = loss(embeddings.requires_grad_(), labels)
    value.backward()
    expected = sum(by_hand_and_anchor(key, part) for part in parts.values())
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert torch.isfinite(embeddings.grad).all()


@ALL
def test_each_item_has_an_anchor_with_a_label(spec):
    if reason := getattr(spec.load(), "without_anchors", ""):
        pytest.skip(reason)
    embeddings, labels = batch()
    for name, part in built(spec, AsTheyAre())(embeddings, labels).items():
        assert isinstance(part, Items), name
        assert part.anchors.shape == part.losses.shape, name
        assert int(part.anchors.max()) < len(part.labels), name
        assert set(part.labels.tolist()) <= set(labels.tolist()), name


@ALL
@pytest.mark.parametrize("key", [*PLAIN, *BY_ANCHOR])
def test_nothing_asked_for_is_a_zero_on_the_graph_with_every_reducer(spec, key):
    embeddings, labels = batch()
    loss = built(spec, (PLAIN | BY_ANCHOR)[key]())
    if key in BY_ANCHOR and getattr(spec.load(), "without_anchors", ""):
        pytest.skip(spec.load().without_anchors)
    nothing = torch.empty(0, dtype=torch.long)
    value = loss(embeddings.requires_grad_(), labels, Triplets(nothing, nothing, nothing))
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


@ALL
def test_anchors_of_a_batch_stay_its_own_beside_a_reference(spec):
    if spec.family == "proxy" or getattr(spec.load(), "without_anchors", ""):
        pytest.skip("no reference, or no anchors")
    embeddings, labels = batch()
    reference, ref_labels = torch.randn(20, SIZE), torch.arange(20) % CLASSES
    for key, reducer in BY_ANCHOR.items():
        parts = built(spec, AsTheyAre())(embeddings, labels, ref_emb=reference, ref_labels=ref_labels)
        value = built(spec, reducer())(embeddings, labels, ref_emb=reference, ref_labels=ref_labels)
        expected = sum(by_hand_and_anchor(key, part) for part in parts.values())
        assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_soft_labels_have_no_class_to_weigh_by():
    shares = torch.rand(3, CLASSES).softmax(dim=1)
    loss = ArcFaceLoss(**SIZES, reducer=ClassWeightedReducer(WEIGHTS))
    with pytest.raises(ValueError, match="labels must be given to the loss"):
        loss(torch.randn(3, SIZE), shares)


def test_a_learned_boundary_that_all_share_is_no_anchor_s():
    loss = MarginLoss(learn_beta=True, nu=0.1, reducer=ClassWeightedReducer(WEIGHTS))
    with pytest.raises(ValueError, match="needs to know the anchor"):
        loss(*batch())


@pytest.mark.parametrize("ours", [DivisorReducer(), MultipleReducers({}, DivisorReducer())])
@pytest.mark.parametrize("per_class", [False, True])
def test_the_divisor_of_the_margin_loss_is_theirs(per_class, ours):
    embeddings, labels = batch()
    options = {"nu": 0.1, "learn_beta": True, "num_classes": CLASSES if per_class else None}
    value = MarginLoss(**options, beta_per_class=per_class, reducer=ours)(embeddings, labels)
    torch.testing.assert_close(value, pml.MarginLoss(**options)(embeddings, labels))


@pytest.mark.parametrize("key", ["mean", "divisor", "class_weighted"])
def test_the_items_of_proxy_anchor_are_its_proxies(key):
    embeddings, labels = batch()
    labels = labels % 3  # class 3 is missing
    loss = ProxyAnchorLoss(**SIZES, reducer=(PLAIN | BY_ANCHOR)[key]())
    cosines = F.normalize(embeddings) @ F.normalize(loss.proxies.detach()).T
    pull = [(1 + (-32 * (cosines[labels == c, c] - 0.1)).exp().sum()).log().item() for c in range(3)]
    push = [(1 + (32 * (cosines[labels != c, c] + 0.1)).exp().sum()).log().item() for c in range(4)]
    if key == "class_weighted":
        pull, push = ([x * w for x, w in zip(each, WEIGHTS.tolist(), strict=False)] for each in (pull, push))
    assert loss(embeddings, labels).item() == pytest.approx(sum(pull) / 3 + sum(push) / 4, rel=1e-5)
