"""What every loss checks before its maths, so that no loss's own docstring repeats it.

Raises: ValueError for a wrong shape, an empty batch, NaN or infinity, labels that are missing, not whole numbers or no
class of the proxies, tuples of wrong make, and a reference that does not belong.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mlcore.distances import CosineSimilarity, Distance, LpDistance
from mlcore.tuples import Pairs, Triplets, all_triplets, as_tuples, label_masks, sample_weights, tuple_masks

Owner = TypeVar("Owner", bound=nn.Module)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")


class PairInputs(NamedTuple):
    """Checked arguments of a loss. `ref_emb` and `ref_labels` are None when the batch is its own reference.

    `labels` and `ref_labels` may also be None where tuples are given; `needed_labels` is for code that runs without.
    """

    embeddings: Tensor
    labels: Tensor | None
    indices_tuple: Pairs | Triplets | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None

    def masks(self) -> tuple[Tensor, Tensor]:
        """(B, N) masks of the positive and the negative pairs: the given ones (repeats count once), else all."""
        if self.indices_tuple is None:
            return label_masks(self.needed_labels(), self.ref_labels)
        return tuple_masks(self.indices_tuple, (len(self.embeddings), len(self.reference())))

    def all_triplets(self) -> Triplets:
        """Every triplet that the labels allow."""
        return all_triplets(self.needed_labels(), self.ref_labels)

    def reference(self) -> Tensor:
        """(N, D) what the batch is compared with: itself, where no other was given."""
        return self.embeddings if self.ref_emb is None else self.ref_emb

    def needed_labels(self) -> Tensor:
        """The labels, which the checks make sure of: without tuples, and in `check_labelled_pairs`."""
        assert self.labels is not None
        return self.labels

    def needed_reference_labels(self) -> Tensor:
        """(N,) labels of `reference()`, made sure of as `needed_labels` are."""
        if self.ref_emb is None:
            return self.needed_labels()
        assert self.ref_labels is not None
        return self.ref_labels


class HasProxies(Protocol):
    """A loss that compares embeddings with `proxies`, (C, D) or (C, K, D)."""

    @property
    def proxies(self) -> Tensor: ...


class ProxyInputs(NamedTuple):
    """Checked arguments of a proxy loss: embeddings, labels, proxies in the same dtype, a weight per sample.

    Where soft labels are allowed and given, `labels` is (B, C) float, each row's shares of the classes.
    """

    embeddings: Tensor
    labels: Tensor
    proxies: Tensor
    weights: Tensor | None


def outside_autocast(
    method: Callable[Concatenate[Owner, Tensor, Rest], Result],
) -> Callable[Concatenate[Owner, Tensor, Rest], Result]:
    """Run a method of (self, embeddings, ...) outside autocast: 1 - 1e-7 is 1 in half precision."""

    @functools.wraps(method)
    def run(self: Owner, embeddings: Tensor, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        device = embeddings.device.type
        if not torch.is_autocast_enabled(device):
            return method(self, embeddings, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return method(self, embeddings, *args, **kwargs)

    return run  # type: ignore[return-value]  # no type can say that `embeddings` may be given by name too


def check_pairs(
    owner: nn.Module,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: tuple[Tensor, ...] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> PairInputs:
    """The checked arguments of a pair or triplet loss, floats in float32 at least.

    Raises: ValueError for a wrong shape, an empty batch, embeddings that are not finite, labels that are missing or not
    whole numbers, a reference without its labels.
    """
    who = type(owner).__name__
    batch = check_embeddings(who, "embeddings", embeddings)
    tuples = None if indices_tuple is None else as_tuples(indices_tuple)
    labels = check_labels(who, "labels", labels, batch, needed=tuples is None)
    if ref_emb is None or ref_emb is embeddings:
        require_finite(who, batch)
        return PairInputs(batch, labels, tuples, None, None)
    reference = check_embeddings(who, "ref_emb", ref_emb).to(batch.dtype)
    if reference.shape[1] != batch.shape[1]:
        raise ValueError(
            f"{who}: ref_emb must be as wide as embeddings ({batch.shape[1]}); got {reference.shape[1]}. "
            "Embed both with the same model."
        )
    ref_labels = check_labels(who, "ref_labels", ref_labels, reference, needed=tuples is None)
    require_finite(who, batch, reference)
    return PairInputs(batch, labels, tuples, reference, ref_labels)


def check_labelled_pairs(
    owner: nn.Module,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: tuple[Tensor, ...] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> PairInputs:
    """As `check_pairs`, for a loss that needs labels beside an indices_tuple too.

    Raises: ValueError as `check_pairs` does, and for labels or ref_labels that are missing.
    """
    batch = check_pairs(owner, embeddings, labels, indices_tuple, ref_emb, ref_labels)
    for name, given in (("labels", batch.labels), ("ref_labels", batch.ref_labels)):
        if given is None and (name == "labels" or batch.ref_emb is not None):
            raise ValueError(
                f"{type(owner).__name__}: {name} must be given, also with an indices_tuple; got None. "
                "Pass one class number per row."
            )
    return batch


def check_proxy_batch(
    owner: HasProxies,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: tuple[Tensor, ...] | None = None,
    ref_emb: Tensor | None = None,
    *,
    soft: bool = False,
    num_classes: int | None = None,
) -> ProxyInputs:
    """The checked arguments of a loss with `owner.proxies` (C, D) or (C, K, D), floats in float32 at least.

    `num_classes` is how many classes labels may name, where that is not the number of proxies.

    Raises: ValueError as `check_pairs` does, and for labels outside [0, C), another embedding size, a `ref_emb`, or
    soft labels that are not shares.
    """
    who = type(owner).__name__
    if ref_emb is not None and ref_emb is not embeddings:
        raise ValueError(f"{who}: compares embeddings with its proxies and takes no ref_emb. Leave ref_emb out.")
    batch, proxies = match_proxies(owner, embeddings)
    if soft and labels is not None and labels.ndim == 2 and labels.is_floating_point():
        require_finite(who, batch)
        shares = check_shares(who, labels, batch, len(proxies))
        return ProxyInputs(batch, shares, proxies, miner_weights(indices_tuple, batch))
    labels = needed_labels(who, "labels", labels, batch)
    require_finite(who, batch)
    lowest, highest = (end.item() for end in labels.aminmax())
    classes = len(proxies) if num_classes is None else num_classes
    if lowest < 0 or highest >= classes:
        outside = (labels < 0) | (labels >= classes)
        raise ValueError(
            f"{who}: labels must lie in [0, {classes}), one number per class; got {int(labels[outside][0])}. "
            f"Renumber the classes from 0, or build the loss with num_classes={int(labels.max()) + 1}."
        )
    return ProxyInputs(batch, labels, proxies, miner_weights(indices_tuple, batch))


def miner_weights(indices_tuple: tuple[Tensor, ...] | None, batch: Tensor) -> Tensor | None:
    return None if indices_tuple is None else sample_weights(indices_tuple, len(batch), batch)


def match_proxies(owner: HasProxies, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings and `owner.proxies` in one dtype, float32 at least. Raises: ValueError if their widths differ."""
    who = type(owner).__name__
    batch = check_embeddings(who, "embeddings", embeddings)
    proxies = owner.proxies.to(batch.dtype)
    if batch.shape[1] != proxies.shape[-1]:
        raise ValueError(
            f"{who}: embeddings must be (batch, {proxies.shape[-1]}) as embedding_size says; got {tuple(batch.shape)}. "
            f"Build the loss with embedding_size={batch.shape[1]}."
        )
    return batch, proxies


