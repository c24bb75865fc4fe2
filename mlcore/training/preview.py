"""What a step of a run will see, before there is one: an image as it is rendered, and the batch that is drawn first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlcore.backbones import BACKBONES
from mlcore.data import ImageTable
from mlcore.data.transforms import to_input
from mlcore.input_format import InputFormat
from mlcore.samplers import SAMPLERS
from mlcore.samplers.epochs import Sampler
from mlcore.spec.data_split import build_split
from mlcore.spec.run_spec import RunSpec
from mlcore.training.build import (
    TrainingRows,
    build_augmentation,
    build_method,
    build_model,
    build_sampler,
)
from mlcore.training.feature_source import PixelSource, row_chunks
from mlcore.training.mixup import mix_images
from mlcore.traits import SamplerTrait

COUNT = 9
MOST_LOOKED_AT = 5000  # images, for a sampler that looks at the model


@dataclass(frozen=True, eq=False)
class Preview:
    """An image as the backbone sees it. h, w and C are those of the backbone's input.

    `plain` (h, w, C) without augmentation, `rendered` (9, h, w, C) with it; `mixed` (h, w, C) with another image, None
    where the run mixes none, and the `shares` of the classes in it, by name. All uint8. `adapted`: what is done to
    every image before, in a sentence, "" for nothing.
    """

    plain: np.ndarray
    rendered: np.ndarray
    mixed: np.ndarray | None
    shares: dict[str, float]
    adapted: str


@dataclass(frozen=True, eq=False)
class BatchPreview:
    """The first batch of a run, all of it from the training side of its split.

    `rows` (B,) int64 places in the table in the order drawn, `labels` (B,) their classes there, both empty where it
    cannot be known beforehand; `training_images` and `training_classes`: what it is drawn from; `note`: what else there
    is to know of it, in sentences, "" for nothing.
    """

    rows: np.ndarray
    labels: np.ndarray
    training_images: int
    training_classes: int
    note: str

    def counts(self) -> dict[int, int]:
        """How many images of each class, in the order in which the classes come."""
        return dict(Counter(self.labels.tolist()))

    def sentence(self) -> str:
        """'32 of 930 training images: 8 of 31 classes, 4 images of each.'"""
        counts = self.counts()
        low, high = min(counts.values(), default=0), max(counts.values(), default=0)
        each = f"{low}" if low == high else f"{low} to {high}"
        images = "image" if high == 1 else "images"
        again = len(self.rows) - len(np.unique(self.rows))
        twice = f" {again} of them {'comes' if again == 1 else 'come'} again." if again else ""
        return (
            f"{len(self.rows)} of {self.training_images:,} training images: {len(counts):,} of "
            f"{self.training_classes:,} classes, {each} {images} of each.{twice}"
        )


def make_preview(spec: RunSpec, table: ImageTable, row: int = 0, *, seed: int = 0) -> Preview:
    """Nine renderings of an image of `table`, and one mixed with an image of another class, as `spec` trains on them.

    The same `seed` gives the same pictures; torch's random state is left alone.

    Raises: ValueError for a row that is not there, and for a backbone that cannot be built.
    """
    if not 0 <= row < len(table):
        raise ValueError(f"preview: row must lie in [0, {len(table)}), one of the images; got {row}.")
    input_format = find_input_format(spec, table)
    augmentation, generator = build_augmentation(spec), torch.Generator().manual_seed(seed)

    def rendering(rows: list[int]) -> Tensor:
        return augmentation.render(torch.from_numpy(table.pixels[rows]), input_format, generator)

    rendered = as_pictures(rendering([row] * COUNT), input_format)
    blend, shares = None, {}
    others = np.flatnonzero(table.labels != table.labels[row])
    if spec.mix.kind != "none" and len(others):
        other = int(others[torch.randint(len(others), (), generator=generator)])
        labels = torch.from_numpy(table.labels[[row, other]]).long()
        images, parts = mix_images(rendering([row, other]), labels, len(table.class_names), spec.mix, generator)
        blend = as_pictures(images[:1], input_format)[0]
        shares = {table.class_names[label]: float(parts[0, label]) for label in labels.tolist()}
    plain = to_input(torch.from_numpy(table.pixels[[row]]), input_format)
    adapted = input_format.adapted(table.image_size, table.channels)
    return Preview(as_pictures(plain, input_format)[0], rendered, blend, shares, adapted)


def find_input_format(spec: RunSpec, table: ImageTable) -> InputFormat:
    """What the run's backbone wants of its images; its weights are not looked for."""
    sizes = {"image_size": table.image_size, "channels": table.channels}
    weightless = {name: False for name in spec.backbone.params if name == "pretrained"}
    with torch.random.fork_rng(devices=[]):
        return BACKBONES[spec.backbone.key].build(sizes, **spec.backbone.params | weightless).input_format


def batch_preview(spec: RunSpec, table: ImageTable) -> BatchPreview:
    """The batch that the first step of a run as `spec` gets, by its seed; torch's random state is left alone.

    A sampler that looks at the model is shown the untrained one, if it is a small one from scratch and there are at
    most 5,000 training images; else the batch is empty and the note says why.

    Raises: ValueError where the sampler or the split does not fit the table.
    """
    parted = build_split(spec.dataset, table)
    classes, labels = np.unique(table.labels[parted.train], return_inverse=True)
    rows = TrainingRows(labels, table.label_levels[parted.train])
    facts = {"training_images": len(parted.train), "training_classes": len(classes)}
    looks = SamplerTrait.LOOKS_AT_THE_MODEL in SAMPLERS[spec.sampler.key].traits
    cheap = BACKBONES[spec.backbone.key].family == "from scratch" and len(parted.train) <= MOST_LOOKED_AT
    if looks and not cheap:
        nothing = np.zeros(0, dtype=np.int64)
        return BatchPreview(nothing, nothing, **facts, note="It is drawn by what the model finds hard, as it learns.")
    sampler = (
        looking_sampler(spec, table, rows, parted.train) if looks else build_sampler(spec, rows, refuse_pixels, None)
    )
    found = parted.train[sampler.epoch(1, spec.seed)[0]]
    notes = ["Drawn by what the model finds hard before training; later batches follow the model."] * looks
    notes += ["The subset miner then picks those that are trained on."] * (spec.subset_miner is not None)
    more = spec.optimizer.accumulate
    notes += [f"{more} such batches make one step."] * (more > 1)
    return BatchPreview(found, table.labels[found], **facts, note=" ".join(notes))


def refuse_pixels(rows: np.ndarray) -> Tensor:
    raise AssertionError("a sampler that does not look at the model has asked for embeddings")


def looking_sampler(spec: RunSpec, table: ImageTable, rows: TrainingRows, train: np.ndarray) -> Sampler:
    """The sampler before the untrained model, whose weights are those that the run begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = build_model(spec, table)
        method = build_method(spec, rows, model)
    source, looking = PixelSource(table, torch.device("cpu")), model.eval()

    @torch.inference_mode()
    def embed(places: np.ndarray) -> Tensor:
        found = [source.features(looking, train[places[part]]) for part in row_chunks(len(places))]
        return looking.head(torch.cat(found))

    return build_sampler(spec, rows, embed, method.miner)


def as_pictures(images: Tensor, input_format: InputFormat) -> np.ndarray:
    """A backbone's input (B, C, h, w) as it looks: (B, h, w, C) uint8."""
    mean, std = (images.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (input_format.mean, input_format.std))
    return ((images * std + mean) * 255.0).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
