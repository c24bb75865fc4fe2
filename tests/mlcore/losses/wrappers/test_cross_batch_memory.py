"""Cross-batch memory: what is kept, what is compared, what is left out."""

from __future__ import annotations

import copy

import pytest
import pytorch_metric_learning.losses as pml
import pytorch_metric_learning.miners as pml_miners
import torch

from mlcore.losses import (
    LOSSES,
    ArcFaceLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    SmoothAPLoss,
    SupConLoss,
    TripletMarginLoss,
)
from mlcore.miners import MINERS, BatchEasyHardMiner, BatchHardMiner, MultiSimilarityMiner
from mlcore.reducers import MeanReducer
from mlcore.spec.compatibility import fitting_keys
from mlcore.tuples import Pairs, all_pairs, all_triplets, as_tuples, to_pairs

SIZE = 5
REMEMBERED = [key for key in LOSSES if "cross_batch_memory" in fitting_keys("wrapper", key)]
SEARCHING = [key for key, part in MINERS.items() if part.family != "given"]
FOR_EACH_ANCHOR = [
    "none",
    "angular",
    "batch_easy_hard",
    "batch_hard",
    "multi_similarity",
    "pair_margin",
    "triplet_margin",
]
FLAT = {  # one positive and one negative, in the wrong order: so far down a sigmoid that its slope is 0
    (loss, miner) for loss in ("histogram", "pnp", "recall_at_k", "smooth_ap") for miner in ("batch_hard", "hdc")
}


def batches(count, rows=6, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return [(torch.randn(rows, SIZE, dtype=dtype), torch.randint(3, (rows,))) for _ in range(count)]


def by_hand(seen, memory_size):
    """Contrastive mean over positive pairs (distance) and negatives (hinge at 1), newest batch against the ring."""
    ring = [None] * memory_size
    place = 0
    for embeddings, labels in seen:
        own = []
        for row, label in zip(torch.nn.functional.normalize(embeddings), labels, strict=True):
            ring[place % memory_size] = (row, int(label))
            own.append(place % memory_size)
            place += 1
    pulls, pushes = [], []
    for at in own:
        anchor, label = ring[at]
        for j, kept in enumerate(ring):
            if kept is not None and j != at:
                distance = (anchor - kept[0]).norm().item()
                (pulls if kept[1] == label else pushes).append(
                    distance if kept[1] == label else max(0.0, 1.0 - distance)
                )
    return sum(pulls) / len(pulls) + sum(pushes) / len(pushes)


@pytest.mark.parametrize("memory_size", [6, 8, 13, 100])
def test_each_sample_meets_all_of_the_memory_but_itself(memory_size):
    seen = batches(5)
    loss = CrossBatchMemory(ContrastiveLoss(reducer=MeanReducer()), SIZE, memory_size).double()
    for step, (embeddings, labels) in enumerate(seen, start=1):
        value = loss(embeddings, labels)
        assert value.item() == pytest.approx(by_hand(seen[:step], memory_size), rel=1e-6)


@pytest.mark.parametrize("mined", [False, True], ids=["all pairs", "miner"])
def test_matches_pytorch_metric_learning_step_by_step(mined):
    ours = CrossBatchMemory(ContrastiveLoss(), SIZE, 16, MultiSimilarityMiner() if mined else None).double()
    miner = pml_miners.MultiSimilarityMiner() if mined else None
    theirs = pml.CrossBatchMemory(pml.ContrastiveLoss(), SIZE, 16, miner)
    for embeddings, labels in batches(6):
        torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))
        assert ours.queue_idx == theirs.queue_idx
        assert ours.has_been_filled == theirs.has_been_filled


def test_marked_rows_only_fill_the_memory_as_theirs():
    ours = CrossBatchMemory(ContrastiveLoss(), SIZE, 9).double()
    theirs = pml.CrossBatchMemory(pml.ContrastiveLoss(), SIZE, 9)
    mask = torch.tensor([True, False] * 3)
    for embeddings, labels in batches(6):
        torch.testing.assert_close(
            ours(embeddings, labels, enqueue_mask=mask), theirs(embeddings, labels, enqueue_mask=mask)
        )


def test_first_batch_is_the_loss_of_the_batch_with_half_of_its_gradient():
    (embeddings, labels), plain = batches(1)[0], SupConLoss()
    loss = CrossBatchMemory(plain, SIZE).double()
    torch.testing.assert_close(loss(embeddings, labels), plain(embeddings, labels))
    leaf = embeddings.clone().requires_grad_()
    CrossBatchMemory(plain, SIZE).double()(leaf, labels).backward()
    other = embeddings.clone().requires_grad_()
    same = (labels[:, None] == labels).fill_diagonal_(False).nonzero(as_tuple=True)
    different = (labels[:, None] != labels).nonzero(as_tuple=True)
    plain(other, labels, (*same, *different), embeddings.clone(), labels).backward()
    torch.testing.assert_close(leaf.grad, other.grad)


