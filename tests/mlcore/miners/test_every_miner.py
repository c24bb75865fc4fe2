"""What every declared miner owes its callers. A new miner is tested here without an edit."""

from __future__ import annotations

import pytest
import torch

from mlcore.distances import CosineSimilarity
from mlcore.losses import TripletMarginLoss
from mlcore.miners import MINERS
from mlcore.tuples import Pairs, Triplets, all_pairs, to_pairs, to_triplets

# Those that mine: "none" leaves all to the loss, and "given" takes the batch's order for its triplets.
MINING = [spec for spec in MINERS.values() if spec.family not in ("none", "given")]
pytestmark = pytest.mark.parametrize("spec", MINING, ids=lambda spec: spec.key)


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


def test_no_tuple_comes_twice_unless_drawn_with_replacement(spec):
    if getattr(spec.load(), "draws_with_replacement", False):
        return
    tuples = spec.build()(*batch(25))
    groups = [tuples[:2], tuples[2:]] if isinstance(tuples, Pairs) else [tuples]
    for group in groups:
        rows = torch.stack(tuple(group), dim=1)
        assert len(rows.unique(dim=0)) == len(rows)


@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [4, 4, 4]], ids=["one sample", "no positives", "no negatives"])
def test_a_batch_without_triplets_gives_no_impossible_tuple_and_no_triplet_loss(spec, labels):
    embeddings = torch.randn(len(labels), 5, requires_grad=True)
    tuples = spec.build()(embeddings, torch.tensor(labels))
    possible = all_pairs(torch.tensor(labels)) if isinstance(tuples, Pairs) else Triplets(*[[]] * 3)
    assert all(len(column) == 0 for column, pairs in zip(tuples, possible, strict=True) if len(pairs) == 0)
    assert all(column.dtype == torch.long for column in tuples)
    value = TripletMarginLoss()(embeddings, torch.tensor(labels), tuples)
    value.backward()
    assert len(to_triplets(tuples).anchors) == 0
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
    assert any(section.startswith("What to expect: ") for section in spec.description.split("\n\n"))
    assert all(param.knob.symbol in spec.formula for param in spec.params)


def test_each_knob_refuses_what_lies_outside_its_range(spec):
    for param in spec.params:
        for value in ["unheard of"] if param.kind == "str" else [param.knob.low - 1e-3, param.knob.high + 1e-3]:
            with pytest.raises(ValueError, match=f"{param.name} must be"):
                spec.build(**{param.name: value})


def test_draws_are_the_miners_own_and_go_on_after_a_resume(spec):
    miner = spec.build()
    if not isinstance(miner, torch.nn.Module):
        return
    embeddings, labels = batch(40)
    state = torch.get_rng_state()
    first = miner(embeddings, labels)
    saved = {name: value.clone() for name, value in miner.state_dict().items()}
    second = miner(embeddings, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert not all(torch.equal(left, right) for left, right in zip(first, second, strict=True))
    resumed = spec.build()
    resumed.load_state_dict(saved)
    assert all(torch.equal(left, right) for left, right in zip(resumed(embeddings, labels), second, strict=True))
    resumed.eval()
    fixed = resumed(embeddings, labels)
    assert all(torch.equal(left, right) for left, right in zip(resumed(embeddings, labels), fixed, strict=True))
    other = spec.build(seed=1)(embeddings, labels)
    assert not all(torch.equal(left, right) for left, right in zip(other, first, strict=True))
