"""What softmax losses with a margin share; each of them says only how its margin changes a cosine."""

from __future__ import annotations

from typing import Annotated, Protocol, Unpack

import torch
from torch import Tensor

from mlcore.autograd_context import SavedTensors
from mlcore.declare import Knob
from mlcore.distances import at_length_one
from mlcore.losses.proxy_loss import LabelBatch, ProxyBatch, ProxyLoss, ProxyOptions, check_per_class, nearest_products

DENSE_BELOW = 2  # classes per dimension, up to which the whole matrix costs less than rows of own proxies
AngularMargin = Annotated[float, Knob("Angle added to the true class.", 0.0, 1.5, unit="rad", symbol="m")]
CosineMargin = Annotated[float, Knob("Taken from the cosine to the true class.", 0.0, 1.0, unit="cosine", symbol="m")]
MarginWarmUp = Annotated[
    int, Knob("Training steps over which the margin grows from 0 to its full size.", 0, 1_000_000, rare=True)
]


class MarginSoftmaxLoss(ProxyLoss):
    """A softmax over the scaled cosines to class proxies, with a margin on the true class.

    Subclasses say what the margin makes of the true class's cosine (`target`), and where they need to, of the others
    (`negatives`). With hard labels the logits are one matrix product and only their target column is touched. Soft
    labels (B, C), as from mixup or cutmix, put on each class its share of the margin; where a margin cannot be scaled
    (`blends`), logits with it and without are mixed in those shares. Label smoothing is for the cross-entropy alone:
    margins stay on the true class.
    """

    margin_in_radians = False  # margins per class go up to 1.5 rad, else to 1
    needs_every_cosine = False  # `negatives` or `cosines` are its own, which the fused step goes without
    blends = False  # the margin cannot be scaled by a share
    class_margins: Tensor | None

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float,
        scale: float | None,
        trainable_scale: bool = False,
        margin_warm_up_steps: int = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, scale, trainable_scale, **rest)
        self.margin = margin
        self.margin_warm_up_steps = margin_warm_up_steps
        limit, unit = (1.5, "rad") if self.margin_in_radians else (1.0, "")
        self.register_buffer("class_margins", check_per_class(self, "class_margins", class_margins, limit, unit))
        if margin_warm_up_steps > 0:
            self.count_steps()

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        """The true class's cosine after the margin, shape of `cosine`: (B, 1), or (B, S) with soft labels.

        `margin` is a tensor that broadcasts to that shape, 0 where a class has no share.
        """
        raise NotImplementedError

    def negatives(self, cosines: Tensor, target: Tensor, batch: ProxyBatch) -> Tensor:
        """(B, S) cosines of the other classes as the softmax shall see them, given the target's (B, 1) after margin."""
        return cosines

    def cosines(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, D) and (S, D) or (S, K, D) of length 1 to (B, S)."""
        return nearest_products(rows, columns)

    def scales(self, embeddings: Tensor, proxies: Tensor) -> tuple[float | Tensor, Tensor | None]:
        """What the cosines are multiplied by: a number or (B, 1) for the rows, (S,) or None for the columns."""
        return self.scale, None

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        cosines = self.cosines(at_length_one(embeddings), at_length_one(proxies))
        return scale_cosines(cosines, *self.scales(embeddings, proxies))

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        few = len(proxies) <= DENSE_BELOW * proxies.shape[-1]
        if not (few or self.needs_every_cosine or batch.labels is None):
            return self.fused_losses(batch, proxies)
        cosines = self.cosines(at_length_one(batch.embeddings), at_length_one(proxies))
        logits = scale_cosines(self.with_margin(cosines, batch), *self.scales(batch.embeddings, proxies))
        return self.cross_entropy(logits, batch)

    def fused_losses(self, batch: LabelBatch, proxies: Tensor) -> Tensor:
        """As the whole matrix gives them, without a second one: for class numbers among many classes."""
        rows, columns, at = at_length_one(batch.embeddings), at_length_one(proxies), batch.labels
        row_scale, column_scale = self.scales(batch.embeddings, proxies)
        lengthened = columns
        if column_scale is not None:
            lengthened = columns * column_scale.view(-1, *[1] * (columns.ndim - 1))
        logits = nearest_products(row_scale * rows, lengthened)
        target = row_scale * self.target(own_products(rows, columns, at), self.margins(batch), batch)
        if column_scale is not None:
            target = target * column_scale[at][:, None]
        if self.label_smoothing > 0:
            return self.cross_entropy(logits.scatter(1, at[:, None], target), batch)
        return self.weigh(cross_entropy_with_target(logits, target, at), batch)

    def with_margin(self, cosines: Tensor, batch: ProxyBatch) -> Tensor:
        """(B, S) cosines as the softmax shall see them."""
        margin = self.margins(batch)
        if batch.labels is not None:
            at = batch.labels[:, None]
            target = self.target(cosines.gather(1, at), margin, batch)
            return self.negatives(cosines, target, batch).scatter(1, at, target)
        target = self.target(cosines, margin, batch)
        if not self.blends:
            return target
        plain = self.negatives(cosines, (batch.shares * target).sum(dim=1, keepdim=True), batch)
        return batch.shares * target + (1.0 - batch.shares) * plain

    def margins(self, batch: ProxyBatch) -> Tensor:
        """The margin of each target: a scalar, (B, 1), or (B, S) with soft labels, each class by its share."""
        margin = column_margins(self, batch)
        if margin.ndim and batch.labels is not None:
            margin = margin[batch.labels][:, None]
        return margin if batch.shares is None or self.blends else margin * batch.shares


class CrossEntropyWithTarget(torch.autograd.Function):
    """Cross-entropy of logits that hold `target` at the labels already; their gradient there goes to `target`."""

    @staticmethod
    def forward(ctx: SavedTensors, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        log_shares = logits.log_softmax(dim=1)
        ctx.save_for_backward(log_shares, labels)
        return -log_shares.gather(1, labels[:, None]).squeeze(1)

    @staticmethod
    def backward(ctx: SavedTensors, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The fused softmax over margins has no second derivative. Set needs_every_cosine = True on the loss: "
                "it then has one and needs more memory."
            )
        log_shares, labels = ctx.saved_tensors
        at, upstream = labels[:, None], upstream[:, None]
        slopes = log_shares.exp().mul_(upstream)
        of_target = slopes.gather(1, at) - upstream
        return slopes.scatter_(1, at, 0.0), of_target, None


def cross_entropy_with_target(logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """(B,) cross-entropy of logits (B, S) with `target` (B, 1) in the label's column.

    Overwrites that column, so that no second matrix is made: `logits` must be a result that no one else looks at.
    """
    with torch.no_grad():
        logits.detach().scatter_(1, labels[:, None], target.to(logits.dtype))
    return CrossEntropyWithTarget.apply(logits, target, labels)


class GrowingMargin(Protocol):
    """A loss whose margin is a number, or one for each class, and may grow with the training steps."""

    margin: float
    class_margins: Tensor | None
    margin_warm_up_steps: int
    steps: Tensor | None


def column_margins(loss: GrowingMargin, batch: ProxyBatch) -> Tensor:
    """The margin of each column (S,), or one for all, as far as it has grown by now."""
    if loss.class_margins is None:
        margin = batch.embeddings.new_tensor(loss.margin)
    else:
        margin = batch.own_columns(loss.class_margins)
    if loss.steps is not None and loss.margin_warm_up_steps > 0:
        margin = margin * (loss.steps / loss.margin_warm_up_steps).clamp(max=1.0).to(margin)
    return margin


def scale_cosines(cosines: Tensor, row_scale: float | Tensor, column_scale: Tensor | None) -> Tensor:
    logits = row_scale * cosines
    return logits if column_scale is None else logits * column_scale


def own_products(rows: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
    """(B, 1) product of each row with the column of its label, the largest of K counting."""
    own = columns.index_select(0, labels)  # (B, D) or (B, K, D)
    if own.ndim == 2:
        return (rows * own).sum(dim=1, keepdim=True)
    return (rows[:, None] * own).sum(dim=2).max(dim=1, keepdim=True).values


def sine_from_cosine(cosine: Tensor) -> Tensor:
    """The sine of angles in [0, pi], with a bounded slope: 0 where its square is below rounding."""
    square = 1.0 - cosine.square()
    least = torch.finfo(cosine.dtype).eps
    return torch.where(square > least, square.clamp_min(least).sqrt(), 0.0)


def add_angle(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(angle + margin), written without acos, whose slope is infinite at 0 and pi.

    Where angle and margin pass a half turn, cos(angle) - margin sin(margin): still falling, with a step at the seam.
    """
    shifted = cosine * margin.cos() - sine_from_cosine(cosine) * margin.sin()
    beyond = cosine - margin * margin.sin()
    return torch.where(cosine >= -margin.cos(), shifted, beyond)


def margins_by_count(counts: Tensor, *, low: float = 0.05, height: float = 0.5, power: float = 0.25) -> Tensor:
    """A margin per class that is larger for rare classes: height * count ** -power + low (arXiv:2010.05350).

    For `class_margins`, in the loss's own unit. Raises: ValueError for a class without samples.
    """
    if bool((counts <= 0).any()):
        raise ValueError(f"margins_by_count: every class needs a sample; got {int((counts <= 0).sum())} without.")
    return height * counts.float() ** -power + low
