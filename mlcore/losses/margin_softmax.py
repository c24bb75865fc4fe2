"""What all softmax losses over class proxies share; each of them says only how its margin changes a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, at_length_one
from mlcore.losses.inputs import check_proxy_batch, match_proxies, outside_autocast, require_cosine
from mlcore.reducers import LossTerm, MeanReducer, Reducer, row_items

FEW = 2  # classes per dimension, up to which the whole matrix costs less than rows of own proxies
AUTO = "from the number of classes"
AngularMargin = Annotated[float, Knob("Angle added to the true class.", 0.0, 1.5, unit="rad", symbol="m")]
CosineMargin = Annotated[float, Knob("Taken from the cosine to the true class.", 0.0, 1.0, unit="cosine", symbol="m")]
Scale = Annotated[
    float | None,
    Knob("Sharpness of the softmax: one over its temperature.", 1.0, 256.0, symbol="s", log=True, none=AUTO),
]
TrainableScale = Annotated[bool, Knob("Learn the scale with the proxies, from where it is set.", rare=True)]
MarginWarmUp = Annotated[
    int, Knob("Training steps over which the margin grows from 0 to its full size.", 0, 1_000_000, rare=True)
]
SubCenters = Annotated[
    int, Knob("Proxies per class; the nearest counts. More than 1 lets a class have several looks.", 1, 32, rare=True)
]
LabelSmoothing = Annotated[float, Knob("Share of each label that is spread over all classes.", 0.0, 0.5, rare=True)]
FocalGamma = Annotated[
    float, Knob("Takes weight from samples that are already sure: 0 takes none.", 0.0, 5.0, rare=True)
]
SampleRate = Annotated[
    float,
    Knob(
        "Share of the negative classes seen in a training step, drawn anew each time. For very many classes.",
        1e-4,
        1.0,
        rare=True,
    ),
]


class Batch(NamedTuple):
    """A checked batch as a margin sees it. Classes are columns: all of them, or those sampled for this step.

    embeddings (B, D) not normalised; labels (B,) columns, or None where shares (B, S) tell each column's part of the
    target; classes (S,) the class of each column, or None when all are there.
    """

    embeddings: Tensor
    labels: Tensor | None
    shares: Tensor | None
    classes: Tensor | None


class MarginSoftmaxLoss(nn.Module):
    """A softmax over the scaled cosines to class proxies, with a margin on the true class.

    Subclasses override `target`, and where they need more: `others`, `factor`, `observe`, `more_losses`, `parts`. With
    hard labels the logits are one matrix product and only their target column is touched. Soft labels (B, C), as from
    mixup or cutmix, put on each class its share of the margin; where a margin cannot be scaled (`blends`), logits with
    it and without are mixed in those shares. Label smoothing is for the cross-entropy alone: margins stay on the true
    class.

    A sample's loss is multiplied by its class's weight; the reducer's mean is over samples, not over weights. Under
    `sample_rate` a training step sees the classes in the batch and a random share of the others; in `eval()` all are
    seen. Draws depend on `seed` and on the number of training steps, which is saved with the loss.
    """

    fitting_distances = ("cosine",)
    margin_limit = 1.5
    margin_in_radians = False
    has_margin = True  # otherwise the target's cosine stays as it is
    needs_every_cosine = False  # `others` or `observe` look at the whole matrix
    blends = False  # the margin cannot be scaled by a share
    takes_shares = True  # soft labels, as mixup and cutmix make them: the trait "class shares"
    counts_steps = False  # needs the number of training steps in any case

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float,
        scale: float | None,
        trainable_scale: bool = False,
        margin_warm_up_steps: int = 0,
        class_margins: Tensor | None = None,
        *,
        sub_centers: SubCenters = 1,
        label_smoothing: LabelSmoothing = 0.0,
        focal_gamma: FocalGamma = 0.0,
        sample_rate: SampleRate = 1.0,
        class_weights: Tensor | None = None,
        seed: int = 0,
        weight_init_func: Callable[[Tensor], Any] | None = None,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        require_sizes(self, num_classes, embedding_size)
        self.num_classes = num_classes
        self.margin = margin
        self.margin_warm_up_steps = margin_warm_up_steps
        self.sub_centers = sub_centers
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.sample_rate = sample_rate
        self.seed = seed
        self.distance = self.accepted_distance(distance)
        self.reducer = reducer or MeanReducer()
        start = auto_scale(num_classes) if scale is None else scale
        self.scale = nn.Parameter(torch.tensor(float(start))) if trainable_scale else start
        shape = (num_classes, embedding_size) if sub_centers == 1 else (num_classes, sub_centers, embedding_size)
        self.proxies = nn.Parameter(torch.empty(shape))
        (weight_init_func or self.start_proxies)(self.proxies)
        self.register_buffer("class_margins", per_class(self, "class_margins", class_margins, self.margin_limit))
        self.register_buffer("class_weights", per_class(self, "class_weights", class_weights, None))
        counts = margin_warm_up_steps > 0 or sample_rate < 1 or self.counts_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.long) if counts else None)

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the mean loss over the batch, a scalar."""
        embeddings, labels, proxies, weights = check_proxy_batch(
            self, embeddings, labels, indices_tuple, ref_emb, soft=True
        )
        batch = self.batch_of(embeddings, labels)
        if batch.classes is not None:
            proxies = proxies.index_select(0, batch.classes)
        parts = self.parts(batch, proxies, weights)
        if self.training and self.steps is not None:
            self.steps.add_(1)
        return self.reducer(parts, embeddings)

    @outside_autocast
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): the scaled cosines without margin, for telling the class of a new embedding."""
        embeddings, proxies = match_proxies(self, embeddings)
        cosines = self.cosines(self.rows(embeddings), self.columns(proxies))
        return self.factor(embeddings) * cosines * self.proxy_factor(proxies)

    def parts(self, batch: Batch, proxies: Tensor, weights: Tensor | None) -> dict[str, LossTerm]:
        """The loss of each sample, times its weight (B,), by the name of the part."""
        labels = batch.labels if batch.labels is None or batch.classes is None else batch.classes[batch.labels]
        losses = {"loss": self.losses(batch, proxies)} | self.more_losses(batch)
        return {name: row_items(each if weights is None else each * weights, labels) for name, each in losses.items()}

    def target(self, cosine: Tensor, margin: Tensor, batch: Batch) -> Tensor:
        """The true class's cosine after the margin, shape of `cosine`: (B, 1), or (B, S) with soft labels.

        `margin` is a tensor that broadcasts to that shape, 0 where a class has no share.
        """
        return cosine

    def others(self, cosines: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """(B, S) cosines of the other classes as the softmax shall see them, given the target's (B, 1) after margin."""
        return cosines

    def factor(self, embeddings: Tensor) -> float | Tensor:
        """What the cosines of each row are multiplied by: a number, or (B, 1)."""
        return self.scale

    def proxy_factor(self, proxies: Tensor) -> float | Tensor:
        """What the cosines of each column are multiplied by: a number, or (S,)."""
        return 1.0

    def observe(self, batch: Batch, cosines: Tensor | None) -> None:
        """Update tracked state from a training batch, before its loss; `cosines` if the class needs every one."""

    def more_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Parts beside the softmax, each (B,)."""
        return {}

    def accepted_distance(self, distance: Distance | None) -> Distance:
        return require_cosine(self, distance)

    def start_proxies(self, proxies: Tensor) -> None:
        nn.init.normal_(proxies)

    def rows(self, embeddings: Tensor) -> Tensor:
        return at_length_one(embeddings)

    def columns(self, proxies: Tensor) -> Tensor:
        return at_length_one(proxies)

    def cosines(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, D) and (S, D) or (S, K, D) to (B, S), the nearest of K counting."""
        products = rows @ columns.flatten(0, -2).T
        return products if columns.ndim == 2 else products.unflatten(1, columns.shape[:2]).max(dim=2).values

    def own_cosines(self, rows: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
        """(B, 1) cosine of each row to the column of its label."""
        own = columns.index_select(0, labels)  # (B, D) or (B, K, D)
        if own.ndim == 2:
            return (rows * own).sum(dim=1, keepdim=True)
        return (rows[:, None] * own).sum(dim=2).max(dim=1, keepdim=True).values

    def losses(self, batch: Batch, proxies: Tensor) -> Tensor:
        """(B,) losses over the columns given by `proxies` (S, D) or (S, K, D)."""
        rows, columns = self.rows(batch.embeddings), self.columns(proxies)
        few = len(proxies) <= FEW * proxies.shape[-1]
        dense = self.needs_every_cosine or batch.labels is None or (self.has_margin and few)
        cosines = self.cosines(rows, columns) if dense else None
        if self.training:
            with torch.no_grad():
                self.observe(batch, cosines)
        factor, proxy_factor = self.factor(batch.embeddings), self.proxy_factor(proxies)
        if dense:
            logits = factor * self.with_margin(cosines, batch)
            return self.cross_entropy(logits if isinstance(proxy_factor, float) else logits * proxy_factor, None, batch)
        scaled = (
            columns if isinstance(proxy_factor, float) else columns * proxy_factor.view(-1, *[1] * (columns.ndim - 1))
        )
        logits = self.cosines(factor * rows, scaled)
        if not self.has_margin:
            return self.cross_entropy(logits, None, batch)
        own = self.own_cosines(rows, columns, batch.labels)
        target = factor * self.target(own, self.margins(batch), batch)
        if not isinstance(proxy_factor, float):
            target = target * proxy_factor[batch.labels][:, None]
        return self.cross_entropy(logits, target, batch)

    def with_margin(self, cosines: Tensor, batch: Batch) -> Tensor:
        """(B, S) cosines as the softmax shall see them."""
        if not self.has_margin:
            return cosines
        margin = self.margins(batch)
        if batch.labels is not None:
            at = batch.labels[:, None]
            target = self.target(cosines.gather(1, at), margin, batch)
            return self.others(cosines, target, batch).scatter(1, at, target)
        target = self.target(cosines, margin, batch)
        if not self.blends:
            return target
        plain = self.others(cosines, (batch.shares * target).sum(dim=1, keepdim=True), batch)
        return batch.shares * target + (1.0 - batch.shares) * plain

    def cross_entropy(self, logits: Tensor, target: Tensor | None, batch: Batch) -> Tensor:
        """(B,) cross-entropy; `target` (B, 1), where given, takes the place of the label's logit."""
        weights = self.class_weights
        if weights is not None:
            weights = weights.to(logits) if batch.classes is None else weights.to(logits)[batch.classes]
        if batch.labels is None or self.label_smoothing > 0:
            if target is not None:
                logits = logits.scatter(1, batch.labels[:, None], target)
            return self.soft_cross_entropy(logits, weights, batch)
        if target is None:
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
        else:
            losses = cross_entropy_with_target(logits, target, batch.labels)
        if self.focal_gamma > 0:
            losses = focal_weight(losses, self.focal_gamma) * losses
        return losses if weights is None else losses * weights[batch.labels]

    def soft_cross_entropy(self, logits: Tensor, weights: Tensor | None, batch: Batch) -> Tensor:
        shares = batch.shares
        if shares is None:
            shares = torch.zeros_like(logits).scatter_(1, batch.labels[:, None], 1.0)
        shares = (1.0 - self.label_smoothing) * shares + self.label_smoothing / logits.shape[1]
        terms = -logits.log_softmax(dim=1)
        if self.focal_gamma > 0:
            terms = focal_weight(terms, self.focal_gamma) * terms
        return (terms * (shares if weights is None else shares * weights)).sum(dim=1)

    def margins(self, batch: Batch) -> Tensor:
        """The margin of each target: a scalar, (B, 1), or (B, S) with soft labels, each class by its share."""
        if self.class_margins is None:
            margin = batch.embeddings.new_tensor(self.margin)
        else:
            margin = self.class_margins.to(batch.embeddings)
            margin = margin if batch.classes is None else margin[batch.classes]
            margin = margin if batch.labels is None else margin[batch.labels][:, None]
        if self.margin_warm_up_steps > 0:
            margin = margin * (self.steps / self.margin_warm_up_steps).clamp(max=1.0).to(margin)
        return margin if batch.shares is None or self.blends else margin * batch.shares

    def batch_of(self, embeddings: Tensor, labels: Tensor) -> Batch:
        """The batch with its columns: under `sample_rate` the classes in it and a random share of the others."""
        soft = labels.ndim == 2
        if self.sample_rate >= 1 or not self.training:
            return Batch(embeddings, None if soft else labels, labels if soft else None, None)
        present = (labels > 0).any(dim=0).nonzero().squeeze(1) if soft else labels.unique()
        share = math.ceil(self.sample_rate * (self.num_classes - len(present)))
        order = torch.rand(self.num_classes, generator=self.source()).to(embeddings.device)
        order[present] = 2.0
        classes = order.topk(len(present) + share, sorted=False).indices.sort().values
        if soft:
            return Batch(embeddings, None, labels[:, classes], classes)
        return Batch(embeddings, torch.searchsorted(classes, labels), None, classes)

    def source(self) -> torch.Generator:
        """The random source of this step: it depends on the seed and on the count of training steps alone."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.steps))


class CrossEntropyWithTarget(torch.autograd.Function):
    """Cross-entropy of logits that hold `target` at the labels already; their gradient there goes to `target`."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        log_shares = logits.log_softmax(dim=1)
        ctx.save_for_backward(log_shares, labels)
        return -log_shares.gather(1, labels[:, None]).squeeze(1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
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


def focal_weight(losses: Tensor, gamma: float) -> Tensor:
    """(1 - p) to the power gamma, for losses -log p."""
    return (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).eps) ** gamma


def sine_of(cosine: Tensor) -> Tensor:
    """The sine of angles in [0, pi], with a bounded slope: 0 where its square is below rounding."""
    square = 1.0 - cosine.square()
    least = torch.finfo(cosine.dtype).eps
    return torch.where(square > least, square.clamp_min(least).sqrt(), 0.0)


def start_at_length_one(proxies: Tensor) -> None:
    """Random directions. Where lengths count, normal numbers would start with logits of the size of D."""
    with torch.no_grad():
        proxies.copy_(F.normalize(torch.randn_like(proxies), dim=-1))


def add_angle(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(angle + margin), written without acos, whose slope is infinite at 0 and pi.

    Where angle and margin pass a half turn, cos(angle) - margin sin(margin): still falling, with a step at the seam.
    """
    shifted = cosine * margin.cos() - sine_of(cosine) * margin.sin()
    beyond = cosine - margin * margin.sin()
    return torch.where(cosine >= -margin.cos(), shifted, beyond)


def auto_scale(num_classes: int) -> float:
    """sqrt(2) ln(C - 1) (AdaCos, arXiv:1905.00292), as for five classes where there are fewer.

    The paper's value is 0 for two classes, where no logit would depend on anything.
    """
    return math.sqrt(2.0) * math.log(max(num_classes - 1, 4))


def margins_by_count(counts: Tensor, *, low: float = 0.05, height: float = 0.5, power: float = 0.25) -> Tensor:
    """A margin per class that is larger for rare classes: height * count ** -power + low (arXiv:2010.05350).

    For `class_margins`, in the loss's own unit. Raises: ValueError for a class without samples.
    """
    if bool((counts <= 0).any()):
        raise ValueError(f"margins_by_count: every class needs a sample; got {int((counts <= 0).sum())} without.")
    return height * counts.float() ** -power + low


def require_sizes(owner: nn.Module, num_classes: int, embedding_size: int) -> None:
    if num_classes < 1 or embedding_size < 1:
        raise ValueError(
            f"{type(owner).__name__}: num_classes and embedding_size must be at least 1; "
            f"got {num_classes} and {embedding_size}. Count the classes of the training data."
        )


def per_class(owner: MarginSoftmaxLoss, name: str, values: Tensor | None, limit: float | None) -> Tensor | None:
    """One finite number per class, none below 0. Raises: ValueError for others."""
    if values is None:
        return None
    who, values = type(owner).__name__, torch.as_tensor(values, dtype=torch.get_default_dtype())
    if values.shape != (owner.num_classes,):
        raise ValueError(
            f"{who}: {name} must have one number per class, shape ({owner.num_classes},); got {tuple(values.shape)}. "
            "Put them in the order of the class numbers."
        )
    high = math.inf if limit is None else limit
    wrong = ~torch.isfinite(values) | (values < 0) | (values > high)
    if bool(wrong.any()):
        bad = values[wrong][0].item()
        degrees = (
            f" If that is degrees, pass {math.radians(bad):.3f}." if owner.margin_in_radians and bad > high else ""
        )
        unit = " rad" if owner.margin_in_radians and limit is not None else ""
        bounds = "at least 0" if limit is None else f"between 0 and {limit:g}{unit}"
        raise ValueError(f"{who}: {name} must be {bounds}; got {bad:g}.{degrees}")
    return values.clone()
