"""What a run cannot learn or measure is known before it begins."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.data import ImageTable, split
from mlcore.spec.concerns import find_concerns, refusal_sentence
from mlcore.spec.run_spec import RunSpec


def concerns_for(sizes, splits=None, **settings):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    table = ImageTable(
        key="made",
        title="Made",
        pixels=np.zeros((len(labels), 2, 2, 1), np.uint8),
        labels=labels,
        class_names=tuple(f"class {number}" for number in range(len(sizes))),
        image_names=tuple(map(str, range(len(labels)))),
        origin="",
        licence="",
    )
    words = None if splits is None else np.array(splits)
    by = "class" if splits is None else "official"
    spec = RunSpec.read({"dataset": "digits"}).changed({"dataset.split": by, **settings})
    parted = split(labels, settings.get("dataset.split", by), splits=words)
    return find_concerns(spec, table, parted)


def said(*args, **settings):
    return " ".join(concern.text for concern in concerns_for(*args, **settings))


def test_a_usual_run_gives_no_concern():
    assert concerns_for([20] * 10) == []
    assert concerns_for([20] * 10, loss="triplet_margin") == []
    assert concerns_for([20] * 10, **{"dataset.split": "sample"}) == []


@pytest.mark.parametrize(
    ("sizes", "settings", "words"),
    [
        ([1000, 1, 1, 1], {}, "No held-out image has another of its class"),
        ([30, 30, 30], {}, "Of the held-out images only those of one class have others of theirs, “class"),
        ([30, 30, 30], {}, "Hold out images instead"),
        ([1] * 60, {}, "No training class has two images"),
        ([1] * 60, {}, "Bring more images of each class"),
        ([9] * 10 + [1] * 10, {}, "training classes have one image, which makes no pair"),
        ([9] * 10 + [1] * 10, {}, "held-out images have no other of their class to be found, and do not ask"),
        ([400, 20, 20, 20], {"dataset.split": "sample"}, "a high metric says little"),
        ([20] * 10, {"sampler.batch_size": 512}, "A batch of 512 is more than the 100 training images"),
        ([3] * 20, {"loss": "contrastive"}, "10 of 10 training classes have fewer images than the 4"),
        ([20] * 10, {"optimizer.warm_up_steps": 300}, "The warm-up of 300 steps does not end"),
        ([20] * 10, {"loss": "supcon", "wrapper": "cross_batch_memory", "wrapper.warm_up": 900}, "it is never used"),
        ([20] * 10, {"miner": "packaged_triplets", "sampler.batch_size": 30}, "Choose the sampler “Fixed set of trip"),
        (
            [20] * 10,
            {"optimizer.backbone_lr": 0.0, "optimizer.head_lr": 0.0, "optimizer.proxies_lr": 0.0},
            "Every learning rate of what could train is 0",
        ),
    ],
)
def test_what_is_known_before_is_said(sizes, settings, words):
    assert words in said(sizes, **settings)
    assert refusal_sentence(concerns_for(sizes, **settings)) == ""


@pytest.mark.parametrize(
    ("sizes", "settings", "words"),
    [
        ([30, 30], {}, "Nothing can be learned from one class alone. Hold out images instead"),
        ([1] * 60, {"loss": "triplet_margin"}, "Triplet margin learns from pairs of a class"),
        ([1] * 60, {"loss": "ntxent", "augment": "light", "sampler": "shuffle"}, "learns from pairs of a class"),
        ([20] * 10, {"loss": "supcon", "miner": "packaged_triplets", "sampler.batch_size": 32}, "multiple of 3"),
        (
            [20] * 10,
            {"loss": "supcon", "miner": "packaged_triplets", "sampler.batch_size": 36, "wrapper": "cross_batch_memory"},
            "reads triplets off the batch",
        ),
        (
            [20] * 10,
            {"loss": "supcon", "wrapper": "cross_batch_memory", "wrapper.memory_size": 16},
            "A memory of 16 does not hold a batch of 32",
        ),
    ],
)
def test_where_nothing_can_be_learned_the_run_is_refused(sizes, settings, words):
    assert words in refusal_sentence(concerns_for(sizes, **settings))


def test_classes_do_not_matter_to_what_does_not_look_at_them():
    assert refusal_sentence(concerns_for([30, 30], method="unsupervised", loss="ntxent")) == ""
    assert refusal_sentence(concerns_for([1] * 60, loss="triplet_margin", method="with_classifier")) == ""
    assert refusal_sentence(concerns_for([1] * 60, loss="triplet_margin", augment="light")) == ""


def test_a_gallery_is_looked_at_too():
    words = ["train"] * 4 + ["query", "query", "gallery", "gallery"]
    assert "No held-out image has one of its class in the gallery" in said([2, 2, 2, 1, 1], splits=words)
    words = ["train"] * 4 + ["query", "gallery", "gallery", "gallery"]
    assert "The gallery holds one class only" in said([2, 2, 4], splits=words)
