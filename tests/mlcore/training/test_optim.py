"""Each part of the model has its own learning rate, and the schedule multiplies them all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mlcore.spec.learning_rates import build_schedule
from mlcore.spec.sections import HeadChoice, OptimizerChoice
from mlcore.training.embedder import Embedder
from mlcore.training.methods import MetricLossOnly, TrainWithClassifier
from mlcore.training.optim import (
    Plateau,
    Scaler,
    average_weights,
    build_optimizer,
    half_precision,
    rate_factor,
    set_rates,
)
from mlcore.training.optimizers import OPTIMIZERS


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


@pytest.mark.parametrize("name", OPTIMIZERS)
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
    assert [build_schedule(choice, 10).factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_cosine_goes_from_one_to_zero_over_the_steps_after_the_warm_up():
    choice = OptimizerChoice(warm_up_steps=2, schedule="cosine")
    factors = [build_schedule(choice, 10).factor(step) for step in range(2, 11)]
    assert factors[0] == 1.0
    assert factors[4] == pytest.approx(0.5)
    assert factors[8] == pytest.approx(0.0)
    assert factors == pytest.approx([0.5 * (1 + math.cos(math.pi * done / 8)) for done in range(9)])


def test_a_warm_up_longer_than_the_run_does_no_harm():
    choice = OptimizerChoice(warm_up_steps=50, schedule="cosine")
    assert build_schedule(choice, 10).factor(9) == 0.2
    assert build_schedule(choice, 10).factor(60) == pytest.approx(0.0)


def test_lion_moves_every_weight_by_its_rate_against_the_sign_of_its_gradient():
    model, optimizer = built(OptimizerChoice(name="lion", backbone_lr=0.1, head_lr=0.1, weight_decay=0.0))
    set_rates(optimizer, 1.0)
    weight = model.head.weight
    before = weight.detach().clone()
    weight.grad = torch.linspace(-3, 5, weight.numel()).reshape(weight.shape)
    optimizer.step()
    torch.testing.assert_close(before - weight.detach(), 0.1 * weight.grad.sign())


@pytest.mark.parametrize("name", ["radam", "lion", "adamw"])
def test_weight_decay_shrinks_by_the_rate_and_not_through_the_gradient(name):
    model, optimizer = built(OptimizerChoice(name=name, head_lr=0.1, weight_decay=0.5))
    set_rates(optimizer, 1.0)
    before = model.head.weight.detach().clone()
    model.head.weight.grad = torch.zeros_like(before)
    optimizer.step()
    torch.testing.assert_close(model.head.weight.detach(), before * (1 - 0.1 * 0.5))


def test_steps_fall_at_even_intervals_by_default_a_third_of_the_run():
    choice = OptimizerChoice(schedule="step", drop_every=3, drop_to=0.5)
    assert [build_schedule(choice, 100).factor(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    thirds = [build_schedule(OptimizerChoice(schedule="step"), 10).factor(step) for step in range(10)]
    assert thirds == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 2)


def test_a_plateau_drops_the_rates_after_so_many_windows_that_were_no_better():
    choice = OptimizerChoice(schedule="plateau", drop_every=2, drop_to=0.1, patience=2)
    plateau = Plateau(build_schedule(choice, 100))
    factors = []
    for loss in (4, 2, 3, 3, math.nan, 3, 3, 1, 1, 1, 1, 0.995, 1):
        plateau.see(loss)
        factors.append(float(plateau.factor))
    assert factors == pytest.approx([1.0] * 6 + [0.1] * 6 + [0.01])
    assert rate_factor(plateau.schedule, 50, plateau) == pytest.approx(0.01)


def test_a_plateau_of_losses_below_zero_is_found_too():
    plateau = Plateau(build_schedule(OptimizerChoice(schedule="plateau", drop_every=1, patience=1), 100))
    for loss in (-1.0, -2.0, -3.0):
        plateau.see(loss)
    assert plateau.factor == 1.0
    plateau.see(-3.01)
    assert plateau.factor == pytest.approx(0.1)


def test_a_plateaus_window_is_a_tenth_of_the_run_unless_it_is_set():
    assert build_schedule(OptimizerChoice(schedule="plateau"), 300).window == 30
    assert build_schedule(OptimizerChoice(schedule="plateau"), 3).window == 1


def test_the_average_follows_the_weights_with_its_decay_and_faster_at_the_start():
    model, _ = built()
    average = average_weights(model, decay=0.5)
    weight = model.head.weight
    expected = None
    for count, value in enumerate((1.0, 2.0, 5.0, -1.0)):
        with torch.no_grad():
            weight.fill_(value)
        average.update_parameters(model)
        keep = min(0.5, (1 + count) / (10 + count))
        expected = value if expected is None else keep * expected + (1 - keep) * value
        torch.testing.assert_close(average.module.head.weight, torch.full_like(weight, expected))


def test_the_average_has_the_models_own_running_statistics():
    model, _ = built()
    average = average_weights(model, decay=0.9)
    for _ in range(3):
        model(torch.randn(8, 6))
        average.update_parameters(model)
    assert torch.equal(average.module.backbone.layers[1].running_mean, model.backbone.layers[1].running_mean)


def test_half_precision_is_asked_for_or_left_to_the_device(monkeypatch):
    cpu, cuda, mps = (torch.device(name) for name in ("cpu", "cuda", "mps"))
    assert half_precision("auto", cpu) is None
    assert half_precision("bf16", cpu) is torch.bfloat16
    assert half_precision("fp32", cuda) is None
    for supported, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert half_precision("auto", cuda) is expected
    with pytest.raises(ValueError, match="precision 'fp16' is for CUDA and CPU; the device is mps"):
        half_precision("fp16", mps)


def test_the_scale_of_gradients_is_saved():
    first, second = Scaler("cpu"), Scaler("cpu")
    first.load_state_dict({"_extra_state": torch.tensor([128.0, 7.0])})
    second.load_state_dict(first.state_dict())
    assert second.scaler.state_dict()["scale"] == 128.0
    assert second.scaler.state_dict()["_growth_tracker"] == 7
