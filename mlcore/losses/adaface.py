"""AdaFace: the margin depends on how good the image seems, read from the embedding's length."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES

SHORTEST, LONGEST = 1e-3, 100.0
LEAST_SPREAD = 1e-3


@LOSSES.add(
    "adaface",
    title="AdaFace",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s(\cos(\theta_y-m\hat n)-m\hat n-m)}}{e^{s(\cos(\theta_y-m\hat n)-m\hat n-m)}"
        r"+\sum_{j\ne y}e^{s\cos\theta_j}},\quad\hat n=\Big[h\,\frac{\lVert x\rVert-\mu}{\sigma}\Big]_{-1}^{1}"
    ),
    paper="Kim et al., CVPR 2022, arXiv:2204.00964",
    aliases=("AdaFace (easy_metric_learning)",),
)
class AdaFaceLoss(MarginSoftmaxLoss):
    """Presses on hard samples of good images and lets hard samples of poor ones go, by each embedding's length.

    Long embeddings, taken as good images, get a margin in the cosine that is larger where they are far off; short ones
    get ArcFace's angle, which eases there. Length is compared with its running mean and spread: they are saved with
    the loss, set by the first training batch, then follow slowly (0.01, as the authors train; their class's own
    default is 1, this batch alone), and stand still in eval(). Lengths pass no gradient. Where angle and margin pass a
    half turn the rule is ArcFace's; where the margin would turn past the proxy the cosine is 1.

    What to expect: Like a mix of ArcFace and CosFace on clean images; its worth shows on images of uneven quality. It
    needs embeddings as the model gives them: normalise them first and all margins are alike.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    depends_on_length = "the margin depends on an embedding's length"
    tracks_batches = "mean and spread of the lengths follow every training batch"
    detached = "lengths pass no gradient"
    steps: Tensor
    mean_length: Tensor
    spread: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Annotated[
            float, Knob("Size of the margins, in the angle and in the cosine.", 0.0, 1.0, symbol="m")
        ] = 0.4,
        h: Annotated[
            float,
            Knob(
                "How much lengths matter: at 0.333 most lie within -1 and 1.",
                0.0,
                2.0,
                symbol="h",
                title="Weight of lengths",
            ),
        ] = 0.333,
        scale: Scale = 64.0,
        t_alpha: Annotated[
            float, Knob("Share of this batch in the running mean and spread.", 0.0, 1.0, title="Share of this batch")
        ] = 0.01,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, margin, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.count_steps()
        self.h = h
        self.t_alpha = t_alpha
        self.register_buffer("mean_length", torch.tensor(20.0))
        self.register_buffer("spread", torch.tensor(100.0))

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        if self.training:
            self.update_lengths(batch.embeddings)
        return super().losses(batch, proxies)

    @torch.no_grad()
    def update_lengths(self, embeddings: Tensor) -> None:
        lengths = clip_lengths(embeddings).to(self.mean_length)
        share = torch.where(self.steps == 0, 1.0, self.t_alpha)
        self.mean_length.lerp_(lengths.mean(), share.to(self.mean_length))
        if len(lengths) > 1:
            self.spread.lerp_(lengths.std(), share.to(self.spread))

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        lengths = clip_lengths(batch.embeddings)
        above = (lengths - self.mean_length.to(lengths)) / (self.spread.to(lengths) + LEAST_SPREAD)
        quality = (self.h * above).clamp(-1.0, 1.0)  # (B, 1)
        turn = -margin * quality
        turned = torch.where((turn < 0) & (cosine >= turn.cos()), 1.0, add_angle(cosine, turn))
        return turned - margin * quality - margin


def clip_lengths(embeddings: Tensor) -> Tensor:
    return embeddings.detach().norm(dim=1, keepdim=True).clamp(SHORTEST, LONGEST)
