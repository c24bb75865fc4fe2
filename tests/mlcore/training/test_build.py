"""Every part that a run may choose trains, goes on after a stop as if there had been none, and is refused in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlcore.catalogue import registry
from mlcore.distances import LpDistance
from mlcore.losses.wrappers.cross_batch_memory import CrossBatchMemory
from mlcore.losses.wrappers.multiple import MultipleLosses
from mlcore.spec.compatibility import fitting_keys
from mlcore.spec.defaults import OPTIONAL, PART_ROOMS, learns_proxies
from mlcore.spec.run_spec import RunSpec
from mlcore.training import evaluator
from mlcore.training.build import TrainingRows, unwrap_loss
from mlcore.training.loop import Trainer
from mlcore.training.prepare import prepare
from mlcore.traits import MethodTrait, SamplerTrait

NEEDS_LIMIT = {"reducer": {"threshold": {"reducer.low": 0.0}}}
STEPS = 4


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    """What a look measures is tested elsewhere."""
    for name in ("measure", "mean_values", "angle_histograms"):
        monkeypatch.setattr(evaluator, name, lambda *_, **__: {})


@pytest.fixture
def spec(quick_spec):
    return quick_spec.changed({"threads": 1, "budget.steps": STEPS, "watch.evaluate_every": 2})


def goes_with(section: str, key: str, loss: str) -> bool:
    if section == "method" and MethodTrait.NO_PROXIES in registry("methods")[key].traits:
        return not learns_proxies(loss)
    return key in fitting_keys(section, loss)


def choices():
    """Each part of each section with the first loss that it goes with; methods and reducers with both kinds."""
    found = []
    for section in (*OPTIONAL, "sampler", "method"):
        for key in registry(PART_ROOMS[section]):
            losses = [loss for loss in ("triplet_margin", "arcface") if goes_with(section, key, loss)]
            found += [(section, key, loss) for loss in (losses if section in ("method", "reducer") else losses[:1])]
    return [pytest.param(*choice, id="-".join(choice)) for choice in found]


def chosen(spec: RunSpec, section: str, key: str, loss: str) -> RunSpec:
    settings = {"loss": loss, section: key} | NEEDS_LIMIT.get(section, {}).get(key, {})
    if section == "subset_miner":
        settings |= {"subset_miner.output_batch_size": 8}
    if section == "sampler" and SamplerTrait.PARENT_LABELS in registry("samplers")[key].traits:
        settings |= {"dataset": "glyphs", "backbone": "mlp"}
    if section == "sampler":
        settings |= {"sampler.batch_size": 24}
    if section == "method" and MethodTrait.TEXTS in registry("methods")[key].traits:
        settings |= {"method.texts": "class names"}
    return spec.changed(settings)


def curve_of(trainer: Trainer, upto: int = STEPS) -> tuple[list[float], bytes | None]:
    losses, saved = [], None
    for event in trainer.events():
        if event.kind == "step":
            losses.append(event.loss)
            if event.step == upto:
                trainer.stop()
        if event.kind == "checkpoint":
            saved = event.data
    return losses, saved


@pytest.mark.parametrize(("section", "key", "loss"), choices())
def test_every_choice_trains_and_goes_on_as_if_it_had_not_stopped(spec, section, key, loss):
    spec = chosen(spec, section, key, loss)
    whole, _ = curve_of(Trainer(prepare(spec)))
    first, saved = curve_of(Trainer(prepare(spec)), upto=3)
    rest, _ = curve_of(Trainer(prepare(spec), resume_from=saved))
    assert len(whole) == STEPS
    assert all(math.isfinite(value) for value in whole)
    assert first + rest == whole


def test_a_loss_is_built_with_everything_that_was_chosen(spec):
    trainer = Trainer(
        prepare(
            spec.changed(
                {
                    "loss": "triplet_margin",
                    "distance": "lp",
                    "distance.p": 1.0,
                    "reducer": "sum",
                    "embedding_regularizer": "lp",
                    "embedding_regularizer.weight": 0.25,
                    "second_loss": "contrastive",
                    "second_loss.weight": 3.0,
                    "wrapper": "cross_batch_memory",
                    "wrapper.memory_size": 64,
                    "miner": "batch_hard",
                }
            )
        )
    )
    memory = trainer.prepared.method.loss
    assert isinstance(memory, CrossBatchMemory)
    assert memory.memory_size == 64
    assert type(memory.miner).__name__ == "BatchHardMiner"
    assert trainer.prepared.method.miner is None
    assert isinstance(memory.loss, MultipleLosses)
    assert list(memory.loss.weights.values()) == [1.0, 3.0]
    loss = unwrap_loss(memory)
    assert type(loss).__name__ == "TripletMarginLoss"
    assert isinstance(loss.distance, LpDistance)
    assert loss.distance.p == 1.0
    assert type(loss.reducer).__name__ == "SumReducer"
    assert loss.embedding_reg_weight == 0.25


def test_class_weights_give_every_class_the_same_part():
    labels = np.array([0, 0, 0, 1, 2, 2])
    rows = TrainingRows(labels, labels[:, None])
    weights = rows.class_weights()[torch.from_numpy(rows.labels)]
    sums = [float(weights[rows.labels == label].sum()) for label in range(3)]
    assert sums == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "arcface", "distance": "snr"}, "ArcFace does not take 'snr'. It goes with"),
        ({"loss": "contrastive", "weight_regularizer": "regular_face"}, "Leave it out"),
        ({"loss": "arcface", "wrapper": "cross_batch_memory"}, "Leave it out"),
        ({"loss": "contrastive", "wrapper": "self_supervised"}, "It goes with cross_batch_memory"),
        ({"loss": "arcface", "method": "unsupervised"}, "Choose a pair or triplet loss"),
        ({"loss": "contrastive", "second_loss": "arcface", "method": "two_streams"}, "Choose a pair or triplet loss"),
        ({"loss": "ntxent", "method": "unsupervised", "augment": "none"}, "Set augment to 'light'"),
        ({"loss": "contrastive", "method": "cascaded", "subset_miner": "maximum_loss"}, "without a subset miner"),
        ({"loss": "margin", "loss.beta_per_class": True, "method": "unsupervised"}, "no classes"),
        ({"loss": "contrastive", "reducer": "threshold"}, "low or high must be set"),
        ({"distance.p": 2.0}, "distance is not chosen yet"),
        ({"loss": "contrastive", "distance": "lpp"}, "Did you mean 'lp'?"),
        ({"wrapper.memory": 3}, "wrapper is not chosen yet"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_cure(settings, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        RunSpec.read({}).changed(settings)


def test_a_sampler_of_hierarchies_says_which_data_it_wants(spec):
    hierarchical = spec.changed({"sampler": "hierarchical", "sampler.batch_size": 24})
    with pytest.raises(ValueError, match="needs data whose classes have parent classes, and 'digits' has none"):
        prepare(hierarchical)


def test_a_method_of_two_views_brings_its_augmentation_and_takes_it_away_again():
    unsupervised = RunSpec.read({"loss": "ntxent"}).changed({"method": "unsupervised"})
    assert unsupervised.augment.key == "light"
    assert unsupervised.changed({"method": "metric_only"}).augment.key == "none"
    assert RunSpec.read({"loss": "ntxent", "method": "unsupervised"}).augment.key == "light"


def test_a_part_can_be_left_out_again():
    spec = RunSpec.read({"loss": "contrastive", "distance": "lp"})
    assert spec.changed({"distance": None}).distance is None
    assert spec.changed({"distance": "lp", "distance.p": 1.0}).distance.params["p"] == 1.0
