"""What every declared miner owes its callers. A new miner is tested here without an edit."""

from __future__ import annotations

import pytest
import torch

from mlcore.distances import CosineSimilarity
from mlcore.losses import TripletMarginLoss
from mlcore.miners import MINERS
from mlcore.tuples import Pairs, to_pairs

pytestmark = pytest.mark.parametrize(
    "spec", [MINERS[key] for key in MINERS if key != "none"], ids=lambda spec: spec.key
)


def batch(count, classes=3):
    return torch.randn(count, 5), torch.randint(classes, (count,))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("own", [True, False], ids=["own batch", "reference"])
@pytest.mark.parametrize("distance", [None, CosineSimilarity()], ids=["default", "cosine"])
def test_positives_share_the_label_and_negatives_differ(spec, own, distance):
    embeddings, labels = batch(20)
    reference = () if own else batch(30)
    ref_labels = labels if own else reference[1]
    pairs = to_pairs(spec.load()(distance=distance)(embeddings, labels, *reference))
    assert len(pairs.anchors) > 0
    assert len(pairs.negatives) > 0
    assert (labels[pairs.anchors] == ref_labels[pairs.positives]).all()
    assert (labels[pairs.anchors_of_negatives] != ref_labels[pairs.negatives]).all()
    assert not own or (pairs.anchors != pairs.positives).all()


def test_no_tuple_comes_twice(spec):
    tuples = spec.build()(*batch(25))
    groups = [tuples[:2], tuples[2:]] if isinstance(tuples, Pairs) else [tuples]
    for group in groups:
        rows = torch.stack(tuple(group), dim=1)
        assert len(rows.unique(dim=0)) == len(rows)


@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [4, 4, 4]], ids=["one sample", "no positives", "no negatives"])
def test_a_batch_without_triplets_gives_empty_tuples_that_a_loss_takes(spec, labels):
    embeddings = torch.randn(len(labels), 5, requires_grad=True)
    tuples = spec.build()(embeddings, torch.tensor(labels))
    assert [len(column) for column in tuples] == [0] * len(tuples)
    assert all(column.dtype == torch.long for column in tuples)
    value = TripletMarginLoss()(embeddings, torch.tensor(labels), tuples)
    value.backward()
    assert value.item() == 0.0


def test_mining_leaves_the_graph_alone(spec):
    embeddings, labels = batch(20)
    embeddings.requires_grad_()
    assert not any(column.requires_grad for column in spec.build()(embeddings, labels))
    assert embeddings.grad is None


def test_length_of_the_embeddings_is_irrelevant(spec):
    embeddings, labels = batch(20)
    for ours, longer in zip(spec.build()(embeddings, labels), spec.build()(4.0 * embeddings, labels), strict=True):
        assert torch.equal(ours, longer)


def test_declaration_tells_paper_formula_and_what_to_expect(spec):
    assert spec.paper
    assert any(section.startswith("What to expect: ") for section in spec.text.split("\n\n"))
    assert all(param.knob.symbol in spec.formula for param in spec.params)


def test_each_knob_refuses_what_lies_outside_its_range(spec):
    for param in spec.params:
        for value in ["unheard of"] if param.kind == "str" else [param.knob.low - 1e-3, param.knob.high + 1e-3]:
            with pytest.raises(ValueError, match=f"{param.name} must be"):
                spec.build(**{param.name: value})
