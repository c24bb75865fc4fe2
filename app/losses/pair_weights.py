"""The weight of every pair of a batch: how a loss changes with the pair's similarity. No screen here.

As in general pair weighting (Wang et al., CVPR 2019, arXiv:1904.06627, section 3), a loss of pairs is told by its
gradient by each similarity. Losses take embeddings, so that has to be solved for. Where a loss only looks at the dot
products of the embeddings E (one a row), its gradient by them is M E, and off its diagonal the symmetric matrix M is
the gradient by the similarity of two samples, both ways round together. Rows that are linearly independent leave one
such M. Scaling to length 1 first takes from each row's gradient a multiple of that row, which only moves the diagonal.
torch is imported only when asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.losses.curves import LEAST, build_loss, margin_lines, one_thread
from app.shared.text import count
from mlcore.declare import PartSpec

if TYPE_CHECKING:
    from torch import Tensor

CLASSES, MATES = 6, 4
AROUND = 3  # dimensions in which samples scatter: there all cosines are equally frequent
OWN = 0.15  # length of each sample's part in a dimension of its own, so that no sample is made of the others
SEED = 290  # positives and negatives alike from 15 to over 120 degrees
ROUNDING = 1e-6
HEAVY = 0.01  # of the heaviest pair's weight: what counts as pulled on
ALIKE = 1e-3  # weights that differ less count as equal


@dataclass(frozen=True)
class PairWeights:
    """Every pair of a batch once: degrees (P,) between the two, positive (P,), share (P,) of all weight.

    A share is below zero where the loss moves the pair the other way: a positive apart, a negative together. All are
    zero where no pair is moved. `lines` are the loss's margins, degrees and text.
    """

    degrees: np.ndarray
    positive: np.ndarray
    share: np.ndarray
    lines: tuple[tuple[float, str], ...]

    @property
    def moved(self) -> np.ndarray:
        """(P,) which pairs have a weight worth the name."""
        return np.abs(self.share) > self.least

    @property
    def least(self) -> float:
        return HEAVY * float(np.abs(self.share).max())


def weighs_pairs(spec: PartSpec) -> bool:
    """Whether a loss has nothing but the pairs of a batch to look at."""
    return not spec.sizes


@one_thread()
def pair_weights(spec: PartSpec, values: Mapping[str, object], apart: float) -> PairWeights | None:
    """The weights in a fixed batch whose classes lie mixed (`apart` is 0) up to each in a heap of its own (1).

    None for a loss that looks at more than the similarity of two embeddings.
    """
    import torch

    loss = build_loss(spec, values)
    rows, labels = example_batch(apart)
    found = by_similarity(loss, torch.from_numpy(rows), torch.from_numpy(labels))
    if found is None:
        return None
    one, other = np.triu_indices(len(rows), 1)
    degrees = np.degrees(np.arccos((rows @ rows.T)[one, other].clip(-1.0, 1.0)))
    positive = labels[one] == labels[other]
    weight = found.numpy()[one, other] * np.where(positive, -1.0, 1.0)
    total = np.abs(weight).sum()
    share = weight / total + 0.0 if total > LEAST else np.zeros(len(weight))
    typical = math.radians(float(np.median(degrees[positive])))
    lines = tuple(
        (math.degrees(line.place(typical)), line.text if line.kind == "fixed" else f"{line.text}, at the median")
        for line in margin_lines(loss, "pairs")
    )
    return PairWeights(degrees, positive, share, lines)


def by_similarity(loss: Callable[[Tensor, Tensor], Tensor], rows: Tensor, labels: Tensor) -> Tensor | None:
    """(B, B): the gradient of a loss by the similarity of each two samples, both ways round; 0 on the diagonal.

    `rows` (B, D) are of length 1 and linearly independent, with room to spare (D > B). None where the gradient is not
    that of a function of similarities.
    """
    import torch

    rows = rows.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(rows, labels), rows)
    rows = rows.detach()
    found = torch.linalg.lstsq(rows.T, slope.T).solution.T
    missed = torch.linalg.norm(found @ rows - slope), torch.linalg.norm(found - found.T)
    if any(
        bool(miss > ROUNDING * torch.linalg.norm(whole)) for miss, whole in zip(missed, (slope, found), strict=True)
    ):
        return None
    return (0.5 * (found + found.T)).fill_diagonal_(0.0)


def example_batch(apart: float) -> tuple[np.ndarray, np.ndarray]:
    """(B, D) rows of length 1 and mean 0, and (B,) labels: from scattered at random to one heap for each class.

    The mean is 0 so that a loss which takes each row's mean off first sees the same similarities.
    """
    draw = np.random.default_rng(SEED)
    scattered = to_length_1(draw.normal(size=(CLASSES * MATES, AROUND)))
    centres = to_length_1(draw.normal(size=(CLASSES, AROUND)))
    labels = np.repeat(np.arange(CLASSES), MATES)
    places = to_length_1((1.0 - apart) * scattered + apart * centres[labels])
    rows = np.hstack([np.zeros((len(labels), 1)), math.sqrt(1.0 - OWN**2) * places, OWN * np.eye(len(labels))])
    return reflect_to_zero_mean(rows), labels


def reflect_to_zero_mean(rows: np.ndarray) -> np.ndarray:
    """Rows whose first entry is 0 become rows whose mean is 0: the mirror swaps the first axis and the diagonal."""
    width = rows.shape[1]
    across = np.eye(width)[0] - 1.0 / math.sqrt(width)
    return rows - 2.0 * np.outer(rows @ across, across) / (across @ across)


def to_length_1(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def summary_sentence(weights: PairWeights) -> str:
    """One sentence: how many of the pairs are pulled on, how much of all weight they have, and what the heaviest."""
    if not weights.moved.any():
        return "No pair of this batch is pulled on."
    said = [
        side_words(weights, side, *words)
        for side, words in (
            (weights.positive, ("positive pair", "pulled in")),
            (~weights.positive, ("negative pair", "pushed away")),
        )
    ]
    astray = weights.share[weights.share < -weights.least]
    if len(astray):
        verb = "is" if len(astray) == 1 else "are"
        said.append(f"{count(len(astray), 'pair')} {verb} moved the wrong way, with {format_percent(-astray.sum())}")
    sentence = "; ".join(said)
    return f"{sentence[0].upper()}{sentence[1:]}."


def side_words(weights: PairWeights, side: np.ndarray, noun: str, moved: str) -> str:
    """'only 12 of 96 negative pairs are pushed away, with 62 % of all weight, the heaviest (24 degrees) with 31 %'."""
    share, degrees = weights.share[side], weights.degrees[side]
    found = share[share > weights.least]
    if len(found) == 0:
        return f"no {noun} is {moved}"
    some = f"{'only ' if len(found) <= len(share) / 4 else ''}{len(found)} of"
    how_many = f"{'all' if len(found) == len(share) > 1 else some} {count(len(share), noun)}"
    words = f"{how_many} {'is' if len(found) == 1 else 'are'} {moved}, with {format_percent(found.sum())} of all weight"
    if len(found) == 1:
        return words
    if np.ptp(found) <= ALIKE * found.max():
        return f"{words}, all alike"
    top = int(share.argmax())
    return f"{words}, the heaviest ({degrees[top]:.0f} degrees) with {format_percent(share[top])}"


def format_percent(part: float) -> str:
    """'31 %', '0.4 %'."""
    return f"{100 * part:.0f} %" if part >= 0.01 else f"{100 * part:.1g} %"
