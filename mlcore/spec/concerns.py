"""What a run cannot learn or measure on its images, said before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlcore.catalogue import registry
from mlcore.data import ImageTable, Split
from mlcore.spec.defaults import learns_proxies
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import PartChoice
from mlcore.traits import MethodTrait

MOSTLY = 0.8  # of the held-out images that ask: of one class


@dataclass(frozen=True)
class Concern:
    """One sentence or two, with what to do. Where it `stops`, nothing could be learned, and the run is refused."""

    text: str
    stops: bool = False


def find_concerns(spec: RunSpec, table: ImageTable, split: Split) -> list[Concern]:
    """Everything to know before a run of `spec`, what stops it first."""
    return sorted([*split_concerns(table, split), *run_concerns(spec, table, split)], key=lambda found: not found.stops)


def run_concerns(spec: RunSpec, table: ImageTable, split: Split) -> list[Concern]:
    """What the settings of a run add to the concerns of its split."""
    return [*learning_concerns(spec, table, split), *setting_concerns(spec, split)]


def refusal_sentence(concerns: list[Concern]) -> str:
    """The sentences that stop a run; "" where none does."""
    return " ".join(concern.text for concern in concerns if concern.stops)


def split_concerns(table: ImageTable, split: Split) -> list[Concern]:
    """What the two sides of a split cannot give, whatever is trained on them."""
    return [Concern(text) for text in (*training_side(table, split), *held_out_side(table, split))]


def training_side(table: ImageTable, split: Split) -> Iterator[str]:
    images = images_of_classes(table.labels[split.train])
    single, cure = int((images == 1).sum()), cure_sentence(table, split)
    if len(images) == 1:
        yield f"All training images are of one class, so there is nothing to tell it from. {cure}"
    elif single == len(images):
        yield f"No training class has two images, so there are no pairs of a class to learn from. {cure}"
    elif single:
        yield f"{single:,} of {len(images):,} training classes have one image, which makes no pair."


def held_out_side(table: ImageTable, split: Split) -> Iterator[str]:
    asking = asking_labels(table, split)
    queries = split.held_out if split.queries is None else split.queries
    classes, counts = np.unique(asking, return_counts=True)
    if len(asking) == 0:
        what = "another of its class" if split.queries is None else "one of its class in the gallery"
        yield f"No held-out image has {what}, so nothing can be measured on them. {cure_sentence(table, split)}"
        return
    if len(classes) == 1 and split.queries is None:
        yield (
            "Of the held-out images only those of one class have others of theirs, "
            f"{class_in_quotes(table, classes[0])}: any metric would be high whatever is learned, so none is given. "
            f"{cure_sentence(table, split)}"
        )
        return
    if split.queries is not None and len(np.unique(table.labels[split.gallery])) == 1:
        yield "The gallery holds one class only, so every search is right and no metric is given. Choose another split."
        return
    lone = len(queries) - len(asking)
    if lone:
        yield f"{lone:,} of {len(queries):,} held-out images have no other of their class to be found, and do not ask."
    if counts.max() >= MOSTLY * len(asking):
        most = f"{counts.max():,} of the {len(asking):,} held-out images that ask are of one class"
        yield f"{most}, {class_in_quotes(table, classes[counts.argmax()])}: a high metric says little."


def asking_labels(table: ImageTable, split: Split) -> np.ndarray:
    """The labels of the held-out images that have something right to find."""
    if split.queries is not None:
        asked = table.labels[split.queries]
        return asked[np.isin(asked, table.labels[split.gallery])]
    labels = table.labels[split.held_out]
    classes, counts = np.unique(labels, return_counts=True)
    return labels[np.isin(labels, classes[counts > 1])]


def cure_sentence(table: ImageTable, split: Split) -> str:
    images = images_of_classes(table.labels)
    if split.by != "sample" and int((images > 3).sum()) > 1:
        return "Hold out images instead."
    if split.by != "class" and int((images > 1).sum()) > 3:
        return "Hold out classes instead."
    return "Bring more images of each class."


def images_of_classes(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_counts=True)[1]


def class_in_quotes(table: ImageTable, label: int) -> str:
    return f"“{table.class_names[label][:60]}”"


def learning_concerns(spec: RunSpec, table: ImageTable, split: Split) -> Iterator[Concern]:
    """What the loss and the batches lack on these training images."""
    method = registry("methods")[spec.method.key]
    alone = spec.teacher is not None and spec.teacher.alone
    if {MethodTrait.OWN_LABELS, MethodTrait.TEXTS} & set(method.traits) or alone:
        return
    images = images_of_classes(table.labels[split.train])
    if len(images) == 1:
        yield Concern(f"Nothing can be learned from one class alone. {cure_sentence(table, split)}", stops=True)
        return
    losses = [spec.loss, *([spec.second_loss] if spec.second_loss else [])]
    by_pairs = spec.method.key != "with_classifier" and not any(learns_proxies(loss.key) for loss in losses)
    repeats = "m" in spec.sampler.params or spec.sampler.key == "balanced"
    moved = spec.augment.key != "none"
    if by_pairs and images.max() == 1 and not (moved and repeats):
        title = registry("losses")[spec.loss.key].title
        yield Concern(f"{title} learns from pairs of a class. Choose a loss with proxies, such as arcface.", stops=True)
        return
    m = spec.sampler.params.get("m")
    short = int((images < m).sum()) if isinstance(m, int) else 0
    if by_pairs and short and not moved:
        yield Concern(
            f"{short:,} of {len(images):,} training classes have fewer images than the {m} that a batch takes of each: "
            "some come twice, and are their own best match. Take fewer, or choose an augmentation."
        )


def setting_concerns(spec: RunSpec, split: Split) -> Iterator[Concern]:
    """Settings that go together but leave nothing to do."""
    batch, steps, optimizer = spec.sampler.batch_size, spec.budget.steps, spec.optimizer
    if batch > len(split.train):
        yield Concern(
            f"A batch of {batch:,} is more than the {len(split.train):,} training images: each step sees all of them."
        )
    rates = {
        "backbone": optimizer.backbone_lr if spec.backbone.freeze != "everything" else 0.0,
        "head": optimizer.head_lr if spec.head.kind != "none" else 0.0,
        "proxies": optimizer.proxies_lr if learns_proxies(spec.loss.key) else 0.0,
    }
    if not any(rates.values()):
        yield Concern("Every learning rate of what could train is 0, so nothing will change. Raise one.")
    elif 0 < steps <= optimizer.warm_up_steps:
        yield Concern(
            f"The warm-up of {optimizer.warm_up_steps:,} steps does not end in a run of {steps:,}: the learning rates "
            "are never reached."
        )
    if spec.wrapper is not None:
        yield from memory_concerns(spec, spec.wrapper)
    if registry("miners")[spec.miner.key].family == "given":
        yield from given_tuples_concerns(spec)


def memory_concerns(spec: RunSpec, wrapper: PartChoice) -> Iterator[Concern]:
    size, warm_up = wrapper.number("memory_size"), wrapper.number("warm_up")
    if size is not None and size < spec.sampler.batch_size:
        yield Concern(
            f"A memory of {size:,} does not hold a batch of {spec.sampler.batch_size:,}. Make it larger.", stops=True
        )
    if warm_up is not None and 0 < spec.budget.steps <= warm_up:
        yield Concern(f"The memory warms up for {warm_up:,} steps, longer than the run: it is never used.")


def given_tuples_concerns(spec: RunSpec) -> Iterator[Concern]:
    """Triplets are read off the order of the batch, whatever is in it."""
    title, method = registry("miners")[spec.miner.key].title, registry("methods")[spec.method.key]
    batch, sampler = spec.sampler.batch_size, registry("samplers")[spec.sampler.key]
    if spec.wrapper is not None or {MethodTrait.TWO_VIEWS, MethodTrait.TEXTS} & set(method.traits):
        beside = registry("wrappers")[spec.wrapper.key] if spec.wrapper else method
        text = f"“{title}” reads triplets off the batch, and {beside.title} compares it with something else"
        yield Concern(f"{text}. Choose another miner.", stops=True)
    elif batch % 3:
        yield Concern(f"“{title}” needs a batch size that is a multiple of 3; got {batch}.", stops=True)
    elif sampler.family != "triplets":
        yield Concern(
            f"“{title}” reads triplets off the batch whatever its classes are, and {sampler.title} does not order "
            "batches so. Choose the sampler “Fixed set of triplets”, or another miner."
        )
