"""Batch easy-hard: for each anchor one positive and one negative, each chosen by a word."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Pairs, label_masks

STRATEGIES = ("easy", "hard", "semihard", "all")
Range = tuple[float, float]


@MINERS.add(
    "batch_easy_hard",
    title="Batch easy-hard",
    family="triplet",
    formula=r"p=\arg\min_{p} d_{ap},\quad n=\arg\min_{n:\,d_{an}>d_{ap}} d_{an}",
    paper="Xuan, Stylianou and Pless, WACV 2020, arXiv:1904.04370",
    aliases=("BatchEasyHardMiner (pytorch-metric-learning)", "easy positive mining"),
)
class BatchEasyHardMiner:
    """Takes for each anchor the easiest or hardest positive and negative, or a negative just beyond the positive.

    "easy" is the closest positive or the farthest negative, "hard" the other end. "semihard" looks at the other side's
    choice: the closest negative that is still farther than the positive, or the farthest positive that is still closer
    than the negative. "all" leaves that side as it is. At most one side can be "semihard", and then the other is not
    "all". The formula is that of the defaults.

    What to expect: Easy positives keep a class free to have several clusters, and carry over better to new classes
    than hard ones do. Both sides hard is batch hard mining, with its risk of collapse.

    Shapes: embeddings (B, D), labels (B,). Pairs, one positive and one negative per anchor and an anchor without either
    left out; on a side with "all", every pair of that kind, whatever the other side has.
    Raises: ValueError for two strategies that do not go together, or a range that is not (low, high).
    """

    def __init__(
        self,
        *,
        pos_strategy: Annotated[str, Knob("Which positive of each anchor.", choices=STRATEGIES)] = "easy",
        neg_strategy: Annotated[str, Knob("Which negative of each anchor.", choices=STRATEGIES)] = "semihard",
        allowed_pos_range: Range | None = None,
        allowed_neg_range: Range | None = None,
        distance: Distance | None = None,
    ) -> None:
        chosen = {pos_strategy, neg_strategy}
        if chosen == {"semihard"} or chosen == {"semihard", "all"}:
            raise ValueError(
                f"batch_easy_hard: 'semihard' needs 'easy' or 'hard' on the other side, whose choice it follows; got "
                f"pos_strategy={pos_strategy!r}, neg_strategy={neg_strategy!r}. Change one of them."
            )
        self.pos_strategy = pos_strategy
        self.neg_strategy = neg_strategy
        self.allowed_pos_range = check_range("allowed_pos_range", allowed_pos_range)
        self.allowed_neg_range = check_range("allowed_neg_range", allowed_neg_range)
        self.distance = distance or LpDistance()

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Pairs:
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        same, different = label_masks(labels, ref_labels, own)
        positive = same & mask_within(mat, self.allowed_pos_range)
        negative = different & mask_within(mat, self.allowed_neg_range)
        far = -mat if self.distance.is_inverted else mat
        if self.pos_strategy == "semihard":
            n, n_found = self.closest(far, negative) if self.neg_strategy == "hard" else self.farthest(far, negative)
            positive &= far < far.gather(1, n)
            p, p_found = self.farthest(far, positive)
        elif self.neg_strategy == "semihard":
            p, p_found = self.closest(far, positive) if self.pos_strategy == "easy" else self.farthest(far, positive)
            negative &= far > far.gather(1, p)
            n, n_found = self.closest(far, negative)
        else:
            p, p_found = self.closest(far, positive) if self.pos_strategy == "easy" else self.farthest(far, positive)
            n, n_found = self.closest(far, negative) if self.neg_strategy == "hard" else self.farthest(far, negative)
        if self.pos_strategy != "all" and self.neg_strategy != "all":
            p_found = n_found = p_found & n_found
        pos_pairs = same.nonzero(as_tuple=True) if self.pos_strategy == "all" else chosen_pairs(p, p_found)
        neg_pairs = different.nonzero(as_tuple=True) if self.neg_strategy == "all" else chosen_pairs(n, n_found)
        return Pairs(*pos_pairs, *neg_pairs)

    @staticmethod
    def closest(far: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1) the closest under the mask, and (B,) whether there is any."""
        return far.masked_fill(~mask, torch.inf).argmin(dim=1, keepdim=True), mask.any(dim=1)

    @staticmethod
    def farthest(far: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1) the farthest under the mask, and (B,) whether there is any."""
        return far.masked_fill(~mask, -torch.inf).argmax(dim=1, keepdim=True), mask.any(dim=1)


def chosen_pairs(chosen: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    anchors = found.nonzero()[:, 0]
    return anchors, chosen[anchors, 0]


def mask_within(mat: Tensor, bounds: Range | None) -> Tensor:
    return torch.ones_like(mat, dtype=torch.bool) if bounds is None else (mat >= bounds[0]) & (mat <= bounds[1])


def check_range(name: str, bounds: Range | None) -> Range | None:
    if bounds is not None and (len(bounds) != 2 or bounds[0] > bounds[1]):
        raise ValueError(f"batch_easy_hard: {name} must be (low, high), both included, or None; got {bounds}.")
    return bounds