def check_embeddings(who: str, name: str, embeddings: Tensor) -> Tensor:
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(
            f"{who}: {name} must be a float tensor of shape (batch, embedding_size); "
            f"got {embeddings.dtype} of shape {tuple(embeddings.shape)}. Pass one row per sample."
        )
    if embeddings.shape[0] == 0 or embeddings.shape[1] == 0:
        raise ValueError(f"{who}: {name} must not be empty; got shape {tuple(embeddings.shape)}. Skip empty batches.")
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def check_labels(who: str, name: str, labels: Tensor | None, batch: Tensor, needed: bool) -> Tensor | None:
    return needed_labels(who, name, labels, batch) if needed or labels is not None else None


def needed_labels(who: str, name: str, labels: Tensor | None, batch: Tensor) -> Tensor:
    if labels is None:
        raise ValueError(f"{who}: {name} must be given; got None. Pass one class number per row, or an indices_tuple.")
    if labels.ndim != 1 or len(labels) != len(batch):
        raise ValueError(
            f"{who}: {name} must be one class number per row, shape ({len(batch)},); got {tuple(labels.shape)}. "
            "For one-hot labels pass labels.argmax(1)."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{who}: {name} must be whole numbers; got {labels.dtype}. Pass labels.long().")
    return labels.to(device=batch.device, dtype=torch.long)


def check_shares(who: str, labels: Tensor, batch: Tensor, num_classes: int) -> Tensor:
    """Soft labels (B, C) in the batch's dtype: no share below 0, each row's sum 1."""
    if labels.shape != (len(batch), num_classes):
        raise ValueError(
            f"{who}: soft labels must be (batch, classes), {(len(batch), num_classes)}; got {tuple(labels.shape)}. "
            "Pass a share per class, or one class number per row."
        )
    shares = labels.to(batch)
    if not bool(((shares >= 0).all(dim=1) & ((shares.sum(dim=1) - 1).abs() < 1e-2)).all()):
        raise ValueError(
            f"{who}: soft labels must be shares of the classes, none below 0, that add up to 1 in each row; "
            "got others. Divide each row by its sum."
        )
    return shares


def require_finite(who: str, *batches: Tensor) -> None:
    """Raises: ValueError for NaN or infinity. One look at each sum in the usual case."""
    if all(math.isfinite(batch.detach().sum().item()) for batch in batches):  # a sum may overflow: then look longer
        return
    for batch in batches:
        bad = ~torch.isfinite(batch).all(dim=1)
        if bool(bad.any()):
            raise ValueError(
                f"{who}: embeddings must be finite; got NaN or infinity in {int(bad.sum())} of {len(batch)} rows. "
                "Lower the learning rate, or clip the gradient; a model that once gave NaN must be loaded again."
            )


def require_cosine(owner: nn.Module, distance: Distance | None) -> CosineSimilarity:
    """The cosine similarity. Raises: ValueError for any other distance: an angular margin has no meaning there."""
    if distance is None:
        return CosineSimilarity()
    if not isinstance(distance, CosineSimilarity) or distance.power != 1:
        raise ValueError(
            f"{type(owner).__name__}: distance must be CosineSimilarity(), its margin is an angle or a cosine; "
            f"got {type(distance).__name__}. Leave distance out."
        )
    return distance


def require_unit_euclidean(owner: nn.Module, distance: Distance | None) -> LpDistance:
    """The Euclidean distance of embeddings scaled to length 1. Raises: ValueError for any other."""
    if distance is None:
        return LpDistance()
    normalizing = isinstance(distance, LpDistance) and distance.normalize_embeddings
    if not isinstance(distance, LpDistance) or not normalizing or distance.p != 2 or distance.power != 1:
        raise ValueError(
            f"{type(owner).__name__}: distance must be LpDistance() as it is by default; "
            f"got {type(distance).__name__} with other settings. Leave distance out."
        )
    return distance
