"""Mixup and cutmix: pairs of training images made one, with each class's share."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import drawn_from
from mlcore.spec.sections import MixChoice


def mix_images(
    images: Tensor, labels: Tensor, num_classes: int, choice: MixChoice, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each image of the batch mixed with another one, by torchvision; everything random comes from `generator`.

    "mixup" (Zhang et al., ICLR 2018, arXiv:1710.09412) adds the images in the shares l and 1 - l, "cutmix" (Yun et al.,
    ICCV 2019, arXiv:1905.04899) puts a rectangle of the other one in, whose area is 1 - l. As torchvision has it, l is
    one number for the whole batch, from a beta distribution with `choice.alpha` twice. The partner is drawn, not the
    neighbour, which samplers of m per class would make one of its own class.

    Shapes: images (B, C, h, w), labels (B,) whole numbers -> the same, and (B, num_classes) shares, in another order.
    """
    from torchvision.transforms import v2

    kind = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[choice.kind]
    with drawn_from(generator):
        order = torch.randperm(len(images)).to(images.device)
        return kind(alpha=choice.alpha, num_classes=num_classes)(images[order], labels[order])
