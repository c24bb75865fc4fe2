"""How reducers make one number of many."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.losses as pml_losses
import pytorch_metric_learning.reducers as pml
import torch

from mlcore.losses import ContrastiveLoss, TripletMarginLoss
from mlcore.reducers import (
    REDUCERS,
    AvgNonZeroReducer,
    ClassWeightedReducer,
    DivisorReducer,
    DoNothingReducer,
    Items,
    MeanReducer,
    MultipleReducers,
    PerAnchorReducer,
    SumReducer,
    Sums,
    ThresholdReducer,
)
from mlcore.tuples import all_triplets

PARTS = {"pos_loss": torch.tensor([0.0, 2.0, 4.0]), "neg_loss": torch.tensor([1.0, 0.0])}
EMBEDDINGS = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("reducer", "value"), [(MeanReducer(), 2.0 + 0.5), (SumReducer(), 6.0 + 1.0), (AvgNonZeroReducer(), 3.0 + 1.0)]
)
def test_parts_are_reduced_one_by_one_and_added(reducer, value):
    assert reducer(PARTS, EMBEDDINGS).item() == pytest.approx(value)
    sums = {name: Sums(part.sum(), torch.tensor(len(part)), (part > 0).sum()) for name, part in PARTS.items()}
    assert reducer(sums, EMBEDDINGS).item() == pytest.approx(value)


GIVEN = {"weights": torch.tensor([1.0, 2.0]), "reducers": {"loss": SumReducer()}}
VALUES = {"threshold": {"low": 0.0}}


@pytest.mark.parametrize("key", [key for key in REDUCERS if key != "none"])
@pytest.mark.parametrize("losses", [torch.empty(0), torch.zeros(4)], ids=["no items", "all zero"])
def test_nothing_to_lose_is_a_zero_on_the_graph(key, losses):
    embeddings = EMBEDDINGS.clone().requires_grad_()
    part = Items(losses, torch.arange(len(losses)) % 3, torch.tensor([0, 1, 1]))
    value = REDUCERS[key].build(GIVEN, **VALUES.get(key, {}))({"loss": part}, embeddings)
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


def test_no_reduction_returns_the_items():
    items = Items(torch.tensor([1.0]), torch.tensor([0]))
    returned = DoNothingReducer()(PARTS | {"more": items}, EMBEDDINGS)
    assert {name: part.tolist() for name, part in returned.items()} == {
        "pos_loss": [0.0, 2.0, 4.0],
        "neg_loss": [1.0, 0.0],
        "more": [1.0],
    }


def sample(count=12, classes=3):
    torch.manual_seed(0)
    embeddings = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    return embeddings, torch.randint(classes, (count,))


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (0.2, None), (None, 0.9), (0.1, 1.1)])
def test_threshold_averages_what_lies_between(low, high):
    embeddings, labels = sample()
    losses = ContrastiveLoss(reducer=DoNothingReducer())(embeddings, labels)
    expected = 0.0
    for part in losses.values():
        kept = [x for x in part.tolist() if (low is None or x > low) and (high is None or x < high)]
        expected += sum(kept) / max(1, len(kept))
    value = ContrastiveLoss(reducer=ThresholdReducer(low, high))(embeddings, labels)
    assert value.item() == pytest.approx(expected)
    theirs = pml_losses.ContrastiveLoss(reducer=pml.ThresholdReducer(low, high))(embeddings, labels)
    assert value.item() == pytest.approx(theirs.item())
    loss = ContrastiveLoss(reducer=ThresholdReducer(low, high))
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings)


@pytest.mark.parametrize(("limits", "words"), [({}, "got neither"), ({"low": 1.0, "high": 1.0}, "low must be below")])
def test_limits_that_make_no_sense_are_refused(limits, words):
    with pytest.raises(ValueError, match=words):
        ThresholdReducer(**limits)


def test_a_reducer_that_needs_items_says_what_to_do_with_a_sum():
    sums = Sums(torch.tensor(1.0), torch.tensor(2), torch.tensor(1))
    with pytest.raises(ValueError, match="gave their sum only"):
        ThresholdReducer(low=0.0)({"loss": sums}, EMBEDDINGS)


@pytest.mark.parametrize("divisor", [None, torch.tensor(4), torch.tensor(0)])
def test_divisor_is_the_losses_own_or_the_number_of_items(divisor):
    losses = torch.tensor([1.0, 2.0, 3.0])
    expected = 2.0 if divisor is None else 6.0 / 4 if divisor > 0 else 0.0
    sums = Sums(losses.sum(), torch.tensor(3), torch.tensor(3), divisor)
    for part in (sums, Items(losses, torch.arange(3), None, divisor)):
        assert DivisorReducer()({"loss": part}, EMBEDDINGS).item() == pytest.approx(expected)


def test_a_divisor_of_zero_leaves_the_gradient_finite():
    losses = torch.tensor([0.0, 0.0], requires_grad=True)
    DivisorReducer()({"loss": Items(losses, torch.arange(2), None, torch.tensor(0.0))}, EMBEDDINGS).backward()
    assert losses.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ContrastiveLoss, pml_losses.ContrastiveLoss), (TripletMarginLoss, pml_losses.TripletMarginLoss)],
)
def test_class_weights_are_those_of_the_anchors(ours, theirs):
    embeddings, labels = sample()
    weights = torch.tensor([0.5, 2.0, 3.0])
    value = ours(reducer=ClassWeightedReducer(weights))(embeddings, labels)
    expected = theirs(reducer=pml.ClassWeightedReducer(weights))(embeddings, labels)
    assert value.item() == pytest.approx(expected.item())
    mined = all_triplets(labels)
    assert ours(reducer=ClassWeightedReducer(weights))(embeddings, labels, mined).item() > 0


def test_class_weights_are_saved_and_refuse_labels_without_one():
    reducer = ClassWeightedReducer(torch.tensor([1.0, 2.0]))
    assert list(reducer.state_dict()) == ["weights"]
    embeddings, labels = sample()
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\), one weight per class; got 2"):
        ContrastiveLoss(reducer=reducer)(embeddings, labels)
    with pytest.raises(ValueError, match="finite, one per class"):
        ClassWeightedReducer(torch.tensor([1.0, torch.nan]))


@pytest.mark.parametrize("inner", [(None, None), (AvgNonZeroReducer(), pml.AvgNonZeroReducer())])
def test_per_anchor_averages_each_anchor_first(inner):
    embeddings, labels = sample()
    value = ContrastiveLoss(reducer=PerAnchorReducer(inner[0]))(embeddings, labels)
    expected = pml_losses.ContrastiveLoss(reducer=pml.PerAnchorReducer(inner[1]))(embeddings, labels)
    assert value.item() == pytest.approx(expected.item())


def test_per_anchor_takes_triplets_and_another_way_to_aggregate():
    embeddings, labels = sample()
    items = TripletMarginLoss(reducer=DoNothingReducer())(embeddings, labels)["loss"].tolist()
    highest = dict.fromkeys(range(len(labels)), 0.0)
    for anchor, loss in zip(all_triplets(labels).anchors.tolist(), items, strict=True):
        highest[anchor] = max(highest[anchor], loss)
    reducer = PerAnchorReducer(aggregation_func=lambda losses, counts: losses.amax(dim=1))
    value = TripletMarginLoss(reducer=reducer)(embeddings, labels)
    assert value.item() == pytest.approx(sum(highest.values()) / len(labels))


@pytest.mark.parametrize("reducer", [PerAnchorReducer(), ClassWeightedReducer(torch.ones(3))])
def test_a_loss_that_does_not_name_its_anchors_is_refused(reducer):
    with pytest.raises(ValueError, match="which this loss does not tell"):
        reducer({"loss": torch.ones(3)}, EMBEDDINGS)


def test_each_part_has_its_reducer_and_the_rest_the_mean():
    assert MultipleReducers({"pos_loss": SumReducer()})(PARTS, EMBEDDINGS).item() == pytest.approx(6.0 + 0.5)
    other = MultipleReducers({"pos_loss": SumReducer()}, AvgNonZeroReducer())
    assert other(PARTS, EMBEDDINGS).item() == pytest.approx(6.0 + 1.0)
    assert not other.needs_items
    assert MultipleReducers({"pos_loss": ThresholdReducer(low=0.0)}).needs_items


def test_reducers_for_parts_that_are_not_there_and_without_a_number_are_refused():
    with pytest.raises(ValueError, match=r"no term 'pos_los'. Did you mean 'pos_loss'"):
        MultipleReducers({"pos_los": SumReducer()})(PARTS, EMBEDDINGS)
    with pytest.raises(ValueError, match="must give one number"):
        MultipleReducers({"pos_loss": DoNothingReducer()})
