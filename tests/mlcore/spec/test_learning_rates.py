"""Learning rates over a run, and how few classes lower them."""

from __future__ import annotations

import pytest

from mlcore.data import load
from mlcore.spec.data_split import build_split, count_classes_to_generalise
from mlcore.spec.learning_rates import base_rates, build_schedule, full_rate_steps, rate_scale
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import HeadChoice, OptimizerChoice

FINE_TUNING = OptimizerChoice(backbone_lr=6e-5, head_lr=6e-4, schedule="cosine", lr_scaling="classes")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
@pytest.mark.parametrize("steps", [1, 7, 300, 10_000])
def test_a_run_moves_as_far_as_so_many_steps_at_the_full_rate(schedule, steps):
    choice = OptimizerChoice(schedule=schedule, warm_up_steps=min(20, steps // 2))
    schedule = build_schedule(choice, steps)
    wanted = sum(schedule.factor(step) for step in range(steps))
    assert full_rate_steps(choice, steps) == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("steps", [20, 300, 5000])
@pytest.mark.parametrize("classes", [2, 6, 12, 25])
def test_few_classes_move_it_no_further_than_their_cube_allows(classes, steps):
    scale = rate_scale(FINE_TUNING, classes, steps)
    assert scale * full_rate_steps(FINE_TUNING, steps) <= classes**3 / 1000 + 1e-9
    assert scale == pytest.approx(min(1.0, classes**3 / 1000 / full_rate_steps(FINE_TUNING, steps)))


def test_many_classes_and_other_runs_keep_their_rates():
    assert rate_scale(FINE_TUNING, 1000, 300) == 1.0
    assert rate_scale(OptimizerChoice(), 2, 300) == 1.0
    assert rate_scale(FINE_TUNING, 2, 0) == 1.0
    assert rate_scale(FINE_TUNING, None, 300) == 1.0


@pytest.mark.parametrize(("how", "classes"), [("class", 5), ("sample", None)])
def test_classes_count_where_others_are_asked_about(how, classes):
    choice = RunSpec.read({"dataset": {"key": "digits", "split": how}}).dataset
    table = load("digits")
    assert count_classes_to_generalise(table, build_split(choice, table)) == classes


def test_only_what_begins_with_knowledge_is_held_back():
    scale = rate_scale(FINE_TUNING, 6, 300)
    assert scale < 0.1
    rates = base_rates(FINE_TUNING, HeadChoice(kind="residual"), 6, 300)
    assert rates == pytest.approx({"backbone": 6e-5 * scale, "head": 6e-4 * scale, "method": 6e-4, "proxies": 1e-2})
    assert base_rates(FINE_TUNING, HeadChoice(start="components"), 6, 300)["head"] == pytest.approx(6e-4 * scale)
    assert base_rates(FINE_TUNING, HeadChoice(), 6, 300)["head"] == 6e-4


def lead(spec: RunSpec) -> tuple:
    head, optimizer = spec.head, spec.optimizer
    return head.kind, head.start, optimizer.backbone_lr, optimizer.head_lr, optimizer.schedule, optimizer.lr_scaling


PRETRAINED = ("residual", "random", 6e-5, 6e-4, "cosine", "classes")
SCRATCH = ("linear", "random", 1e-3, 1e-3, "constant", "none")


def test_a_pretrained_backbone_begins_at_its_features_and_goes_in_small_steps():
    given = RunSpec.read({"backbone": "efficientnet_lite0"})
    assert lead(given) == PRETRAINED
    assert RunSpec.read({}).changed({"backbone": "efficientnet_lite0"}) == given
    assert lead(RunSpec.read({"backbone": {"key": "timm", "params": {"pretrained": True}}})) == PRETRAINED


def test_one_that_knows_nothing_trains_as_ever():
    assert lead(RunSpec.read({})) == SCRATCH
    assert lead(RunSpec.read({"backbone": "timm"})) == SCRATCH
    back = RunSpec.read({"backbone": "efficientnet_lite0"}).changed({"backbone": "small_conv"})
    assert back == RunSpec.read({})
    assert lead(RunSpec.read({"backbone": "efficientnet_lite0"}).changed({"backbone.pretrained": False})) == SCRATCH


def test_what_somebody_gave_is_kept_as_it_is():
    spec = RunSpec.read({}).changed({"backbone": "efficientnet_lite0", "optimizer.backbone_lr": 3e-4})
    assert lead(spec) == ("residual", "random", 3e-4, 1e-3, "constant", "none")
    spec = RunSpec.read({}).changed({"backbone": "efficientnet_lite0", "optimizer.head_lr": 2e-3})
    assert lead(spec) == ("residual", "random", 1e-5, 2e-3, "constant", "none")
    small = {"optimizer.backbone_lr": 1e-6}
    assert RunSpec.read(RunSpec.read({"backbone": "efficientnet_lite0"}).changed(small).model_dump()) == RunSpec.read(
        {"backbone": "efficientnet_lite0"}
    ).changed(small)


@pytest.mark.parametrize("first", [{}, {"backbone": "efficientnet_lite0"}])
def test_a_size_makes_a_linear_head_that_begins_at_the_main_directions(first):
    sized = RunSpec.read(first).changed({"backbone": "efficientnet_lite0", "head.embedding_size": 128})
    assert (sized.head.kind, sized.head.start, sized.head.embedding_size) == ("linear", "components", 128)
    assert RunSpec.read({"backbone": "efficientnet_lite0", "head": {"embedding_size": 128}}).head == sized.head


def test_a_kind_of_head_brings_its_own_start():
    spec = RunSpec.read({"backbone": "efficientnet_lite0"})
    assert spec.changed({"head.kind": "linear"}).head.start == "components"
    assert spec.changed({"head.kind": "linear"}).changed({"head.kind": "mlp"}).head.start == "random"
    assert spec.changed({"head.kind": "linear", "head.start": "random"}).head.start == "random"
    assert RunSpec.read({}).changed({"head.kind": "linear"}).head.start == "random"


def test_a_run_stored_before_keeps_its_meaning():
    """The head and the optimizer as the release before stored them, every field written out."""
    head = {"kind": "linear", "embedding_size": 64, "norm": "none", "dropout": 0.0, "normalize": False}
    optimizer = {
        "name": "adamw", "backbone_lr": 0.0003, "head_lr": 0.001, "proxies_lr": 0.01, "weight_decay": 0.0001,
        "schedule": "constant", "drop_every": None, "drop_to": 0.1, "patience": 2, "warm_up_steps": 0,
        "clip_norm": None, "accumulate": 1, "ema": None,
    }  # fmt: skip
    backbone = {
        "key": "efficientnet_lite0",
        "params": {"pretrained": True, "side": None, "as_published": False},
        "freeze": "batch_norm",
        "pooling": "own",
    }
    stored = RunSpec.read({"backbone": backbone, "head": head, "optimizer": optimizer})
    assert lead(stored) == ("linear", "random", 3e-4, 1e-3, "constant", "none")
    assert base_rates(stored.optimizer, stored.head, 2, 300)["backbone"] == 3e-4
