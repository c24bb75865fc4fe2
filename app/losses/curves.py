"""Numbers for the explainer pictures of a loss: the loss itself, asked at constructed embeddings. No screen here.

Which picture fits is read from the declaration: a loss that is built with `num_classes` compares embeddings with
proxies, one built without sizes compares them with each other. Slopes come from autograd, by the angle itself: for
embeddings of length 1 that is the length of the gradient along the sphere. torch is imported only when asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlcore.declare import PartSpec
from mlcore.margins import DrawsMargins, MarginLine

if TYPE_CHECKING:
    from torch import Tensor, nn

Moving = Literal["own", "positive", "negative"]
CURVE = np.arange(1.0, 180.0, 2.0)  # degrees; not 0 and 180, where a turn has no direction and every slope is 0
PLANE = np.arange(1.5, 180.0, 3.0)
COARSE_PLANE = np.arange(3.0, 180.0, 6.0)  # where each point is a call of its own
PROBES = ((20.0, 50.0, 80.0, 110.0, 140.0, 35.0, 95.0), (70.0, 25.0, 115.0, 40.0, 30.0, 150.0, 15.0))
CIRCLE = np.arange(1.5, 360.0, 3.0)
BATCH = np.arange(10.0, 171.0, 10.0)
BLOCK = 64  # problems in one call: matrices of BLOCK x 2 BLOCK
PICTURED_CLASSES = 2 * BLOCK  # each problem has two of its own
LEAST = 1e-12  # a batch that is moved less than this in all is at rest
LATE = 10_000_000  # training steps after which every warm-up is over
TURNED_IN = 0.25  # degrees between the angles that are tried to find where a margin begins


@dataclass(frozen=True)
class Curve:
    """The loss and its slope while one angle moves: degrees (N,), loss (N,), slope (N,) per radian."""

    degrees: np.ndarray
    loss: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True)
class Circle:
    """Three proxies on a circle and a sample in every direction.

    directions (N,) and proxies (3,) in degrees, losses (N, 3) of a sample labelled with each of the three, winners (N,)
    the label of the least loss, unmet (N,) where that label wins and a margin is not yet met.
    """

    directions: np.ndarray
    proxies: np.ndarray
    losses: np.ndarray
    winners: np.ndarray
    unmet: np.ndarray


@dataclass(frozen=True)
class Plane:
    """One positive and one negative pair of an anchor, each at every angle: degrees (N,), the rest (N, N).

    Rows are the negative's angle, columns the positive's. `pull` is how hard the positive is drawn to the anchor,
    `push` how hard the negative is driven away, both per radian.
    """

    degrees: np.ndarray
    loss: np.ndarray
    pull: np.ndarray
    push: np.ndarray


@dataclass(frozen=True)
class Shares:
    """One anchor with a positive and a negative at each of degrees (N,): each one's share of all pull, of all push.

    A share is below zero where the loss moves that one the other way.
    """

    degrees: np.ndarray
    pull: np.ndarray
    push: np.ndarray


@dataclass(frozen=True)
class Margin:
    """Where a margin lies on an axis of angles: lines (degrees, text), and the band between two ends, if any."""

    lines: tuple[tuple[float, str], ...] = ()
    band: tuple[float, float] | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for a second thread: on a busy machine 50 times longer than one takes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compares_with(spec: PartSpec) -> Literal["proxies", "pairs", "nothing"]:
    """What a loss compares embeddings with, as far as a picture of it can be made."""
    if spec.unpictured:
        return "nothing"
    if "num_classes" in spec.sizes:
        return "proxies"
    return "nothing" if spec.sizes else "pairs"


@one_thread()
def own_proxy_curve(spec: PartSpec, values: Mapping[str, object], other: float) -> Curve:
    """One sample, its own proxy at each angle, one other proxy fixed `other` degrees from the sample."""
    import torch
    from torch.func import functional_call

    loss = warm_up(build_loss(spec, values, num_classes=2, embedding_size=3))
    sample, label = unit_vectors_at([0.0], 3, 1), torch.tensor([0])
    angles = torch.deg2rad(torch.from_numpy(CURVE)).requires_grad_()
    own, fixed = unit_vectors_at(angles, 3, 1), unit_vectors_at([math.radians(other)], 3, 2)
    each = [
        functional_call(loss, {"proxies": torch.cat([own[place : place + 1], fixed])}, (sample, label))
        for place in range(len(CURVE))
    ]
    return make_curve(CURVE, angles, torch.stack(each))


@one_thread()
def proxy_circle(spec: PartSpec, values: Mapping[str, object], apart: float) -> Circle:
    """Proxies A and B `apart` degrees from each other, C opposite their middle; samples in all directions."""
    import torch

    proxies = np.array([90.0, 90.0 - apart, 270.0 - apart / 2])
    loss = warm_up(build_loss(spec, values, num_classes=3, embedding_size=2))
    with torch.no_grad():
        place_proxies(loss, proxies)
        samples = torch.from_numpy(in_plane(CIRCLE))
        by_label = [
            losses_one_by_one(spec, values, loss, samples, torch.full((len(CIRCLE),), label))
            for label in range(len(proxies))
        ]
    losses = torch.stack(by_label, dim=1).numpy()
    between = np.abs((CIRCLE[:, None] - proxies + 180.0) % 360.0 - 180.0)  # (N, 3) degrees
    winners = losses.argmin(axis=1)
    own = between[np.arange(len(CIRCLE)), winners]
    nearest_other = np.where(np.arange(len(proxies)) == winners[:, None], 180.0, between).min(axis=1)
    return Circle(CIRCLE, proxies, losses, winners, margin_unmet(margin_lines(loss, "proxies"), own, nearest_other))


@one_thread()
def pair_curve(spec: PartSpec, values: Mapping[str, object], moving: Moving, fixed: float) -> Curve:
    """One anchor with one positive and one negative: one of them at each angle, the other `fixed` degrees away."""
    import torch

    angles = torch.deg2rad(torch.from_numpy(CURVE)).requires_grad_()
    still = torch.full_like(angles.detach(), math.radians(fixed))
    positive, negative = (angles, still) if moving == "positive" else (still, angles)
    return make_curve(CURVE, angles, one_by_one(spec, values, positive, negative))


@one_thread()
def pair_plane(spec: PartSpec, values: Mapping[str, object]) -> Plane:
    """Loss, pull and push over the angles of one positive and one negative pair of an anchor."""
    import torch

    degrees = PLANE if keep_apart(spec, values) else COARSE_PLANE
    side = torch.deg2rad(torch.from_numpy(degrees))
    negative, positive = (grid.reshape(-1).requires_grad_() for grid in torch.meshgrid(side, side, indexing="ij"))
    losses = one_by_one(spec, values, positive, negative)
    pull, push = gradients_by_angle(losses.sum(), positive, negative)
    square = (len(degrees), len(degrees))
    return Plane(degrees, losses.detach().numpy().reshape(square), pull.reshape(square), 0.0 - push.reshape(square))


@one_thread()
def batch_shares(spec: PartSpec, values: Mapping[str, object]) -> Shares:
    """One anchor among positives and negatives at all angles, as the loss sees a batch: who is moved how much."""
    import torch

    loss, count = build_loss(spec, values), len(BATCH)
    positive, negative = (torch.deg2rad(torch.from_numpy(BATCH)).requires_grad_() for _ in range(2))
    width = 1 + 2 * count  # a direction of its own for each
    others = torch.cat(
        [
            unit_vectors_at(angles[place : place + 1], width, 1 + side * count + place)
            for side, angles in enumerate((positive, negative))
            for place in range(count)
        ]
    )
    labels = torch.arange(2).repeat_interleave(count)
    total = loss(unit_vectors_at([0.0], width, 1), torch.tensor([0]), ref_emb=others, ref_labels=labels)
    pull, push = gradients_by_angle(total, positive, negative)
    return Shares(BATCH, *(side / max(np.abs(side).sum(), LEAST) for side in (pull, 0.0 - push)))


def margin_on_axis(spec: PartSpec, values: Mapping[str, object], moving: Moving, fixed: float) -> Margin:
    """The margin on the axis of the moving angle (degrees), the other one being `fixed`.

    The band is the gap that the margin demands between the angle to one's own and to others.
    """
    between = "proxies" if moving == "own" else "pairs"
    sizes = {"num_classes": 2, "embedding_size": 3} if moving == "own" else {}
    lines = margin_lines(build_loss(spec, values, **sizes), between)
    still = [line for line in lines if line.kind == "fixed"]
    placed = tuple((math.degrees(line.place(0.0)), line.text) for line in still)
    if still:
        ends = sorted(angle for angle, _ in placed)
        return Margin(placed, (ends[0], ends[-1]) if len(ends) > 1 else None)
    if not lines:
        return Margin()
    if moving == "negative":
        return Margin((), (fixed, math.degrees(lines[0].place(math.radians(fixed)))))
    tried = np.arange(0.0, fixed + TURNED_IN, TURNED_IN)
    met = [float(angle) for angle in tried if math.degrees(lines[0].place(math.radians(angle))) <= fixed]
    return Margin((), (max(met, default=0.0), fixed))


def margin_unmet(lines: tuple[MarginLine, ...], own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where a margin is not met by the angles (degrees) to the own and the nearest other.

    Of fixed lines the first is for the own, the last for others; any other line is where the nearest other must lie
    beyond.
    """
    missed = np.zeros(own.shape, dtype=bool)
    still = [math.degrees(line.place(0.0)) for line in lines if line.kind == "fixed"]
    if still:
        missed |= (own > still[0]) | (other < still[-1])
    for line in lines:
        if line.kind != "fixed":
            missed |= other < [math.degrees(line.place(math.radians(angle))) for angle in own]
    return missed


