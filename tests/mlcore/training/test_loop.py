"""Training goes on exactly where it stopped, ends when asked, and says what went wrong."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from patience import PATIENCE_S
from torch import nn

import mlcore
from mlcore.backbones import BACKBONES
from mlcore.data import ImageTable, load
from mlcore.input_format import InputFormat
from mlcore.runs.records import is_event
from mlcore.spec.run_spec import RunSpec
from mlcore.training import loop
from mlcore.training import prepare as prepare_module
from mlcore.training.checkpoint import start_was_evaluated
from mlcore.training.device import pick_device
from mlcore.training.evaluator import Cancelled
from mlcore.training.events import TrainingFault
from mlcore.training.loop import ResumePoint, Trainer, train
from mlcore.training.prepare import prepare
from mlcore.training.step import add_gradient, train_step
from mlcore.training.throughput import Share

EVERY_PLACE = {
    "pixels, adamw": {"optimizer": {"name": "adamw"}},
    "light augmentation, sgd": {"augment": "light", "optimizer": {"name": "sgd", "backbone_lr": 0.1, "head_lr": 0.1}},
    "a convolution, schedule, warm-up, clipping": {
        "backbone": "small_conv",
        "optimizer": {"schedule": "cosine", "warm_up_steps": 3, "clip_norm": 1.0},
    },
    "frozen backbone": {"backbone.freeze": "everything"},
    "batch norm and dropout": {"backbone": "noisy"},
    "proxies and a miner": {"loss": "proxy_anchor", "miner": "multi_similarity"},
    "strong augmentation, a warm head, step schedule": {
        "augment": "strong",
        "head": {"kind": "mlp", "embedding_size": 8, "norm": "batch", "dropout": 0.2, "normalize": True},
        "optimizer": {"name": "radam", "schedule": "step", "drop_every": 2},
    },
    "custom augmentation, layer norm": {"augment": "custom", "augment.erase": 0.5, "head.norm": "layer"},
    "standard augmentation, mixup, lion": {"augment": "standard", "mix.kind": "mixup", "optimizer.name": "lion"},
    "cutmix, light, half precision": {"augment": "light", "mix.kind": "cutmix", "precision": "bf16"},
    "scaled gradients": {"precision": "fp16", "backbone": "small_conv", "optimizer.clip_norm": 1.0},
    "plateau, accumulation, average": {
        "optimizer": {"schedule": "plateau", "drop_every": 1, "patience": 1, "accumulate": 3, "ema": 0.9},
        "loss": "contrastive",
    },
    "last block with a learned pooling": {
        "backbone": {"key": "small_conv", "freeze": "all_but_last", "pooling": "gem"},
        "optimizer.ema": 0.99,
    },
    "average of running statistics": {"backbone": "noisy", "optimizer.ema": 0.9, "head.norm": "batch"},
    "accumulation with a sampler that looks": {
        "sampler": "tuples_to_weights",
        "miner": "multi_similarity",
        "loss": "contrastive",
        "optimizer.accumulate": 2,
    },
    "images and texts": {"method": "image_text", "method.texts": "class names", "loss": "clip"},
    "pairs and a miner": {"loss": "contrastive", "miner": "batch_hard", "optimizer": {"name": "adam"}},
    "a teacher beside the loss, behind a map": {"teacher.backbone": "small_conv", "augment": "light"},
    "a teacher alone": {"teacher.backbone": "mlp", "teacher.alone": True, "teacher.measure": "mse"},
}


BEFORE = [49.3881, 46.5277, 41.5162, 40.7936, 41.6164, 40.8083, 41.3102, 36.515, 37.4743, 39.6727]


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are too small for two."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


class Noisy(nn.Module):
    """A backbone with all that a checkpoint may forget: running statistics, and noise from the global generator."""

    pretrained = False

    def __init__(self, image_size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.feature_size = 8
        self.input_format = InputFormat.half(image_size, channels)
        convolution = nn.Conv2d(channels, 8, 3, stride=2)
        self.layers = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3))

    def forward(self, images):
        return self.layers(images).mean(dim=(2, 3))


@pytest.fixture(autouse=True)
def noisy_backbone(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_specs", dict(BACKBONES._specs))
    BACKBONES.add("noisy", title="Noisy", family="test")(Noisy)


@pytest.fixture
def spec(quick_spec):
    return quick_spec.changed({"threads": 1})


def of_kind(events, kind):
    return [event for event in events if event.kind == kind]


def curve(events):
    return [(event.step, event.loss) for event in of_kind(events, "step")]


def weights(trainer):
    modules = trainer.prepared.state.modules.items()
    return {f"{name}/{key}": value.clone() for name, part in modules for key, value in part.state_dict().items()}


def run_whole(spec):
    trainer = Trainer(prepare(spec))
    return list(trainer.events()), weights(trainer)


@pytest.mark.parametrize("settings", EVERY_PLACE.values(), ids=EVERY_PLACE.keys())
def test_a_resumed_run_has_the_very_curve_and_weights_of_one_that_was_not_stopped(spec, settings):
    spec = spec.changed(settings | {"watch.evaluate_every": 3, "watch.points": 100})
    whole, final = run_whole(spec)
    saved = of_kind(whole, "checkpoint")[0]
    assert saved.step == 3
    torch.rand(7)  # what else the process draws must not matter
    trainer = Trainer(prepare(spec), resume_from=saved.data)
    rest = list(trainer.events())
    assert rest[0].from_step == 3
    assert curve(rest) == curve(whole)[3:]
    assert len(curve(whole)) == spec.budget.steps
    resumed = weights(trainer)
    assert all(torch.equal(resumed[name], value) for name, value in final.items())
    assert [event.held_out for event in of_kind(rest, "evaluated")] == [
        event.held_out for event in of_kind(whole, "evaluated") if event.step >= 3
    ]


def test_two_runs_of_one_spec_are_the_same_and_of_another_seed_are_not(spec):
    spec = spec.changed({"budget.steps": 4})
    first, second, other = (curve(train(s)) for s in (spec, spec, spec.changed({"seed": 1})))
    assert first == second
    assert first != other


def test_a_run_of_the_default_settings_is_what_it_was_before_there_were_more():
    """Recorded before augmentations, mixing, pooling, precision ... could be chosen; equal to the last bit there."""
    settings = {
        "dataset": "digits",
        "threads": 1,
        "watch.points": 100,
        "watch.evaluate_every": 1000,
        "budget.steps": 10,
    }
    losses = [loss for _, loss in curve(train(RunSpec.read({}).changed(settings)))]
    assert losses == pytest.approx(BEFORE, rel=1e-3)


def test_several_batches_make_one_step_with_the_mean_of_their_gradients(spec):
    spec = spec.changed({"budget.steps": 3, "optimizer.name": "sgd", "sampler": "shuffle", "sampler.batch_size": 20})
    trainer = Trainer(prepare(spec.changed({"optimizer.accumulate": 2})))
    events = list(trainer.events())
    steps = of_kind(events, "step")
    assert [step.step for step in steps] == [1, 2, 3]
    assert of_kind(events, "started")[0].coverage["batches_per_step"] == 2
    other = prepare(spec)
    losses = [add_gradient(other, step, 0)[0].loss.item() for step in range(2)]
    assert steps[0].loss == pytest.approx(sum(losses) / 2)
    gradients = [p.grad / 2 for group in other.optimizer.param_groups for p in group["params"]]
    assert steps[0].grad_norm == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)), rel=1e-4)


def test_an_epoch_is_as_many_batches_also_where_several_make_a_step(spec):
    single, several = (spec.changed({"optimizer.accumulate": count, "budget.steps": 40}) for count in (1, 4))
    epochs = [[step.epoch for step in of_kind(train(one), "step")] for one in (single, several)]
    assert epochs[1][:10] == epochs[0][::4]


def test_the_average_of_the_weights_is_what_is_evaluated_and_training_does_not_see_it(spec):
    plain, averaged = (spec.changed({"optimizer.ema": decay}) for decay in (None, 0.99))
    one, other = list(train(plain)), list(train(averaged))
    assert curve(one) == curve(other)
    first, last = ([look.held_out for look in of_kind(events, "evaluated")] for events in (one, other))
    assert first[0] == last[0]
    assert first[-1] != last[-1]


def test_half_precision_computes_the_network_in_it_and_evaluates_in_full(spec):
    full, half = (spec.changed({"precision": precision}) for precision in ("fp32", "bf16"))
    trainer = Trainer(prepare(half))
    dtypes = set()
    head = trainer.prepared.model.head
    head.register_forward_hook(lambda module, given, out: dtypes.add((module.training, out.dtype)))
    losses = np.array([loss for _, loss in curve(trainer.events())])
    expected = np.array([loss for _, loss in curve(train(full))])
    assert (True, torch.bfloat16) in dtypes
    assert all(weight.dtype == torch.float32 for weight in trainer.prepared.model.parameters())
    assert not np.array_equal(losses, expected)
    np.testing.assert_allclose(losses[:3], expected[:3], rtol=0.05)


def test_a_step_whose_scaled_gradient_is_too_large_changes_nothing_and_the_scale_falls(spec):
    trainer = Trainer(prepare(spec.changed({"precision": "fp16", "budget.steps": 1})))
    trainer.prepared.scaler.scaler.load_state_dict(trainer.prepared.scaler.scaler.state_dict() | {"scale": 3e38})
    before = weights(trainer)
    train_step(trainer.prepared, 0)
    after = weights(trainer)
    same = [name for name in before if "extra_state" not in name and "steps" not in name]
    assert all(torch.equal(before[name], after[name]) for name in same)
    assert trainer.prepared.scaler.scaler.get_scale() < 3e38


def test_what_is_done_to_images_is_told_at_the_start(spec):
    assert next(train(spec)).input == ""
    pretrained = {"backbone": "efficientnet_lite0", "backbone.pretrained": False}
    assert "enlarged from 8 × 8 px to 32 × 32 px" in next(train(spec.changed(pretrained))).input


def test_evaluating_does_not_disturb_training(spec):
    often, never = (spec.changed({"watch.evaluate_every": every}) for every in (1, 1000))
    assert curve(train(often)) == curve(train(never))


def test_step_zero_is_evaluated_and_compared_with_the_bare_backbone(spec):
    events = list(train(spec))
    looks = of_kind(events, "evaluated")
    assert [look.step for look in looks] == [0, 4, 8, 12]
    assert [shot.step for shot in of_kind(events, "snapshot")] == [0, 4, 8, 12]
    taking_long = {"map", "mrr", "ami"}
    assert looks[0].backbone.keys() == looks[0].held_out.keys() - {"nmi"} - taking_long
    assert [taking_long <= look.held_out.keys() for look in looks] == [True, False, False, True]
    assert looks[0].backbone != looks[0].held_out
    assert all(look.backbone is None for look in looks[1:])
    assert looks[0].held_out["queries"] + looks[0].train["queries"] == len(load("digits"))


def test_without_steps_the_untrained_embeddings_are_shown_and_nothing_is_saved(spec):
    events = list(train(spec.changed({"budget.steps": 0})))
    kinds = [event.kind for event in events if event.kind != "progress"]
    assert kinds == ["started", "snapshot", "evaluated", "finished"]


def test_by_default_a_run_is_looked_at_ten_times_and_between_them_when_the_watcher_has_rested(spec):
    spec = spec.changed({"watch.evaluate_every": None, "budget.steps": 60})
    steps = [look.step for look in of_kind(train(spec), "evaluated")]
    assert set(range(0, 61, 6)) <= set(steps) <= set(range(0, 61, 3))


def test_stopping_ends_within_a_step_and_keeps_what_was_seen(spec):
    trainer = Trainer(prepare(spec.changed({"budget.steps": 1000})))
    events = []
    for event in trainer.events():
        events.append(event)
        if event.kind == "step" and event.step == 9:
            trainer.stop()
    assert curve(events)[-1][0] == 9
    assert events[-1].reason == "stopped"
    assert [look.step for look in of_kind(events, "evaluated")][:2] == [0, 4]
    assert of_kind(events, "checkpoint")[-1].step == 9


def test_stopping_before_the_first_step_is_a_stop(spec):
    for settings in ({}, {"backbone.freeze": "everything"}):
        trainer = Trainer(prepare(spec.changed(settings)))
        trainer.stop()
        events = list(trainer.events())
        assert [event.kind for event in events] == ["started", "finished"]
        assert events[-1].reason == "stopped"


def test_stopping_while_features_are_made_is_a_stop(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    trainer = Trainer(prepare(spec.changed({"backbone.freeze": "everything"})))
    kinds = []
    for event in trainer.events():
        kinds.append(event.kind)
        if event.kind == "progress":
            trainer.stop()
    assert kinds == ["started", "progress", "finished"]


def test_a_long_evaluation_lets_a_stop_be_heard_and_is_given_up(spec, monkeypatch):
    trainer = Trainer(prepare(spec.changed({"budget.steps": 0})))
    ended = []

    def endless(evaluator, model, **_):
        while not evaluator._cancelled.wait(0.01):
            pass
        ended.append(True)
        raise Cancelled

    monkeypatch.setattr(loop.Evaluator, "_embed", endless)
    monkeypatch.setattr(loop, "LAST_MOMENT_S", 0.01)
    kinds = []
    for event in trainer.events():
        kinds.append(event.kind)
        if event.kind == "progress":
            trainer.stop()
    assert kinds == ["started", "progress", "finished"]
    assert ended


def test_closing_the_iterator_ends_the_watcher(spec):
    trainer = Trainer(prepare(spec))
    events = trainer.events()
    while next(events).kind != "step":
        pass
    events.close()
    trainer.evaluator.wait(PATIENCE_S)
    assert not trainer.evaluator.busy


def test_a_checkpoint_from_before_the_first_look_is_told_is_made_at_the_end_only_and_says_so(spec, monkeypatch):
    monkeypatch.setattr(
        loop.Evaluator, "_embed", lambda evaluator, model, **_: evaluator._cancelled.wait(PATIENCE_S) and None
    )
    monkeypatch.setattr(loop, "LAST_MOMENT_S", 0.01)
    trainer = Trainer(prepare(spec.changed({"watch.evaluate_every": None, "budget.steps": 10_000})))
    events = []
    for event in trainer.events():
        events.append(event)
        if event.kind == "step" and event.step == 700:
            trainer.stop()
    assert curve(events)[-1][0] == 700
    (saved,) = of_kind(events, "checkpoint")
    assert saved.step == 700
    assert not start_was_evaluated(saved.data)


def test_a_loss_that_is_not_a_number_ends_the_run_after_three_steps_with_the_reason(spec):
    rates = {"optimizer.backbone_lr": 10.0, "optimizer.head_lr": 10.0, "optimizer.weight_decay": 10.0}
    spec = spec.changed({**rates, "loss": "contrastive", "budget.steps": 500, "watch.evaluate_every": 1000})
    events = []
    with pytest.raises(TrainingFault) as caught:
        events.extend(iter_into(events, train(spec)))
    steps = of_kind(events, "step")
    assert [math.isfinite(step.loss) for step in steps[-4:]] == [True, False, False, False]
    assert caught.value.code == "nonfinite_loss"
    for words in (f"up to step {steps[-1].step}", "backbone 10", "head 10", "ten times smaller"):
        assert words in caught.value.text
    record = steps[-1].record()
    assert record["loss"] is None
    assert record["nonfinite"] == ["grad_norm", "loss"]


def iter_into(seen, events):
    """Keep what came before the exception."""
    for event in events:
        seen.append(event)
    return []


def test_embeddings_that_are_not_finite_give_a_warning_instead_of_a_picture(spec, monkeypatch):
    broken = lambda evaluator, model, **_: (None, np.full((len(evaluator.table), 8), np.nan))  # noqa: E731
    monkeypatch.setattr(loop.Evaluator, "_embed", broken)
    events = list(train(spec.changed({"budget.steps": 2})))
    assert [event.step for event in of_kind(events, "warning")] == [0, 2]
    assert "not finite" in of_kind(events, "warning")[0].text
    assert of_kind(events, "snapshot") == []
    assert events[-1].reason == "completed"


def test_a_frozen_backbone_is_not_changed_by_training(spec):
    spec = spec.changed({"backbone": {"key": "noisy", "freeze": "everything"}})
    trainer = Trainer(prepare(spec.changed({"budget.steps": 3, "watch.evaluate_every": 3})))
    before = weights(trainer)
    list(trainer.events())
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert changed == {"model/head.weight", "model/head.bias", "method/loss.proxies"}


@pytest.mark.parametrize("freeze", ["nothing", "batch_norm"])
def test_batch_norm_statistics_are_kept_when_asked(spec, freeze):
    spec = spec.changed({"backbone": {"key": "noisy", "freeze": freeze}})
    trainer = Trainer(prepare(spec.changed({"budget.steps": 2, "watch.evaluate_every": 2})))
    before = weights(trainer)
    list(trainer.events())
    after = weights(trainer)
    statistics = [name for name in before if "running_" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) == (freeze == "batch_norm") for name in statistics)
    assert not torch.equal(before["model/backbone.layers.0.weight"], after["model/backbone.layers.0.weight"])


def test_the_budget_of_seconds_ends_the_run_and_says_so(spec):
    spec = spec.changed({"budget": {"steps": 1_000_000, "max_seconds": 0.05}})
    events = list(train(spec))
    assert events[-1].reason == "time_up"
    assert "0.05 s" in of_kind(events, "warning")[0].text
    last = curve(events)[-1][0]
    assert of_kind(events, "evaluated")[-1].step == last
    resumed = list(train(spec, resume_from=of_kind(events, "checkpoint")[-1].data))
    assert curve(resumed) == []


def test_what_was_looked_at_before_is_not_looked_at_again_and_turns_the_next_map(spec):
    whole = list(train(spec))
    saved = of_kind(whole, "checkpoint")[0]
    arrays = {shot.step: shot.arrays for shot in of_kind(whole, "snapshot")}
    before = np.concatenate([arrays[4]["pca"], arrays[4]["proxy_pca"]])
    trainer = Trainer(prepare(spec), resume_from=saved.data, resume_point=ResumePoint(4, before))
    shots = of_kind(trainer.events(), "snapshot")
    assert [shot.step for shot in shots] == [8, 12]
    np.testing.assert_array_equal(shots[0].arrays["pca"], arrays[8]["pca"])


def test_a_checkpoint_of_another_run_is_refused(spec):
    saved = of_kind(train(spec), "checkpoint")[0]
    with pytest.raises(ValueError, match="other settings"):
        list(train(spec.changed({"loss.margin": 0.1}), resume_from=saved.data))
    for damaged in (b"", saved.data[:40], b"\xff" * 100):
        with pytest.raises(ValueError, match="safetensors"):
            list(train(spec, resume_from=damaged))


def test_images_that_have_changed_are_a_sentence(spec):
    with pytest.raises(TrainingFault, match="not those that this run was made with") as caught:
        next(train(spec.changed({"dataset.fingerprint": "0" * 64})))
    assert caught.value.code == "data_changed"
    right = spec.changed({"dataset.fingerprint": load("digits").fingerprint})
    assert next(train(right)).fingerprint == right.dataset.fingerprint


def test_images_that_are_missing_are_a_sentence(spec, monkeypatch):
    def missing(key, **_):
        raise FileNotFoundError(2, "No such file or directory", "strip.png")

    monkeypatch.setattr(prepare_module, "load", missing)
    with pytest.raises(TrainingFault, match=r"images of 'digits' cannot be read.*strip\.png") as caught:
        next(train(spec))
    assert caught.value.code == "data_missing"


@pytest.mark.parametrize("size", [2, 3])
def test_two_and_three_numbers_an_image_are_enough_for_a_run(spec, size):
    events = list(train(spec.changed({"head.embedding_size": size})))
    shot = of_kind(events, "snapshot")[-1].arrays
    assert shot["embeddings"].shape == (200, size)
    assert shot["pca"].shape == (200, 3)
    assert (shot["pca"][:, size:] == 0).all()
    assert of_kind(events, "evaluated")[-1].held_out["map_at_r"] > 0


def test_a_saving_that_costs_much_is_done_seldom():
    share = Share(0.1)
    assert share.allows()
    share.cost = 10.0
    assert not share.allows()
    share.ended -= 99.0
    assert not share.allows()
    share.ended -= 2.0
    assert share.allows()


def test_a_device_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' is not available here; there is"):
        pick_device("cuda")


def test_notebooks_need_only_the_package(spec):
    assert mlcore.train is train
    assert mlcore.RunSpec is type(spec)
    with pytest.raises(AttributeError, match="has no 'trian'"):
        _ = mlcore.trian


def test_a_record_of_an_event_is_plain_json(spec):
    for event in train(spec.changed({"budget.steps": 1})):
        record = event.record()
        assert record["kind"] == event.kind
        assert is_event(record)
        assert not any(isinstance(value, np.generic | np.ndarray | torch.Tensor | bytes) for value in record.values())
        assert dataclasses.is_dataclass(event)


def test_the_table_that_is_shared_is_not_written_to(spec):
    assert isinstance(load("digits"), ImageTable)
    before = load("digits").fingerprint
    list(train(spec.changed({"augment": "light", "budget.steps": 2})))
    table = load("digits")
    assert dataclasses.replace(table, pixels=table.pixels.copy()).fingerprint == before
