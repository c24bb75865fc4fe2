"""What training methods share: features of a batch in, one loss out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.evaluation.side import SideTexts
from mlcore.tuples import Miner, Pairs, Triplets, as_tuples

MakeLoss = Callable[[int], nn.Module]
EmbedTexts = Callable[[], Mapping[str, SideTexts]]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method makes of a batch.

    `loss` is a scalar; one backward pass gives every part its gradient. `tuples` is how many the miner gave, None where
    none was asked. `parts` are the named shares that the loss is the sum of, {} where there is only one. `embeddings`
    (B, D) are those of each view that the loss was computed from; `TrainingMethod.forward` adds them.
    """

    loss: Tensor
    tuples: int | None
    parts: dict[str, float]
    embeddings: tuple[Tensor, ...] = ()


class MethodBatch(NamedTuple):
    """A checked batch: features (B, F) and finite embeddings (B, D) of each view, labels (B,) long or (B, C) shares.

    `rows` (B,) long are its places in the training split, None where nobody said.
    """

    head: nn.Module
    features: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]
    labels: Tensor
    rows: Tensor | None = None


class TrainingMethod(nn.Module):
    """A metric loss, a miner, and what a step does with them. `views` renderings of each image come to a step.

    What a method learns or tracks beside its losses is its own parameters and buffers. `make_loss(size)` builds the
    chosen loss for embeddings of that size; a miner that is a module is saved with the method.
    """

    views = 1

    def __init__(self, make_loss: MakeLoss, miner: Miner | None, embedding_size: int) -> None:
        super().__init__()
        self.loss = make_loss(embedding_size)
        self.miner = miner

    def forward(
        self, head: nn.Module, features: tuple[Tensor, ...], labels: Tensor, rows: np.ndarray | Tensor | None = None
    ) -> Outcome:
        """The outcome for a batch: features (B, F) for each view, which `head` maps to embeddings; labels (B,).

        `rows` (B,) are the batch's places in the training split, for methods that know something of each image.

        Embeddings that are not finite give a loss that is NaN, so that the caller can leave the step out.

        Raises: ValueError for another number of views, features that are not one row per label, and what the loss and
        the miner refuse.
        """
        check(self, features, labels)
        embeddings = self.embed(head, features)
        if not all(bool(torch.isfinite(view).all()) for view in embeddings):
            return Outcome(torch.nan * torch.stack([view.sum() for view in embeddings]).sum(), None, {}, embeddings)
        places = None if rows is None else torch.as_tensor(rows, device=labels.device)
        outcome = self.outcome(MethodBatch(head, features, embeddings, labels, places))
        return replace(outcome, embeddings=embeddings)

    def embed(self, head: nn.Module, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(head(view) for view in features)

    def outcome(self, batch: MethodBatch) -> Outcome:
        raise NotImplementedError

    def before_first_step(self) -> Iterator[tuple[str, int, int]]:
        """What a run does before its first step, bit by bit: yields what it is and how many of how many are done."""
        return iter(())

    def embed_texts(self) -> EmbedTexts | None:
        """Where the method reads texts, what embeds those of each side, held_out and train, by the method as it is now.

        It is called in another thread, so it works on copies of what goes on learning.
        """
        return None

    def losses(self) -> list[nn.Module]:
        """The metric losses: their parameters (proxies ...) train at the proxies' rate, all others at the head's."""
        return [self.loss]

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None = None, ref_labels: Tensor | None = None
    ) -> Pairs | Triplets | None:
        """What the miner gives, None where it leaves all to the loss."""
        if self.miner is None:
            return None
        reference = () if ref_emb is None else (ref_emb.detach(), ref_labels)
        tuples = self.miner(embeddings.detach(), labels, *reference)
        return None if tuples is None else as_tuples(tuples)

    def loss_across(self, queries: Tensor, answers: Tensor, labels: Tensor) -> Outcome:
        """The loss of queries against answers alone, rows of both labelled alike."""
        tuples = self.mine(queries, labels, answers, labels)
        value = one_number(self.loss, queries, labels, tuples, ref_emb=answers, ref_labels=labels)
        return sum_outcome({"metric": value}, tuples)


def check(method: TrainingMethod, features: tuple[Tensor, ...], labels: Tensor) -> None:
    who = type(method).__name__
    if isinstance(features, Tensor) or len(features) != method.views:
        came = "one tensor" if isinstance(features, Tensor) else str(len(features))
        raise ValueError(
            f"{who}: features must hold one (batch, feature_size) tensor for each of {method.views} view(s); got "
            f"{came}. Pass a tuple with the features of each rendering of the same images."
        )
    shapes = [tuple(view.shape) for view in features]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][:1] != tuple(labels.shape[:1]):
        raise ValueError(
            f"{who}: each view must be (batch, feature_size) with one label per row; got {shapes} and labels of shape "
            f"{tuple(labels.shape)}. Pass the same images in the same order for each view."
        )


def one_number(loss: nn.Module, *args: object, **kwargs: object) -> Tensor:
    """What the loss returns. Raises: ValueError if that is no single number."""
    value = loss(*args, **kwargs)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(
            f"{type(loss).__name__}: must give one number to train on; got {type(value).__name__}. Use a reducer that "
            "gives a mean or a sum."
        )
    return value.reshape(())


def sum_outcome(shares: Mapping[str, Tensor], tuples: Pairs | Triplets | None) -> Outcome:
    """The sum of the shares, with each told by name where there are several."""
    values = list(shares.values())
    told = torch.stack([value.detach().float() for value in values]).tolist() if len(values) > 1 else []
    count = None if tuples is None else sum(len(side) for side in tuples[::3])
    return Outcome(torch.stack(values).sum() if told else values[0], count, dict(zip(shares, told, strict=False)))


def takes_reference(loss: nn.Module) -> bool:
    """Whether the loss compares embeddings with a reference: losses with proxies and memories do not."""
    return not hasattr(loss, "proxies") and "ref_emb" in inspect.signature(loss.forward).parameters


def refuse_proxies(key: str, loss: nn.Module) -> None:
    """Raises: ValueError for a loss with proxies."""
    if hasattr(loss, "proxies"):
        raise ValueError(
            f"{key}: the loss must compare embeddings with each other; got {type(loss).__name__}, which compares them "
            "with its proxies. Choose a loss of pairs, triplets, lists or views."
        )


def refuse_without_reference(key: str, loss: nn.Module) -> None:
    """Raises: ValueError for a loss that cannot compare embeddings with a reference."""
    refuse_proxies(key, loss)
    if not takes_reference(loss):
        raise ValueError(
            f"{key}: the loss must take ref_emb, the other side that embeddings are compared with; got "
            f"{type(loss).__name__}, which does not. Choose a loss of pairs, triplets, lists or views."
        )