def build_loss(spec: PartSpec, values: Mapping[str, object], **sizes: int) -> nn.Module:
    return spec.build({"num_classes": PICTURED_CLASSES, **sizes}, **values).double()


def warm_up(loss: nn.Module) -> nn.Module:
    """The loss as it is late in training, whatever grows or falls with the steps, and with nothing drawn or tracked."""
    steps = getattr(loss, "steps", None)
    if steps is not None:
        steps.fill_(LATE)
    return loss.eval()


def place_proxies(loss: nn.Module, degrees: np.ndarray) -> None:
    """Put the proxies, all sub-centres of a class together, in these directions of the plane."""
    import torch

    places, proxies = torch.from_numpy(in_plane(degrees)), proxies_of(loss)
    proxies.copy_(places if proxies.ndim == 2 else places[:, None])


def proxies_of(loss: nn.Module) -> Tensor:
    """(C, D) or (C, K, D): those of a loss that compares with proxies."""
    import torch

    assert isinstance(loss.proxies, torch.Tensor)
    return loss.proxies


def built_to_items(spec: PartSpec, values: Mapping[str, object], **sizes: int) -> nn.Module:
    """The loss giving its parts unreduced: one value per item instead of one number."""
    from mlcore.reducers import DoNothingReducer

    checked = spec.check(values)
    supplied = spec.supplied({"num_classes": PICTURED_CLASSES, **sizes}, checked)
    return spec.load()(**supplied, **checked, reducer=DoNothingReducer()).double()


