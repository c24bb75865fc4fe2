"""Deep adversarial metric learning against its sums written down, and who gets a gradient from what."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlcore.losses import (
    LOSSES,
    ArcFaceLoss,
    ContrastiveLoss,
    MarginLoss,
    MultiSimilarityLoss,
    NPairsLoss,
    SupConLoss,
    TripletMarginLoss,
    VICRegLoss,
)
from mlcore.training.methods import DeepAdversarialMetricLearning
from mlcore.training.methods.daml import Generator, draw_triplets, minds_negatives, step_generator
from mlcore.tuples import Triplets, all_triplets

LABELS = torch.arange(12) % 3
WEIGHTS = {"synth_weight": 0.7, "hard_weight": 0.5, "reg_weight": 0.3, "adv_weight": 2.0}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def method_of(make_loss=TripletMarginLoss, metric_alone_steps=0, g_alone_steps=0, **knobs):
    return DeepAdversarialMetricLearning(
        lambda size: make_loss(),
        None,
        5,
        7,
        metric_alone_steps=metric_alone_steps,
        g_alone_steps=g_alone_steps,
        hidden_size=6,
        **knobs,
    )


def network():
    return nn.Linear(4, 7), nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5))


def grads_of(*modules):
    return [weight.grad for module in modules for weight in module.parameters()]


def test_each_share_matches_the_sum_written_down():
    method, (backbone, head) = method_of(adv_margin=0.05, g_triplets_per_anchor=2, **WEIGHTS).double(), network()
    features = backbone.double()(torch.randn(12, 4, dtype=torch.float64)).detach()
    made = method(head.double(), (features,), LABELS)
    triplets = draw_triplets(LABELS, 2, step_generator(0, 0))
    length = sum((row @ row).item() for row in features) / 12
    sums = dict.fromkeys(("synthetic", "hard", "reg", "adv"), 0.0)
    violating = 0
    for a, p, n in zip(*(column.tolist() for column in triplets), strict=True):
        side_by_side = torch.cat([features[a], features[p], features[n]])
        synthetic = method.generator.outer(F.relu(method.generator.inner(side_by_side)))
        z_a, z_p, z_s = (F.normalize(head(x), dim=0) for x in (features[a], features[p], synthetic))
        sums["hard"] += 0.5 * (synthetic - features[a]).square().sum().item() / length
        sums["reg"] += 0.3 * (synthetic - features[n]).square().sum().item() / length
        sums["adv"] += 2.0 * max(0.0, (z_s - z_a).square().sum().item() - (z_p - z_a).square().sum().item() - 0.05)
        lost = max(0.0, (z_a - z_p).norm().item() - (z_a - z_s).norm().item() + method.synthetic_loss.margin)
        sums["synthetic"] += 0.7 * lost
        violating += lost > 0
    assert len(triplets.anchors) == 24
    assert violating > 0
    for name, total in sums.items():
        assert made.parts[name] == pytest.approx(total / (violating if name == "synthetic" else 24), rel=1e-5), name
    assert made.parts["metric"] == pytest.approx(TripletMarginLoss()(head(features), LABELS).item(), rel=1e-5)
    assert made.loss.item() == pytest.approx(sum(made.parts.values()), rel=1e-5)


def test_the_generators_inner_layer_is_one_layer_on_three_features_side_by_side():
    generator, features = Generator(7, 6), torch.randn(12, 7)
    triplets = all_triplets(LABELS)
    side_by_side = torch.cat([features[rows] for rows in triplets], dim=1)
    expected = generator.outer(F.relu(generator.inner(side_by_side)))
    torch.testing.assert_close(generator(features, triplets), expected)


def test_what_trains_the_generator_reaches_neither_head_nor_backbone_nor_losses():
    inputs, results = torch.randn(12, 4), []
    for weights in ({}, {"hard_weight": 50.0, "reg_weight": 50.0, "adv_weight": 50.0, "adv_margin": 0.0}):
        torch.manual_seed(1)
        method, (backbone, head) = method_of(MarginLossThatLearns, **weights), network()
        method(head, (backbone(inputs),), LABELS).loss.backward()
        results.append((grads_of(backbone, head, *method.losses()), grads_of(method.generator)))
    for mine, theirs in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(results[0][1][0], results[1][1][0])


def test_what_trains_head_and_backbone_does_not_reach_the_generator():
    inputs, results = torch.randn(12, 4), []
    for synth_weight in (0.0, 50.0):
        torch.manual_seed(1)
        method, (backbone, head) = method_of(synth_weight=synth_weight), network()
        method(head, (backbone(inputs),), LABELS).loss.backward()
        results.append((grads_of(method.generator), grads_of(backbone, head)))
    for mine, theirs in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(results[0][1][0], results[1][1][0])


class MarginLossThatLearns(MarginLoss):
    def __init__(self):
        super().__init__(learn_beta=True)


def test_the_generator_learns_to_mislead_the_head():
    method, (backbone, head) = method_of(adv_weight=5.0, hard_weight=0.0, reg_weight=0.0, adv_margin=0.0), network()
    features = backbone(torch.randn(12, 4)).detach()
    optimizer = torch.optim.Adam(method.generator.parameters(), lr=0.02)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        made = method(head, (features,), LABELS)
        made.loss.backward()
        optimizer.step()
        values.append(made.parts["adv"])
    assert sum(values[-5:]) < 0.3 * sum(values[:5])


def test_phases_follow_one_another_and_their_count_is_saved():
    method, (backbone, head) = method_of(metric_alone_steps=2, g_alone_steps=1), network()
    inputs, told, reached = torch.randn(12, 4), [], []
    for _ in range(4):
        for module in (method, backbone, head):
            module.zero_grad(set_to_none=True)
        made = method(head, (backbone(inputs),), LABELS)
        made.loss.backward()
        told.append(list(made.parts))
        reached.append(tuple(grads_of(module)[0] is not None for module in (backbone, head, method.generator)))
    generator = ["hard", "reg", "adv"]
    assert told == [[], [], generator, ["metric", "synthetic", *generator]]
    assert reached == [(True, True, False), (True, True, False), (False, False, True), (True, True, True)]
    assert method.state_dict()["steps"] == 4


def test_evaluation_mode_draws_the_same_triplets_again():
    method, (_, head) = method_of(g_triplets_per_anchor=1), network()
    features = torch.randn(12, 7)
    first, second = (method(head, (features,), LABELS).parts["reg"] for _ in range(2))
    assert first != second
    method.eval()
    first, second = (method(head, (features,), LABELS).parts["reg"] for _ in range(2))
    assert first == second
    assert method.steps == 2
    method.seed = 1
    assert method(head, (features,), LABELS).parts["reg"] != first


def test_triplets_are_possible_distinct_limited_and_spread_over_the_positives():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 0, 1])
    allowed = {*zip(*(column.tolist() for column in all_triplets(labels)), strict=True)}
    drawn = draw_triplets(labels, 6, step_generator(0, 3))
    rows = [*zip(*(column.tolist() for column in drawn), strict=True)]
    assert len(rows) == len(set(rows)) == 7 * 6  # class 2 has no positive
    assert set(rows) <= allowed
    assert all(len({p for a, p, _ in rows if a == anchor}) == 3 for anchor in (0, 1, 2, 6))
    everything = draw_triplets(labels, 1000, step_generator(0, 0))
    assert {*zip(*(column.tolist() for column in everything), strict=True)} == allowed
    assert len(everything.anchors) == len(allowed)


def test_every_triplet_of_an_anchor_is_drawn_equally_often():
    labels = torch.tensor([0, 0, 0, 1, 2, 1])
    counts = {}
    for step in range(600):
        for row in zip(*(column.tolist() for column in draw_triplets(labels, 2, step_generator(0, step))), strict=True):
            counts[row] = counts.get(row, 0) + 1
    of_first = [count for row, count in counts.items() if row[0] == 0]
    assert len(of_first) == 6
    assert min(of_first) > 150
    assert max(of_first) < 250


@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 1, 1], [0]], ids=["no positives", "no negatives", "one sample"])
def test_without_triplets_the_generator_gets_a_zero(labels):
    method, (backbone, head) = method_of(), network()
    made = method(head, (backbone(torch.randn(len(labels), 4)),), torch.tensor(labels))
    made.loss.backward()
    assert made.parts == dict.fromkeys(("metric", "synthetic", "hard", "reg", "adv"), 0.0)
    assert all(grad.abs().sum() == 0 for grad in grads_of(method.generator, backbone, head))


@pytest.mark.parametrize(
    ("make_loss", "own"),
    [
        (TripletMarginLoss, True),
        (ContrastiveLoss, True),
        (MultiSimilarityLoss, True),
        (SupConLoss, True),
        (NPairsLoss, False),
        (VICRegLoss, False),
        (lambda: ArcFaceLoss(3, 5), False),
    ],
)
def test_synthetic_negatives_go_to_the_chosen_loss_if_it_minds_them(make_loss, own):
    method = method_of(make_loss)
    assert isinstance(method.synthetic_loss, type(method.loss) if own else TripletMarginLoss)
    assert method.losses() == [method.loss, method.synthetic_loss]


@pytest.mark.parametrize("key", LOSSES.keys())
def test_to_ask_a_loss_whether_it_minds_negatives_changes_nothing_in_it(key):
    loss = LOSSES[key].build({"num_classes": 3, "embedding_size": 5})
    before, state = {name: value.clone() for name, value in loss.state_dict().items()}, torch.get_rng_state()
    minds_negatives(loss, 5)
    assert loss.training
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_heads_running_statistics_are_not_moved_by_the_generators_objectives():
    method = method_of(g_alone_steps=1)
    head = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))
    method(head, (torch.randn(12, 7),), LABELS)
    assert head[1].num_batches_tracked == 1


def test_training_both_sides_lowers_the_metric_loss():
    method, (backbone, head) = method_of(), network()
    inputs = torch.randn(12, 4) + 2 * torch.eye(3, 4)[LABELS]
    optimizer = torch.optim.Adam(nn.ModuleList([method, backbone, head]).parameters(), lr=0.01)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        made = method(head, (backbone(inputs),), LABELS)
        made.loss.backward()
        optimizer.step()
        values.append(made.parts["metric"])
    assert sum(values[-5:]) < 0.7 * sum(values[:5])


def test_a_triplet_names_its_parts_in_order():
    triplets = draw_triplets(LABELS, 1, step_generator(0, 0))
    assert isinstance(triplets, Triplets)
    assert (LABELS[triplets.anchors] == LABELS[triplets.positives]).all()
    assert (LABELS[triplets.anchors] != LABELS[triplets.negatives]).all()
