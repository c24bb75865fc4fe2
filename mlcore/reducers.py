"""How one number is made of many: what a loss does with its value per item.

A loss hands its reducer named terms and the embeddings. A term is a tensor of losses, `Items` when the loss also says
whose they are, or `Sums` when it never holds its items one by one. Terms are reduced one by one and added. A term
without items gives a zero that is still attached to the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from mlcore.declare import Knob, Registry, nearest_word
from mlcore.traits import ReducerTrait

REDUCERS = Registry("reducer", traits=ReducerTrait)


class Sums(NamedTuple):
    """A term known by the sum of its losses, how many there are, and how many are above zero (scalars).

    `divisor` is what the loss's own formula divides by, if that is not one of them.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides the method of tuples, which nobody asks of a term
    above_zero: Tensor
    divisor: Tensor | None = None


class Items(NamedTuple):
    """A term's losses (n,) with each one's anchor, a position in the batch (n,), and the labels of the batch (B,).

    Where the anchors are others than the batch (its reference, proxies), positions and labels are those of the others.
    `labels` is None where the loss was given none; `divisor` as in `Sums`.
    """

    losses: Tensor
    anchors: Tensor
    labels: Tensor | None = None
    divisor: Tensor | None = None


LossTerm = Tensor | Items | Sums
Reduced = Tensor | dict[str, Tensor | Sums]  # one number, or, where nothing is reduced, what each term is made of


def row_items(losses: Tensor, labels: Tensor | None) -> Items:
    """One loss for each row of the batch."""
    return Items(losses, torch.arange(len(losses), device=losses.device), labels)


def sum_items(term: LossTerm) -> Sums:
    if isinstance(term, Sums):
        return term
    losses, divisor = (term.losses, term.divisor) if isinstance(term, Items) else (term, None)
    return Sums(losses.sum(), torch.tensor(losses.numel(), device=losses.device), (losses > 0).count_nonzero(), divisor)


def flat_losses(term: LossTerm) -> Tensor:
    """Every loss of a term, flat. Raises: ValueError if the loss held none one by one."""
    if isinstance(term, Sums):
        raise ValueError("reducer: every item is needed, but the loss gave their sum only. Use the mean reducer.")
    return (term.losses if isinstance(term, Items) else term).flatten()


class Reducer(nn.Module):
    """What reducers share. `needs_items` asks the loss for every item, whatever it costs."""

    needs_items = False

    def forward(self, terms: dict[str, LossTerm], embeddings: Tensor) -> Reduced:
        value = sum(self.reduce_term(term, embeddings) for term in terms.values())
        if isinstance(value, Tensor) and value.requires_grad:
            return value
        return value + (embeddings * 0.0).sum()

    def reduce_term(self, term: LossTerm, embeddings: Tensor) -> Tensor:
        return self.reduce(sum_items(term))

    def reduce(self, sums: Sums) -> Tensor:
        raise NotImplementedError


@REDUCERS.add(
    "mean", title="Mean", family="reducer", formula=r"\frac{1}{N}\sum_i \ell_i", traits=(ReducerTrait.IN_A_RUN,)
)
class MeanReducer(Reducer):
    """Averages over all items, so the step shrinks as more of them are solved."""

    def __init__(self) -> None:
        super().__init__()

    def reduce_term(self, term: LossTerm, embeddings: Tensor) -> Tensor:
        if isinstance(term, Sums):
            return term.total / term.count.clamp_min(1)
        losses = flat_losses(term)
        return losses.sum() / max(1, losses.numel())


@REDUCERS.add("sum", title="Sum", family="reducer", formula=r"\sum_i \ell_i", traits=(ReducerTrait.IN_A_RUN,))
class SumReducer(Reducer):
    """Adds all items, so the step grows with the batch."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        return sums.total


@REDUCERS.add(
    "avg_non_zero",
    title="Mean of the non-zero",
    family="reducer",
    formula=r"\frac{\sum_i \ell_i}{|\{i:\ell_i>0\}|}",
    traits=(ReducerTrait.IN_A_RUN,),
)
class AvgNonZeroReducer(Reducer):
    """Averages over the items that still lose something, so the step stays large while few are left."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        return sums.total / sums.above_zero.clamp_min(1)