def test_a_list_loss_does_not_find_the_anchor_in_its_own_list():
    embeddings, labels = batches(1)[0]
    loss = CrossBatchMemory(SmoothAPLoss(), SIZE).double()
    torch.testing.assert_close(loss(embeddings, labels), SmoothAPLoss()(embeddings, labels))


def test_positions_of_a_tuple_are_looked_up_in_the_memory():
    first, second = batches(2)
    triplets = all_triplets(second[1])
    nothing_found = lambda *_: tuple(torch.empty(0, dtype=torch.long) for _ in range(3))  # noqa: E731
    loss = CrossBatchMemory(TripletMarginLoss(), SIZE, 100, nothing_found).double()
    loss(*first)
    expected = TripletMarginLoss()(*second, triplets)
    torch.testing.assert_close(loss(*second, triplets), expected)
    again = CrossBatchMemory(TripletMarginLoss(), SIZE, 100, nothing_found).double()
    again(*first)
    torch.testing.assert_close(again(*second, all_pairs(second[1])), expected)


def test_eval_mode_keeps_the_memory_as_it_is():
    first, second = batches(2)
    loss = CrossBatchMemory(ContrastiveLoss(), SIZE).double()
    loss(*first)
    kept = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.eval()
    looked_at = loss(*second)
    for name, value in loss.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0)
    loss.train()
    torch.testing.assert_close(looked_at, loss(*second))


def test_saved_and_loaded_it_goes_on_the_same():
    seen = batches(4)
    loss, other = (CrossBatchMemory(ContrastiveLoss(), SIZE, 13, warm_up=1).double() for _ in range(2))
    for batch in seen[:3]:
        loss(*batch)
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other(*seen[3]), loss(*seen[3]))
    assert other.queue_idx == loss.queue_idx


def test_while_warming_up_the_memory_is_filled_and_not_used():
    seen = batches(3)
    plain, loss = TripletMarginLoss(), CrossBatchMemory(TripletMarginLoss(), SIZE, 100, warm_up=2).double()
    for embeddings, labels in seen[:2]:
        torch.testing.assert_close(loss(embeddings, labels), plain(embeddings, labels))
    assert loss.queue_idx == 12
    used, unused = loss(*seen[2]), plain(*seen[2])
    assert used.item() != pytest.approx(unused.item())


def test_two_steps_may_wait_for_one_backward():
    loss = CrossBatchMemory(SupConLoss(), SIZE, 8).double()
    leaves = [(embeddings.requires_grad_(), labels) for embeddings, labels in batches(3)]
    sum(loss(*leaf) for leaf in leaves).backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf, _ in leaves)


def test_a_miner_of_the_hardest_never_sees_a_sample_as_its_own_negative_or_positive():
    loss = CrossBatchMemory(TripletMarginLoss(), SIZE, 8, BatchHardMiner()).double()
    for embeddings, labels in batches(4):
        value = loss(embeddings.requires_grad_(), labels)
        value.backward()
        assert torch.isfinite(value)


def test_half_precision_goes_in_and_out():
    loss = CrossBatchMemory(SupConLoss(), SIZE, 8)
    for embeddings, labels in batches(3, dtype=torch.float32):
        half = embeddings.bfloat16().requires_grad_()
        loss(half, labels).backward()
        assert half.grad.dtype == torch.bfloat16


def test_what_does_not_fit_is_refused():
    embeddings, labels = batches(1)[0]
    loss = CrossBatchMemory(SupConLoss(), SIZE, 5)
    with pytest.raises(ValueError, match="must fit into the memory of 5; got 6"):
        loss(embeddings, labels)
    with pytest.raises(ValueError, match="embedding_size=4"):
        loss(embeddings[:, 1:], labels)
    with pytest.raises(ValueError, match="not both"):
        loss(embeddings, labels, all_pairs(labels), torch.ones(6, dtype=torch.bool))
    with pytest.raises(ValueError, match="one truth per row"):
        loss(embeddings, labels, enqueue_mask=torch.ones(6))
    with pytest.raises(ValueError, match="must be finite"):
        loss(embeddings[:4] * float("nan"), labels[:4])
    assert loss.queue_idx == 0
    with pytest.raises(ValueError, match="proxies"):
        CrossBatchMemory(ArcFaceLoss(3, SIZE), SIZE)
    with pytest.raises(ValueError, match="memory_size must be"):
        CrossBatchMemory(SupConLoss(), SIZE, 0)


