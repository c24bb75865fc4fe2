"""What all losses with class proxies share: the proxies, the classes drawn for a step, soft labels, weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypedDict, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, at_length_one
from mlcore.losses.inputs import check_proxy_batch, match_proxies, outside_autocast, require_cosine
from mlcore.reducers import Items, LossTerm, MeanReducer, Reduced, Reducer, row_items

AUTO = "from the number of classes"
Scale = Annotated[
    float | None,
    Knob("Sharpness of the softmax: one over its temperature.", 1.0, 256.0, symbol="s", log=True, none=AUTO),
]
TrainableScale = Annotated[bool, Knob("Learn the scale with the proxies, from where it is set.", rare=True)]
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


@dataclass(frozen=True)
class ClassColumns:
    """A checked batch as a proxy loss sees it. Classes are columns: all of them, or those drawn for this step.

    embeddings (B, D) not normalised; classes (S,) the class of each column, or None when all are there; weights (B,) a
    miner's, or None.
    """

    embeddings: Tensor
    classes: Tensor | None
    weights: Tensor | None

    def weighted(self, losses: Tensor) -> Tensor:
        """Losses (B,) times the rows' weights."""
        return losses if self.weights is None else losses * self.weights

    def own_columns(self, values: Tensor) -> Tensor:
        """Of a value per class (C,), those of the columns (S,), in the embeddings' dtype."""
        values = values.to(self.embeddings)
        return values if self.classes is None else values[self.classes]


@dataclass(frozen=True)
class LabelBatch(ClassColumns):
    """A batch in which each row is of one class: labels (B,) columns."""

    labels: Tensor
    shares: None = None

    def weighted_rows(self, losses: Tensor) -> Items:
        """A loss (B,) for each row, times the row's weight, with the class of each row."""
        return row_items(self.weighted(losses), self.labels if self.classes is None else self.classes[self.labels])

    def column_shares(self, like: Tensor) -> Tensor:
        """(B, S) each column's part of the target: 1 and 0."""
        return torch.zeros_like(like).scatter_(1, self.labels[:, None], 1.0)


@dataclass(frozen=True)
class ShareBatch(ClassColumns):
    """A batch with soft labels: shares (B, S) tell each column's part of the target."""

    shares: Tensor
    labels: None = None

    def weighted_rows(self, losses: Tensor) -> Items:
        """A loss (B,) for each row, times the row's weight."""
        return row_items(self.weighted(losses), None)

    def column_shares(self, like: Tensor) -> Tensor:
        """(B, S) each column's part of the target."""
        return self.shares


ProxyBatch = LabelBatch | ShareBatch


@runtime_checkable
class ScoresClasses(Protocol):
    """A loss that can tell the class of a new embedding: (B, D) to (B, C), large for likely classes."""

    def get_logits(self, embeddings: Tensor) -> Tensor: ...


class ProxyOptionsButSubCenters(TypedDict, total=False):
    """`ProxyOptions`, for losses that name their sub-centres themselves."""

    label_smoothing: float
    focal_gamma: float
    sample_rate: float
    class_weights: Tensor | None
    seed: int
    weight_init_func: Callable[[Tensor], object] | None
    distance: Distance | None
    reducer: Reducer | None


class ProxyOptions(ProxyOptionsButSubCenters, total=False):
    """What every `ProxyLoss` takes by name, and hands on as it is."""

    sub_centers: int


