"""MagFace: the longer an embedding, the larger its margin, and lengths that tell the quality of images."""

from __future__ import annotations

from typing import Annotated, Unpack

from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.reducers import LossTerm


@LOSSES.add(
    "magface",
    title="MagFace",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(\theta_y+m(a))}}{e^{s\cos(\theta_y+m(a))}+\sum_{j\ne y}e^{s\cos\theta_j}}"
        r"+\lambda_g\Big(\frac1a+\frac{a}{u_a^2}\Big),\quad m(a)=l_m+(u_m-l_m)\frac{a-l_a}{u_a-l_a},\ a=\lVert x\rVert"
    ),
    paper="Meng et al., CVPR 2021, arXiv:2103.06627",
    aliases=("MagFace (authors)",),
)
class MagFaceLoss(MarginSoftmaxLoss):
    """ArcFace whose margin grows with the embedding's length, and a term that wants embeddings long.

    A sample that is easy to place can afford the larger margin of a long embedding, a poor image cannot: after training
    the length says how much to trust it. Lengths are cut to [l_a, u_a], as in the authors' code, and outside they
    pass no gradient. `class_margins` are shares of the margin, from 0 to 1.

    What to expect: ArcFace with a margin of l_m as long as embeddings are shorter than l_a. A small network gives
    lengths near 1: then set l_a and u_a to the range you see, or scale the last layer. The second term does not
    reach 0, so neither does the loss.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    depends_on_length = "the margin grows with an embedding's length"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        l_a: Annotated[
            float,
            Knob(
                "Length at which the margin is smallest.", 0.01, 1000.0, symbol="l_a", log=True, title="Shortest length"
            ),
        ] = 10.0,
        u_a: Annotated[
            float,
            Knob(
                "Length at which the margin is largest.", 0.02, 2000.0, symbol="u_a", log=True, title="Longest length"
            ),
        ] = 110.0,
        l_m: Annotated[
            float, Knob("Smallest margin.", 0.0, 1.5, unit="rad", symbol="l_m", title="Smallest margin")
        ] = 0.45,
        u_m: Annotated[
            float, Knob("Largest margin.", 0.0, 1.5, unit="rad", symbol="u_m", title="Largest margin")
        ] = 0.8,
        lambda_g: Annotated[
            float,
            Knob(
                "Weight of the term that wants long embeddings.",
                0.0,
                200.0,
                symbol=r"\lambda_g",
                title="Weight of length",
            ),
        ] = 35.0,
        scale: Scale = 64.0,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, 1.0, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.l_a, self.u_a = min(l_a, u_a), max(l_a, u_a)
        self.l_m, self.u_m = min(l_m, u_m), max(l_m, u_m)
        self.lambda_g = lambda_g

    def lengths(self, embeddings: Tensor) -> Tensor:
        return embeddings.norm(dim=1, keepdim=True).clamp(self.l_a, self.u_a)

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        longer = (self.lengths(batch.embeddings) - self.l_a) / max(self.u_a - self.l_a, 1e-6)
        return add_angle(cosine, margin * (self.l_m + (self.u_m - self.l_m) * longer))

    def loss_terms(self, batch: ProxyBatch, proxies: Tensor) -> dict[str, LossTerm]:
        terms = super().loss_terms(batch, proxies)
        lengths = self.lengths(batch.embeddings).squeeze(1)
        terms["length_loss"] = batch.weighted_rows(self.lambda_g * (1.0 / lengths + lengths / self.u_a**2))
        return terms