def losses_one_by_one(
    spec: PartSpec, values: Mapping[str, object], loss: nn.Module, samples: Tensor, labels: Tensor
) -> Tensor:
    """(N,) loss of each sample in a batch of its own.

    In one call where the loss has a value per sample that does not depend on the others, which a few samples on their
    own must confirm; one after the other where it has not.
    """
    import torch

    shape = proxies_of(loss).shape
    items = built_to_items(spec, values, num_classes=shape[0], embedding_size=shape[-1])
    items.load_state_dict(loss.state_dict())
    items.train(loss.training)
    parts = items(samples, labels)
    if all(part.shape == labels.shape for part in parts.values()):
        together = torch.stack(list(parts.values())).sum(dim=0)
        probes = range(0, len(samples), max(1, len(samples) // 4))
        single = torch.stack([loss(samples[at : at + 1], labels[at : at + 1]) for at in probes])
        if torch.allclose(together[list(probes)], single):
            return together
    return torch.stack([loss(samples[at : at + 1], labels[at : at + 1]) for at in range(len(samples))])


def one_by_one(spec: PartSpec, values: Mapping[str, object], positive: Tensor, negative: Tensor) -> Tensor:
    """(N,) loss of each pair of angles (radians): one anchor, one positive, one negative, and nothing else.

    In few calls where that gives the same, else one after the other. Positive and negative leave the anchor at right
    angles to each other, as directions in a space of many dimensions nearly always do.
    """
    positives, negatives = unit_vectors_at(positive, 3, 1), unit_vectors_at(negative, 3, 2)
    if keep_apart(spec, values):
        together = in_blocks(built_to_items(spec, values), positives, negatives)
        if together is not None:
            return together
    return in_turn(build_loss(spec, values), positives, negatives)


def keep_apart(spec: PartSpec, values: Mapping[str, object]) -> bool:
    """Whether a loss, given many such problems in one call as tuples, gives each the value that it has alone."""
    import torch

    positives, negatives = (
        unit_vectors_at(np.radians(angles), 3, axis) for angles, axis in zip(PROBES, (1, 2), strict=True)
    )
    together = in_blocks(built_to_items(spec, values), positives, negatives)
    return together is not None and torch.allclose(together, in_turn(build_loss(spec, values), positives, negatives))


def in_turn(loss: nn.Module, positives: Tensor, negatives: Tensor) -> Tensor:
    """(N,) what an anchor loses with each positive and negative, call by call."""
    import torch

    anchor, labels = unit_vectors_at([0.0], 3, 1), torch.tensor([0, 1])
    others = torch.stack([positives, negatives], dim=1)  # (N, 2, D)
    return torch.stack([loss(anchor, labels[:1], ref_emb=pair, ref_labels=labels) for pair in others])


def in_blocks(items: Callable[..., dict[str, Tensor]], positives: Tensor, negatives: Tensor) -> Tensor | None:
    """(N,) what an anchor loses with each positive and negative, many in one call; None without a value for each."""
    import torch

    from mlcore.tuples import Pairs

    each = []
    for p, n in zip(positives.split(BLOCK), negatives.split(BLOCK), strict=True):
        count = len(p)
        own, others = torch.arange(count), torch.arange(count, 2 * count)
        anchors = unit_vectors_at([0.0], 3, 1).expand(count, 3)
        parts = items(anchors, own, Pairs(own, own, own, others), torch.cat([p, n]), torch.cat([own, others]))
        if any(part.numel() not in (1, count) for part in parts.values()):
            return None
        each.append(torch.stack([part.reshape(-1).expand(count) for part in parts.values()]).sum(dim=0))
    return torch.cat(each)


def margin_lines(loss: nn.Module, between: str) -> tuple[MarginLine, ...]:
    if not isinstance(loss, DrawsMargins):
        return ()
    return tuple(line for line in loss.margin_lines() if line.between == between)


def unit_vectors_at(angles: Tensor | np.ndarray | list[float], width: int, axis: int) -> Tensor:
    """(N, width) unit vectors, each turned by its angle (radians) from the first axis towards another."""
    import torch

    angles = torch.as_tensor(angles, dtype=torch.float64)
    basis = torch.eye(width, dtype=torch.float64)
    return angles.cos()[:, None] * basis[0] + angles.sin()[:, None] * basis[axis]


def in_plane(degrees: np.ndarray) -> np.ndarray:
    """(N, 2) unit vectors."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def make_curve(degrees: np.ndarray, angles: Tensor, losses: Tensor) -> Curve:
    (slope,) = gradients_by_angle(losses.sum(), angles)
    return Curve(degrees, losses.detach().numpy(), slope)


def gradients_by_angle(total: Tensor, *angles: Tensor) -> tuple[np.ndarray, ...]:
    """The derivative of a sum by each set of angles; zero where it does not depend on them."""
    import torch

    if not total.requires_grad:
        return tuple(np.zeros(angle.shape) for angle in angles)
    found = torch.autograd.grad(total, angles, allow_unused=True)
    return tuple(np.zeros(a.shape) if g is None else g.numpy() for a, g in zip(angles, found, strict=True))