class ProxyLoss(nn.Module):
    """A softmax over the scaled cosines to class proxies.

    What differs is overridden: `logits` by a softmax over something else, `losses` by what is no softmax or follows
    the batches, `loss_terms` by a loss of several terms. Label smoothing is for the cross-entropy alone.

    A sample's loss is multiplied by its class's weight; the reducer's mean is over samples, not over weights. Under
    `sample_rate` a training step sees the classes in the batch and a random share of the others; in `eval()` all are
    seen. Draws depend on `seed` and on the number of training steps, which is saved with the loss.
    """

    fitting_distances: tuple[str, ...] = ("cosine",)
    takes_shares = True  # soft labels (B, C), as mixup and cutmix make them
    scale: Tensor | float
    class_weights: Tensor | None
    steps: Tensor | None

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        scale: float | None = 1.0,
        trainable_scale: bool = False,
        *,
        sub_centers: SubCenters = 1,
        label_smoothing: LabelSmoothing = 0.0,
        focal_gamma: FocalGamma = 0.0,
        sample_rate: SampleRate = 1.0,
        class_weights: Tensor | None = None,
        seed: int = 0,
        weight_init_func: Callable[[Tensor], object] | None = None,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        require_sizes(self, num_classes, embedding_size)
        self.num_classes = num_classes
        self.sub_centers = sub_centers
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.sample_rate = sample_rate
        self.seed = seed
        self.distance = self.accept_distance(distance)
        self.reducer = reducer or MeanReducer()
        start = auto_scale(num_classes) if scale is None else scale
        self.scale = nn.Parameter(torch.tensor(float(start))) if trainable_scale else start
        shape = (num_classes, embedding_size) if sub_centers == 1 else (num_classes, sub_centers, embedding_size)
        self.proxies = nn.Parameter(torch.empty(shape))
        (weight_init_func or self.init_proxies)(self.proxies)
        self.register_buffer("class_weights", check_per_class(self, "class_weights", class_weights))
        self.register_buffer("steps", None)
        if sample_rate < 1:
            self.count_steps()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean loss over the batch, a scalar."""
        embeddings, labels, proxies, weights = check_proxy_batch(
            self, embeddings, labels, indices_tuple, ref_emb, soft=True
        )
        batch = self.draw_classes(embeddings, labels, weights)
        if batch.classes is not None:
            proxies = proxies.index_select(0, batch.classes)
        terms = self.loss_terms(batch, proxies)
        if self.training and self.steps is not None:
            self.steps.add_(1)
        return self.reducer(terms, embeddings)

    @outside_autocast
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): what the softmax sees, without margin, for telling the class of a new embedding."""
        return self.logits(*match_proxies(self, embeddings))

    def loss_terms(self, batch: ProxyBatch, proxies: Tensor) -> dict[str, LossTerm]:
        """What the reducer is given, by name, over the columns given by `proxies` (S, D) or (S, K, D)."""
        return {"loss": batch.weighted_rows(self.losses(batch, proxies))}

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        """(B,) losses of the samples, over the columns given by `proxies`."""
        return self.cross_entropy(self.logits(batch.embeddings, proxies), batch)

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        """(B, D) and (S, D) or (S, K, D) to (B, S): what the softmax sees of each class."""
        return nearest_products(self.scale * at_length_one(embeddings), at_length_one(proxies))

    def accept_distance(self, distance: Distance | None) -> Distance:
        """The distance to use. Raises: ValueError for one that does not fit."""
        return require_cosine(self, distance)

    def init_proxies(self, proxies: Tensor) -> None:
        nn.init.normal_(proxies)

    def cross_entropy(self, logits: Tensor, batch: ProxyBatch) -> Tensor:
        """(B,) cross-entropy of (B, S) logits, with label smoothing, focal and class weights."""
        if batch.labels is not None and self.label_smoothing == 0:
            return self.weigh(F.cross_entropy(logits, batch.labels, reduction="none"), batch)
        shares = (1.0 - self.label_smoothing) * batch.column_shares(logits) + self.label_smoothing / logits.shape[1]
        terms = -logits.log_softmax(dim=1)
        if self.focal_gamma > 0:
            terms = focal_weight(terms, self.focal_gamma) * terms
        if self.class_weights is not None:
            shares = shares * batch.own_columns(self.class_weights)
        return (terms * shares).sum(dim=1)

    def weigh(self, losses: Tensor, batch: LabelBatch) -> Tensor:
        """Losses -log p (B,) of class numbers, times their focal weight and that of their class."""
        if self.focal_gamma > 0:
            losses = focal_weight(losses, self.focal_gamma) * losses
        return losses if self.class_weights is None else losses * batch.own_columns(self.class_weights)[batch.labels]

    def draw_classes(self, embeddings: Tensor, labels: Tensor, weights: Tensor | None = None) -> ProxyBatch:
        """The batch with its columns: under `sample_rate` the classes in it and a random share of the others."""
        soft = labels.ndim == 2
        if self.sample_rate >= 1 or not self.training:
            return (ShareBatch if soft else LabelBatch)(embeddings, None, weights, labels)
        present = (labels > 0).any(dim=0).nonzero().squeeze(1) if soft else labels.unique()
        share = math.ceil(self.sample_rate * (self.num_classes - len(present)))
        order = torch.rand(self.num_classes, generator=self.step_generator()).to(embeddings.device)
        order[present] = 2.0
        classes = order.topk(len(present) + share, sorted=False).indices.sort().values
        if soft:
            return ShareBatch(embeddings, classes, weights, labels[:, classes])
        return LabelBatch(embeddings, classes, weights, torch.searchsorted(classes, labels))

    def count_steps(self) -> None:
        """Count the training steps from now on, in the state."""
        self.steps = torch.zeros((), dtype=torch.long)

    def step_generator(self) -> torch.Generator:
        """The random source of this step: it depends on the seed and on the count of training steps alone."""
        assert self.steps is not None
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.steps))