@REDUCERS.add("none", title="No reduction", family="reducer", formula=r"\ell_i")
class DoNothingReducer(Reducer):
    """Returns the terms as they are: a dict from the term's name to its losses, one per item."""

    needs_items = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, terms: dict[str, LossTerm], embeddings: Tensor) -> dict[str, Tensor | Sums]:
        return {name: term.losses if isinstance(term, Items) else term for name, term in terms.items()}


@REDUCERS.add(
    "threshold",
    title="Mean within limits",
    family="reducer",
    formula=r"\operatorname{mean}\{\ell_i: l<\ell_i<h\}",
    aliases=("ThresholdReducer (pytorch-metric-learning)",),
    traits=(ReducerTrait.IN_A_RUN,),
    one_of=("low", "high"),
)
class ThresholdReducer(Reducer):
    """Averages over the items whose loss lies strictly between two limits; the others take no part.

    A lower limit leaves out what is nearly solved, an upper one what is suspiciously bad (wrong labels).

    Raises: ValueError if neither limit is given, or they leave nothing between them.
    """

    needs_items = True

    def __init__(
        self,
        low: Annotated[float | None, Knob("Only losses above this count.", none="no lower limit", symbol="l")] = None,
        high: Annotated[float | None, Knob("Only losses below this count.", none="no upper limit", symbol="h")] = None,
    ) -> None:
        super().__init__()
        if low is None and high is None:
            raise ValueError("threshold: low, high or both must be given; got neither. Pass low=0, or use the mean.")
        if low is not None and high is not None and low >= high:
            raise ValueError(f"threshold: low must be below high; got {low:g} and {high:g}.")
        self.low = low
        self.high = high

    def reduce_term(self, term: LossTerm, embeddings: Tensor) -> Tensor:
        losses = flat_losses(term)
        counts = torch.ones_like(losses, dtype=torch.bool)
        if self.low is not None:
            counts &= losses > self.low
        if self.high is not None:
            counts &= losses < self.high
        return losses.masked_fill(~counts, 0.0).sum() / counts.sum().clamp_min(1)


@REDUCERS.add(
    "divisor",
    title="Sum over the loss's own divisor",
    family="reducer",
    formula=r"\frac{1}{Z}\sum_i \ell_i",
    aliases=("DivisorReducer (pytorch-metric-learning)",),
    traits=(ReducerTrait.IN_A_RUN,),
)
class DivisorReducer(Reducer):
    """Adds all items and divides by what the loss's formula names, such as its number of anchors; 0 where that is 0.

    Where a loss names none, that is the number of items: then this is the mean (pytorch-metric-learning fails there).
    """

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        divisor = sums.count if sums.divisor is None else torch.as_tensor(sums.divisor, device=sums.total.device)
        return torch.where(divisor == 0, 0.0 * sums.total, sums.total / torch.where(divisor == 0, 1, divisor))


@REDUCERS.add(
    "class_weighted",
    title="Mean with a weight for each class",
    family="reducer",
    formula=r"\frac{1}{N}\sum_i w_{y_i}\ell_i",
    aliases=("ClassWeightedReducer (pytorch-metric-learning)",),
    traits=(ReducerTrait.IN_A_RUN, ReducerTrait.WANTS_ANCHORS),
)
class ClassWeightedReducer(Reducer):
    """Multiplies each item by the weight of its anchor's class and averages over all items.

    The mean is over items, not over weights, so weights that are large on average raise the step.

    Shapes: weights (C,), one for each class number.
    Raises: ValueError for weights that are not one finite number per class, labels that have none, and a loss that
    does not say whose its items are.
    """

    needs_items = True

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        weights = torch.as_tensor(weights, dtype=torch.float32)
        if weights.ndim != 1 or len(weights) == 0 or not bool(torch.isfinite(weights).all()):
            raise ValueError(
                f"class_weighted: weights must be finite, one per class; got shape {tuple(weights.shape)}."
            )
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def reduce_term(self, term: LossTerm, embeddings: Tensor) -> Tensor:
        items = items_with_owners("class_weighted", term)
        if items.labels is None:
            raise ValueError("class_weighted: labels must be given to the loss; got None. Pass one per row.")
        outside = (items.labels < 0) | (items.labels >= len(self.weights))
        if bool(outside.any()):
            raise ValueError(
                f"class_weighted: labels must lie in [0, {len(self.weights)}), one weight per class; got "
                f"{int(items.labels[outside][0])}. Pass a weight for every class."
            )
        weights = self.weights.to(items.losses)[items.labels[items.anchors]]
        return (items.losses * weights).sum() / max(1, len(items.losses))


