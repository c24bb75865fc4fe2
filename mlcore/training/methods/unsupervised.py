"""Training without labels: two renderings of an image belong together, and all else apart."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.training.methods.method import (
    MakeLoss,
    MethodBatch,
    Outcome,
    TrainingMethod,
    one_number,
    refuse_proxies,
    refuse_without_reference,
    sum_outcome,
)
from mlcore.training.methods.registry import METHODS
from mlcore.traits import MethodTrait
from mlcore.tuples import Miner


@METHODS.add(
    "unsupervised",
    title="Unsupervised, from augmentations",
    family="training method",
    formula=r"L\big([z, z'],\ [1..B,\ 1..B]\big)",
    paper="Ye et al., CVPR 2019, arXiv:1904.03436",
    aliases=(
        "UnsupervisedEmbeddingsUsingAugmentations (pytorch-metric-learning before 1.0)",
        "instance discrimination",
    ),
    traits=(MethodTrait.TWO_VIEWS, MethodTrait.OWN_LABELS, MethodTrait.NO_PROXIES),
)
class UnsupervisedEmbeddingsUsingAugmentations(TrainingMethod):
    """Renders each image twice and labels both by the image: the labels of the data are not looked at.

    An image's number goes on from batch to batch (`seen`, which is saved), so that a loss with a memory never takes two
    images for one. A loss that is made for two views (`compares_views`) gets them as such; any other gets both
    in one batch.

    What to expect: As good as the augmentation: what it changes is what embeddings learn to overlook, and what it
    leaves they learn to tell apart. With small movements alone, held-out MAP@R rose on the digits sample (.48 to .58 in
    200 steps with NT-Xent) and fell on glyphs (.22 to .15 in 300), where the font then counts more than the letter. Two
    images of a class in one batch are pushed apart: shuffle instead of m per class, and take large batches.

    Shapes: two views of features (B, F), the same images in the same order; labels (B,) of any kind.
    Raises: ValueError for a loss with proxies, or one without ref_emb where `symmetric` is off.
    """

    views = 2

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        embedding_size: int,
        *,
        symmetric: Annotated[
            bool, Knob("Every rendering is an anchor; otherwise the first asks and the second answers.")
        ] = True,
    ) -> None:
        super().__init__(make_loss, miner, embedding_size)
        self.joined = symmetric and not getattr(self.loss, "compares_views", "")
        (refuse_proxies if self.joined else refuse_without_reference)("unsupervised", self.loss)
        self.symmetric = symmetric
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def outcome(self, batch: MethodBatch) -> Outcome:
        one, other = batch.embeddings
        images = self.seen + torch.arange(len(one), device=one.device)
        if self.training:
            self.seen += len(one)
        if not self.joined:
            return self.loss_across(one, other, images)
        embeddings, labels = torch.cat([one, other]), images.repeat(2)
        tuples = self.mine(embeddings, labels)
        return sum_outcome({"metric": one_number(self.loss, embeddings, labels, tuples)}, tuples)