def test_reset_forgets_everything():
    loss = CrossBatchMemory(SupConLoss(), SIZE, 8).double()
    first, second = batches(2)
    value = loss(*second)
    loss(*first)
    loss.reset_queue()
    torch.testing.assert_close(loss(*second), value)


def by_each_anchor(miner, batch, labels, ring, ring_labels, own):
    """What the miner finds for one anchor at a time among all of the memory but the anchor's own copy."""
    found = []
    for row in range(len(batch)):
        others = torch.arange(len(ring)) != own[row]
        places = others.nonzero()[:, 0]
        alone = batch[row : row + 1], labels[row : row + 1]
        tuples = miner(*alone, ring[others], ring_labels[others])
        tuples = all_pairs(alone[1], ring_labels[others]) if tuples is None else as_tuples(tuples)
        kind = type(tuples)
        positives, negatives = places[tuples.positives], places[tuples.negatives]
        mapped = tuples._replace(anchors=tuples.anchors + row, positives=positives, negatives=negatives)
        if kind is Pairs:
            mapped = mapped._replace(anchors_of_negatives=tuples.anchors_of_negatives + row)
        found.append(mapped)
    return kind(*(torch.cat(sides) for sides in zip(*found, strict=True)))


@pytest.mark.parametrize("loss_key", REMEMBERED)
def test_with_every_miner_it_is_the_loss_of_each_sample_against_the_others_in_the_memory(loss_key):
    plain = LOSSES[loss_key].build({"num_classes": 3, "embedding_size": SIZE}).double()
    for miner_key in FOR_EACH_ANCHOR:
        miner, slow = MINERS[miner_key].build(), copy.deepcopy(plain)
        loss = CrossBatchMemory(copy.deepcopy(plain), SIZE, 15, miner).double()
        ring, ring_labels, place = torch.zeros(15, SIZE).double(), torch.zeros(15, dtype=torch.long), 0
        for batch, labels in batches(4):
            own = (place + torch.arange(len(batch))) % 15
            ring[own], ring_labels[own], place = batch, labels, place + len(batch)
            filled = min(place, 15)
            ours, theirs = (batch.clone().requires_grad_() for _ in range(2))
            value = loss(ours, labels)
            tuples = by_each_anchor(miner, batch, labels, ring[:filled], ring_labels[:filled], own)
            expected = slow(theirs, labels, tuples, ring[:filled].clone(), ring_labels[:filled].clone())
            torch.testing.assert_close(value, expected, msg=lambda text, key=miner_key: f"{key}: {text}")
            torch.testing.assert_close(
                *torch.autograd.grad(value, ours), *torch.autograd.grad(expected, theirs), rtol=1e-5, atol=1e-8
            )


@pytest.mark.parametrize("loss_key", REMEMBERED)
def test_every_loss_has_a_gradient_with_every_miner(loss_key):
    for miner_key in SEARCHING:
        if (loss_key, miner_key) in FLAT:
            continue
        plain = LOSSES[loss_key].build({"num_classes": 3, "embedding_size": SIZE}).double()
        loss = CrossBatchMemory(plain, SIZE, 40, MINERS[miner_key].build()).double()
        norms = []
        for batch, labels in batches(6, rows=12):
            batch.requires_grad_()
            loss(batch, labels).backward()
            norms.append(batch.grad.norm().item())
        assert sum(norm > 0 for norm in norms) > 3, miner_key


@pytest.mark.parametrize("miner_key", SEARCHING)
def test_no_miner_finds_a_sample_as_its_own_positive(miner_key):
    seen = []
    plain = TripletMarginLoss()
    loss = CrossBatchMemory(lambda *args: seen.append(args) or plain(*args), SIZE, 100, MINERS[miner_key].build())
    for batch, labels in batches(3, rows=12):
        loss.double()(batch, labels)
    for step, (_, _, tuples, *_) in enumerate(seen):
        pairs = to_pairs(tuples)
        assert len(pairs.anchors) > 0
        assert (pairs.positives != pairs.anchors + 12 * step).all()


def test_a_miner_from_elsewhere_that_knows_nothing_of_copies_still_gives_none_of_them():
    ours = BatchEasyHardMiner(pos_strategy="all", neg_strategy="all")
    theirs = pml_miners.BatchEasyHardMiner(pos_strategy="all", neg_strategy="all")
    values = [
        [CrossBatchMemory(ContrastiveLoss(), SIZE, 16, miner).double()(*batch).item() for batch in batches(4)]
        for miner in (ours, theirs)
    ]
    assert values[0] == pytest.approx(values[1])