@REDUCERS.add(
    "per_anchor",
    title="Per anchor first",
    family="reducer",
    formula=r"\operatorname{red}_a\frac{1}{|I_a|}\sum_{i\in I_a}\ell_i",
    aliases=("PerAnchorReducer (pytorch-metric-learning)",),
    traits=(ReducerTrait.IN_A_RUN, ReducerTrait.WANTS_ANCHORS),
)
class PerAnchorReducer(Reducer):
    """Averages over each anchor's items first, so that an anchor with many pairs counts no more than one with few.

    What the anchors are left with goes to `reducer` (the mean), where an anchor without items counts as 0, as in
    pytorch-metric-learning. `aggregation_func(losses, counts)` takes the place of the average: it is given (B, K)
    losses, zeros behind each anchor's own, and (B,) how many are its own, and returns (B,). Triplets work too.

    Raises: ValueError for a loss that does not say whose its items are.
    """

    needs_items = True

    def __init__(
        self, reducer: Reducer | None = None, aggregation_func: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.reducer = reducer or MeanReducer()
        self.aggregation_func = aggregation_func or mean_of_rows

    def reduce_term(self, term: LossTerm, embeddings: Tensor) -> Tensor:
        items = items_with_owners("per_anchor", term)
        anchors = len(embeddings) if items.labels is None else len(items.labels)
        counts = torch.bincount(items.anchors, minlength=anchors)
        most = int(counts.max()) if len(counts) else 0
        order = items.anchors.argsort(stable=True)
        start = counts.cumsum(0) - counts
        slot = torch.empty_like(order)
        slot[order] = torch.arange(len(order), device=order.device) - start[items.anchors[order]]
        table = items.losses.new_zeros(len(counts), most).index_put((items.anchors, slot), items.losses)
        rows = torch.arange(len(counts), device=order.device)
        left = Items(self.aggregation_func(table, counts), rows, items.labels, items.divisor)
        return self.reducer({"loss": left}, embeddings)


def mean_of_rows(losses: Tensor, counts: Tensor) -> Tensor:
    return losses.sum(dim=1) / counts.clamp_min(1)


def items_with_owners(who: str, term: LossTerm) -> Items:
    if isinstance(term, Items):
        return term
    raise ValueError(
        f"{who}: needs to know the anchor of each item, which this loss does not tell. Use the mean reducer, or a loss "
        "that hands over Items (mlcore/reducers.py)."
    )


@REDUCERS.add(
    "multiple",
    title="A reducer for each term",
    family="reducer",
    formula=r"\sum_k \operatorname{red}_k(\ell^{(k)})",
    aliases=("MultipleReducers (pytorch-metric-learning)",),
)
class MultipleReducers(Reducer):
    """Gives each named term of a loss (pos_loss, neg_loss ...) to a reducer of its own and adds the results.

    Terms without one go to `default_reducer` (the mean). Every item is asked for as soon as one of them needs it.

    Raises: ValueError for a name that the loss does not have, and for a reducer that gives no single number.
    """

    def __init__(self, reducers: Mapping[str, Reducer], default_reducer: Reducer | None = None) -> None:
        super().__init__()
        self.reducers = nn.ModuleDict(reducers)
        self.default_reducer = default_reducer or MeanReducer()
        members = [*self.reducers.values(), self.default_reducer]
        if any(isinstance(member, DoNothingReducer) for member in members):
            raise ValueError("multiple: each reducer must give one number; DoNothingReducer does not. Use another.")
        self.needs_items = any(member.needs_items for member in members)

    def forward(self, terms: dict[str, LossTerm], embeddings: Tensor) -> Tensor:
        for name in self.reducers:
            if name not in terms:
                raise ValueError(f"multiple: the loss has no term '{name}'.{nearest_word(name, terms)}")
        values = [self.reducer_of(name)({name: term}, embeddings) for name, term in terms.items()]
        return sum(values, (embeddings * 0.0).sum())

    def reducer_of(self, name: str) -> Reducer:
        reducer = dict(self.reducers.items()).get(name, self.default_reducer)
        assert isinstance(reducer, Reducer)
        return reducer
