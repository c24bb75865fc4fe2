"""What a run's augmentation makes of an image, as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlcore.backbones import BACKBONES, InputFormat
from mlcore.data import ImageTable
from mlcore.data.transforms import to_input
from mlcore.runs.spec import RunSpec
from mlcore.training.build import build_augmentation
from mlcore.training.mixing import mixed

COUNT = 9


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


def preview(spec: RunSpec, table: ImageTable, row: int = 0, *, seed: int = 0) -> Preview:
    """Nine renderings of an image of `table`, and one mixed with an image of another class, as `spec` trains on them.

    The same `seed` gives the same pictures; torch's random state is left alone.

    Raises: ValueError for a row that is not there, and for a backbone that cannot be built.
    """
    if not 0 <= row < len(table):
        raise ValueError(f"preview: row must lie in [0, {len(table)}), one of the images; got {row}.")
    sizes = {"image_size": table.image_size, "channels": table.channels}
    with torch.random.fork_rng(devices=[]):
        input_format = BACKBONES[spec.backbone.key].build(sizes, **spec.backbone.params).input_format
    augmentation, generator = build_augmentation(spec), torch.Generator().manual_seed(seed)

    def rendering(rows: list[int]) -> Tensor:
        return augmentation.render(torch.from_numpy(table.pixels[rows]), input_format, generator)

    rendered = as_pictures(rendering([row] * COUNT), input_format)
    blend, shares = None, {}
    others = np.flatnonzero(table.labels != table.labels[row])
    if spec.mix.kind != "none" and len(others):
        other = int(others[torch.randint(len(others), (), generator=generator)])
        labels = torch.from_numpy(table.labels[[row, other]]).long()
        images, parts = mixed(rendering([row, other]), labels, len(table.class_names), spec.mix, generator)
        blend = as_pictures(images[:1], input_format)[0]
        shares = {table.class_names[label]: float(parts[0, label]) for label in labels.tolist()}
    plain = to_input(torch.from_numpy(table.pixels[[row]]), input_format)
    adapted = input_format.adapted(table.image_size, table.channels)
    return Preview(as_pictures(plain, input_format)[0], rendered, blend, shares, adapted)


def as_pictures(images: Tensor, input_format: InputFormat) -> np.ndarray:
    """A backbone's input (B, C, h, w) as it looks: (B, h, w, C) uint8."""
    mean, std = (images.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (input_format.mean, input_format.std))
    return ((images * std + mean) * 255.0).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
