"""How reducers make one number of many."""

from __future__ import annotations

import pytest
import torch

from mlcore.reducers import REDUCERS, AvgNonZeroReducer, DoNothingReducer, MeanReducer, SumReducer, Sums

PARTS = {"pos_loss": torch.tensor([0.0, 2.0, 4.0]), "neg_loss": torch.tensor([1.0, 0.0])}
EMBEDDINGS = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("reducer", "value"), [(MeanReducer(), 2.0 + 0.5), (SumReducer(), 6.0 + 1.0), (AvgNonZeroReducer(), 3.0 + 1.0)]
)
def test_parts_are_reduced_one_by_one_and_added(reducer, value):
    assert reducer(PARTS, EMBEDDINGS).item() == pytest.approx(value)
    sums = {name: Sums(part.sum(), torch.tensor(len(part)), (part > 0).sum()) for name, part in PARTS.items()}
    assert reducer(sums, EMBEDDINGS).item() == pytest.approx(value)


@pytest.mark.parametrize("key", [key for key in REDUCERS if key != "none"])
@pytest.mark.parametrize("losses", [torch.empty(0), torch.zeros(4)], ids=["no items", "all zero"])
def test_nothing_to_lose_is_a_zero_on_the_graph(key, losses):
    embeddings = EMBEDDINGS.clone().requires_grad_()
    value = REDUCERS[key].build()({"loss": losses}, embeddings)
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


def test_no_reduction_returns_the_items():
    assert DoNothingReducer()(PARTS, EMBEDDINGS) is PARTS
