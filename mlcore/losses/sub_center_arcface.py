"""Sub-center ArcFace: several proxies per class, so that noise and variants find a place of their own."""

from __future__ import annotations

import math
from typing import Annotated, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.inputs import check_proxy_batch, outside_autocast
from mlcore.losses.margin_softmax import AngularMargin, MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptionsButSubCenters, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "sub_center_arcface",
    title="Sub-center ArcFace",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(\theta_y+m)}}{e^{s\cos(\theta_y+m)}+\sum_{j\ne y}e^{s\cos\theta_j}},\quad"
        r"\cos\theta_j=\max_{k\le K}\hat w_{jk}\cdot\hat x"
    ),
    paper="Deng et al., ECCV 2020, Sub-center ArcFace",
    aliases=("SubCenterArcFaceLoss (pytorch-metric-learning, margin in degrees)", "ArcFaceSubCenter"),
)
class SubCenterArcFaceLoss(MarginSoftmaxLoss):
    """ArcFace in which each class has several proxies and an embedding needs to be near only one of them.

    Clean samples gather at one proxy of a class, the dominant one; wrong labels and rare looks end at the others.
    `get_outliers` finds them: the paper drops them and trains again with one proxy.

    What to expect: Helps with noisy labels; on clean data it can split a class without need, and embeddings get less
    tight than ArcFace's.

    Shapes: as in ArcFace; the proxies are (C, K, D).
    """

    margin_in_radians = True
    splits_classes = "embeddings of one class may gather at several proxies"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: AngularMargin = 0.5,
        scale: Scale = 64.0,
        sub_centers: Annotated[int, Knob("Proxies per class; the nearest counts.", 1, 32, symbol="K")] = 3,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptionsButSubCenters],
    ) -> None:
        super().__init__(
            num_classes,
            embedding_size,
            margin,
            scale,
            trainable_scale,
            margin_warm_up_steps,
            class_margins,
            sub_centers=sub_centers,
            **rest,
        )

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return add_angle(cosine, margin)

    @outside_autocast
    @torch.no_grad()
    def get_outliers(
        self,
        embeddings: Tensor,
        labels: Tensor,
        threshold: float = math.radians(75.0),
        return_dominant_centers: bool = True,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Positions of the samples farther than `threshold` (radians) from their class's dominant proxy.

        The dominant proxy of a class is the one nearest to most of its samples; (C, D) of them are returned second,
        unless not wanted. A class without samples has its first. pytorch-metric-learning takes degrees, returns
        (D, C), and whatever memory held for a class without samples.

        Raises: ValueError as the loss does, and for a threshold outside [0, pi].
        """
        if not 0.0 <= threshold <= math.pi:
            raise ValueError(
                f"SubCenterArcFaceLoss: threshold must be between 0 and pi rad; got {threshold:g}. "
                f"If that is degrees, pass {math.radians(threshold):.3f}."
            )
        embeddings, labels, proxies, _ = check_proxy_batch(self, embeddings, labels)
        proxies = proxies[:, None] if proxies.ndim == 2 else proxies
        unit, columns = F.normalize(embeddings), F.normalize(proxies, dim=-1)
        votes = torch.zeros(proxies.shape[:2], device=proxies.device)
        for rows in torch.arange(len(unit), device=unit.device).split(4096):
            nearest = torch.einsum("bd,bkd->bk", unit[rows], columns[labels[rows]]).argmax(dim=1)
            votes.index_put_((labels[rows], nearest), votes.new_ones(()), accumulate=True)
        winners = votes.argmax(dim=1)  # (C,)
        classes = torch.arange(self.num_classes, device=winners.device)
        cosines = (unit * columns[classes, winners][labels]).sum(dim=1)
        outliers = (cosines < math.cos(threshold)).nonzero().squeeze(1)
        return (outliers, proxies[classes, winners]) if return_dominant_centers else outliers

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next class's nearest proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)