def nearest_products(rows: Tensor, columns: Tensor) -> Tensor:
    """(B, D) and (S, D) or (S, K, D) to (B, S) dot products, the largest of K counting."""
    return nearest_of_class(rows @ columns.flatten(0, -2).T, columns)


def nearest_of_class(values: Tensor, columns: Tensor) -> Tensor:
    """(B, S) or (B, S K) values of the proxies `columns`, (S, D) or (S, K, D), to (B, S): the largest of K."""
    return values if columns.ndim == 2 else values.unflatten(1, columns.shape[:2]).max(dim=2).values


def focal_weight(losses: Tensor, gamma: float) -> Tensor:
    """(1 - p) to the power gamma, for losses -log p."""
    return (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).eps) ** gamma


def init_at_length_one(proxies: Tensor) -> None:
    """Random directions. Where lengths count, normal numbers would start with logits of the size of D."""
    with torch.no_grad():
        proxies.copy_(F.normalize(torch.randn_like(proxies), dim=-1))


def auto_scale(num_classes: int) -> float:
    """sqrt(2) ln(C - 1) (AdaCos, arXiv:1905.00292), as for five classes where there are fewer.

    The paper's value is 0 for two classes, where no logit would depend on anything.
    """
    return math.sqrt(2.0) * math.log(max(num_classes - 1, 4))


def require_sizes(owner: nn.Module, num_classes: int, embedding_size: int) -> None:
    if num_classes < 1 or embedding_size < 1:
        raise ValueError(
            f"{type(owner).__name__}: num_classes and embedding_size must be at least 1; "
            f"got {num_classes} and {embedding_size}. Count the classes of the training data."
        )


def check_per_class(
    owner: ProxyLoss, name: str, values: Tensor | None, limit: float = math.inf, unit: str = ""
) -> Tensor | None:
    """One finite number per class, from 0 to `limit`. Raises: ValueError for others."""
    if values is None:
        return None
    who, values = type(owner).__name__, torch.as_tensor(values, dtype=torch.get_default_dtype())
    if values.shape != (owner.num_classes,):
        raise ValueError(
            f"{who}: {name} must have one number per class, shape ({owner.num_classes},); got {tuple(values.shape)}. "
            "Put them in the order of the class numbers."
        )
    wrong = ~torch.isfinite(values) | (values < 0) | (values > limit)
    if bool(wrong.any()):
        bad = values[wrong][0].item()
        degrees = f" If that is degrees, pass {math.radians(bad):.3f}." if unit == "rad" and bad > limit else ""
        bounds = "at least 0" if limit == math.inf else f"between 0 and {limit:g} {unit}".rstrip()
        raise ValueError(f"{who}: {name} must be {bounds}; got {bad:g}.{degrees}")
    return values.clone()
