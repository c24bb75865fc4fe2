"""Each part of the model has its own learning rate, and the schedule multiplies them all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mlcore.runs.spec import HeadChoice, OptimizerChoice
from mlcore.training.embedder import Embedder
from mlcore.training.methods import MetricLossOnly, TrainWithClassifier
from mlcore.training.optim import build_optimizer, rate_factor, set_rates


class Backbone(nn.Module):
    feature_size = 4

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))

    def forward(self, images):
        return self.layers(images)


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.proxies = nn.Parameter(torch.ones(3, 2))


def built(choice=OptimizerChoice(), kind="linear", freeze="nothing", loss=None):  # noqa: B008 - it is frozen
    model = Embedder(Backbone(), HeadChoice(kind=kind, embedding_size=2), freeze)
    return model, build_optimizer(choice, model, MetricLossOnly(lambda size: loss or Loss(), None, 2))


def test_what_a_method_learns_beside_its_losses_trains_at_the_heads_rate():
    model = Embedder(Backbone(), HeadChoice(embedding_size=2), "nothing")
    method = TrainWithClassifier(lambda size: Loss(), None, num_classes=3, embedding_size=2)
    optimizer = build_optimizer(OptimizerChoice(head_lr=0.2, proxies_lr=0.3), model, method)
    rates = {id(p): group["base_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates.pop(id(p)) for p in method.loss.parameters()} == {0.3}
    assert {rates[id(p)] for p in method.parameters() if id(p) in rates} == {0.2}
    assert all(id(p) in rates for name, p in method.named_parameters() if not name.startswith("loss."))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_backbone_head_and_proxies_get_their_own_rates(name):
    choice = OptimizerChoice(name=name, backbone_lr=0.1, head_lr=0.2, proxies_lr=0.3)
    _, optimizer = built(choice)
    assert set_rates(optimizer, 0.5) == {"backbone": 0.05, "head": 0.1, "proxies": 0.15}
    assert {(group["name"], group["lr"]) for group in optimizer.param_groups} == {
        ("backbone", 0.05),
        ("head", 0.1),
        ("proxies", 0.15),
    }


def test_every_weight_that_trains_is_in_one_group():
    loss = Loss()
    model, optimizer = built(loss=loss)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in [*model.parameters(), *loss.parameters()])


def test_weight_decay_spares_biases_norms_and_proxies():
    loss = Loss()
    model, optimizer = built(OptimizerChoice(weight_decay=0.5), loss=loss)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0.5 for p in group["params"]}
    assert decayed == {id(model.backbone.layers[0].weight), id(model.head.weight)}


def test_a_frozen_backbone_is_in_no_group():
    _, optimizer = built(freeze="everything")
    assert {group["name"] for group in optimizer.param_groups} == {"head", "proxies"}


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing would be trained"):
        built(kind="none", freeze="everything", loss=nn.Module())


def test_a_step_moves_each_part_by_its_own_rate():
    loss = Loss()
    model, optimizer = built(OptimizerChoice(name="sgd", backbone_lr=0.0, head_lr=1.0, proxies_lr=2.0), loss=loss)
    before = [p.detach().clone() for p in (model.backbone.layers[0].weight, model.head.weight, loss.proxies)]
    set_rates(optimizer, 1.0)
    for parameter in [*model.parameters(), *loss.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    for group in optimizer.param_groups:
        group.update(weight_decay=0.0, momentum=0.0, nesterov=False)
    optimizer.step()
    moved = [
        (b - p).abs().max().item()
        for b, p in zip(before, (model.backbone.layers[0].weight, model.head.weight, loss.proxies), strict=True)
    ]
    assert moved == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)


def test_the_warm_up_climbs_in_equal_steps_to_the_full_rate():
    choice = OptimizerChoice(warm_up_steps=4)
    assert [rate_factor(choice, step, 10) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_cosine_goes_from_one_to_zero_over_the_steps_after_the_warm_up():
    choice = OptimizerChoice(warm_up_steps=2, schedule="cosine")
    factors = [rate_factor(choice, step, 10) for step in range(2, 11)]
    assert factors[0] == 1.0
    assert factors[4] == pytest.approx(0.5)
    assert factors[8] == pytest.approx(0.0)
    assert factors == pytest.approx([0.5 * (1 + math.cos(math.pi * done / 8)) for done in range(9)])


def test_a_warm_up_longer_than_the_run_does_no_harm():
    choice = OptimizerChoice(warm_up_steps=50, schedule="cosine")
    assert rate_factor(choice, 9, 10) == 0.2
    assert rate_factor(choice, 60, 10) == pytest.approx(0.0)
