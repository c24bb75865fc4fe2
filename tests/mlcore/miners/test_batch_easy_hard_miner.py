"""Batch easy-hard: every legal combination against a loop, and against pytorch-metric-learning."""

from __future__ import annotations

import itertools

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import BatchEasyHardMiner
from mlcore.miners.batch_easy_hard import STRATEGIES

ILLEGAL = [("semihard", "semihard"), ("all", "semihard"), ("semihard", "all")]
LEGAL = [pair for pair in itertools.product(STRATEGIES, STRATEGIES) if pair not in ILLEGAL]


def choose(strategy, row, candidates, limit=None):
    """The chosen of one anchor's positives; for negatives the row and the limit come with the other sign."""
    if strategy == "semihard":
        candidates = [] if limit is None else [j for j in candidates if row[j] < limit]
    if not candidates:
        return None
    return (min if strategy == "easy" else max)(candidates, key=row.__getitem__)


def by_hand(far, labels, ref_labels, own, pos_strategy, neg_strategy, allowed_pos, allowed_neg):
    positives, negatives = [], []
    for a, row in enumerate(far):
        mates = [j for j in range(len(row)) if ref_labels[j] == labels[a] and not (own and j == a)]
        strangers = [j for j in range(len(row)) if ref_labels[j] != labels[a]]
        near = [-value for value in row]
        mates_in = [j for j in mates if allowed_pos(row[j])]
        strangers_in = [j for j in strangers if allowed_neg(row[j])]
        p = n = None
        if pos_strategy not in ("semihard", "all"):
            p = choose(pos_strategy, row, mates_in)
        if neg_strategy != "all":
            n = choose(neg_strategy, near, strangers_in, None if p is None else near[p])
        if pos_strategy == "semihard":
            p = choose(pos_strategy, row, mates_in, None if n is None else row[n])
        both = (pos_strategy == "all" or p is not None) and (neg_strategy == "all" or n is not None)
        lone = "all" in (pos_strategy, neg_strategy)
        positives += [(a, j) for j in mates] if pos_strategy == "all" else [(a, p)] * (p is not None and (both or lone))
        negatives += (
            [(a, j) for j in strangers] if neg_strategy == "all" else [(a, n)] * (n is not None and (both or lone))
        )
    return [positives, negatives]


def sample(seed, count):
    torch.manual_seed(seed)
    labels = torch.randint(5, (count,))
    return F.one_hot(labels, 6).double() + 0.7 * torch.randn(count, 6, dtype=torch.float64), labels


def sets_of(pairs):
    columns = [column.tolist() for column in pairs]
    return [sorted(zip(*columns[start : start + 2], strict=True)) for start in (0, 2)]


@pytest.mark.parametrize(("pos_strategy", "neg_strategy"), LEGAL)
@pytest.mark.parametrize("similarity", [False, True], ids=["distance", "similarity"])
@pytest.mark.parametrize("own", [True, False], ids=["own batch", "reference"])
@pytest.mark.parametrize("ranged", [False, True], ids=["all lengths", "ranges"])
def test_takes_what_the_two_words_say(pos_strategy, neg_strategy, similarity, own, ranged):
    embeddings, labels = sample(0, 14)
    reference = () if own else sample(1, 12)
    ours, theirs = CosineSimilarity(), pml_distances.CosineSimilarity()
    if not similarity:
        ours, theirs = LpDistance(), pml_distances.LpDistance()
    sign = -1.0 if similarity else 1.0
    ranges = {"allowed_pos_range": (0.3, 0.9), "allowed_neg_range": (0.2, 1.2)} if ranged else {}
    names = {"pos_strategy": pos_strategy, "neg_strategy": neg_strategy} | ranges
    far = sign * ours(embeddings, *reference[:1])
    expected = by_hand(
        far.tolist(),
        labels,
        labels if own else reference[1],
        own,
        pos_strategy,
        neg_strategy,
        lambda value: not ranged or 0.3 <= sign * value <= 0.9,
        lambda value: not ranged or 0.2 <= sign * value <= 1.2,
    )
    assert sum(map(len, expected)) > 0
    assert sets_of(BatchEasyHardMiner(**names, distance=ours)(embeddings, labels, *reference)) == expected
    assert sets_of(pml.BatchEasyHardMiner(**names, distance=theirs)(embeddings, labels, *reference)) == expected


@pytest.mark.parametrize(("pos_strategy", "neg_strategy"), ILLEGAL)
def test_words_that_do_not_go_together_are_refused(pos_strategy, neg_strategy):
    with pytest.raises(ValueError, match="needs 'easy' or 'hard' on the other side"):
        BatchEasyHardMiner(pos_strategy=pos_strategy, neg_strategy=neg_strategy)


def test_a_range_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match=r"allowed_neg_range must be \(low, high\)"):
        BatchEasyHardMiner(allowed_neg_range=(1.0, 0.5))
