"""Deep adversarial metric learning: a generator that makes the negatives which the embedding still gets wrong."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.losses import LOSSES
from mlcore.miners.draws import SEED
from mlcore.training.methods.method import (
    MakeLoss,
    MethodBatch,
    Outcome,
    TrainingMethod,
    one_number,
    sum_outcome,
    takes_reference,
)
from mlcore.training.methods.registry import METHODS
from mlcore.tuples import Miner, Triplets, label_masks


@METHODS.add(
    "daml",
    title="Deep adversarial metric learning",
    family="training method",
    formula=(
        r"L(z)+\lambda_0L(z,\,f(\tilde x))+\lambda_h\lVert\tilde x-x_a\rVert^2+\lambda_1\lVert\tilde x-x_n\rVert^2"
        r"+\lambda_2\big[D(f(\tilde x),z_a)^2-D(z_p,z_a)^2-\alpha\big]_+,\quad \tilde x=G(x_a,x_p,x_n)"
    ),
    paper="Duan et al., CVPR 2018, Deep Adversarial Metric Learning",
    aliases=("DeepAdversarialMetricLearning (pytorch-metric-learning)", "DAML", "synthetic hard negatives"),
)
class DeepAdversarialMetricLearning(TrainingMethod):
    """Trains a generator of synthetic negatives against the embedding, and the embedding on what it makes.

    From the features of an anchor, a positive and a negative the generator makes features that should lie near the
    anchor (hard) and near the negative (reg), and that the head should take for the anchor's class (adv). The
    embedding learns to tell them apart: the chosen loss of real anchors and positives against synthetic negatives, or
    the triplet margin loss where the chosen one has proxies, is made for two views, takes no ref_emb or does not mind
    negatives.

    One backward pass serves both sides, and neither reaches into the other: what trains the generator sees head and
    features as constants, what trains head and backbone sees the synthetic negative as one. In pytorch-metric-learning
    the generator's gradients also reach trunk and embedder. Feature distances are squared as in the paper, in units
    of the features' mean squared length, so that weights mean the same for every backbone (pytorch-metric-learning
    scales features to length 1); D is the distance of embeddings at length 1, also squared, with a margin of its own.

    What to expect: A slow start that wants some steps of the metric alone, then of the generator alone, in which head
    and backbone stand still. Without them a contrastive loss collapsed on the glyphs sample (MAP@R .04 after 300 steps,
    with them .69, without a generator .67; one run each): what an untrained generator makes is far from any image.
    Large weights of the synthetic negatives harm too. Twice the work of a step, so compare at equal time. More triplets
    per anchor than a handful cost much and add little.

    Shapes: one view of features (B, F); labels (B,). Triplets are drawn for each anchor among those its labels
    allow, none twice, from a generator of its own that depends on the seed and the count of steps; that count is saved
    and stands still in evaluation mode. A batch without triplets trains on the metric loss alone.
    """

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        embedding_size: int,
        feature_size: int,
        *,
        metric_alone_steps: Annotated[int, Knob("First steps, without the generator.", 0, 1_000_000)] = 50,
        g_alone_steps: Annotated[int, Knob("Steps after them that train the generator alone.", 0, 1_000_000)] = 25,
        g_triplets_per_anchor: Annotated[int, Knob("Synthetic negatives for each anchor, at most.", 1, 1000)] = 8,
        synth_weight: Annotated[
            float, Knob("Weight of the loss on synthetic negatives.", 0.0, 100.0, symbol=r"\lambda_0")
        ] = 0.3,
        hard_weight: Annotated[
            float, Knob("Weight of the nearness to the anchor.", 0.0, 100.0, symbol=r"\lambda_h")
        ] = 1.0,
        reg_weight: Annotated[
            float, Knob("Weight of the nearness to the negative.", 0.0, 100.0, symbol=r"\lambda_1")
        ] = 1.0,
        adv_weight: Annotated[float, Knob("Weight of misleading the head.", 0.0, 100.0, symbol=r"\lambda_2")] = 1.0,
        adv_margin: Annotated[
            float,
            Knob(
                "How much farther than the positive the head may see a synthetic negative.",
                0.0,
                4.0,
                unit="squared distance",
                symbol=r"\alpha",
            ),
        ] = 0.2,
        hidden_size: Annotated[int, Knob("Width of the generator's inner layer.", 1, 8192, log=True, rare=True)] = 256,
        seed: Annotated[int, SEED] = 0,
    ) -> None:
        super().__init__(make_loss, miner, embedding_size)
        fits = minds_negatives(self.loss, embedding_size)
        self.synthetic_loss = make_loss(embedding_size) if fits else LOSSES["triplet_margin"].build()
        self.generator = Generator(feature_size, hidden_size)
        self.metric_alone_steps = metric_alone_steps
        self.g_alone_steps = g_alone_steps
        self.g_triplets_per_anchor = g_triplets_per_anchor
        self.synth_weight = synth_weight
        self.hard_weight = hard_weight
        self.reg_weight = reg_weight
        self.adv_weight = adv_weight
        self.adv_margin = adv_margin
        self.seed = seed
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def losses(self) -> list[nn.Module]:
        return [self.loss, self.synthetic_loss]

    def outcome(self, batch: MethodBatch) -> Outcome:
        step = int(self.steps)
        if self.training:
            self.steps += 1
        generates = step >= self.metric_alone_steps
        measures = not generates or step >= self.metric_alone_steps + self.g_alone_steps
        tuples, shares = None, {}
        if measures:
            tuples = self.mine(batch.embeddings[0], batch.labels)
            shares["metric"] = one_number(self.loss, batch.embeddings[0], batch.labels, tuples)
        if generates:
            triplets = draw_triplets(batch.labels, self.g_triplets_per_anchor, step_generator(self.seed, step))
            negatives = self.generator(batch.features[0].detach(), triplets)  # (T, F)
            if measures:
                shares["synthetic"] = self.synth_weight * self.loss_with_synthetic_negatives(
                    batch, negatives.detach(), triplets
                )
            shares |= self.objectives(batch, negatives, triplets)
        return sum_outcome(shares, tuples)

    def loss_with_synthetic_negatives(self, batch: MethodBatch, negatives: Tensor, triplets: Triplets) -> Tensor:
        """The loss of the batch against synthetic negatives (T, F), features without a graph."""
        embeddings, labels = batch.embeddings[0], batch.labels
        reference = torch.cat([embeddings, batch.head(negatives)])
        ref_labels = torch.cat([labels, labels[triplets.negatives]])
        places = torch.arange(len(labels), len(reference), device=labels.device)
        tuples = triplets._replace(negatives=places)
        return one_number(self.synthetic_loss, embeddings, labels, tuples, ref_emb=reference, ref_labels=ref_labels)

    def objectives(self, batch: MethodBatch, negatives: Tensor, triplets: Triplets) -> dict[str, Tensor]:
        """What the generator is trained on; nothing else gets a gradient from it."""
        features, embeddings = (
            at_least_float32(batch.features[0].detach()),
            at_least_float32(batch.embeddings[0].detach()),
        )
        length = features.square().sum(dim=1).mean().clamp_min(1e-6)
        to_anchor, to_negative = (
            (at_least_float32(negatives) - features[rows]).square().sum(dim=1) / length
            for rows in (triplets.anchors, triplets.negatives)
        )
        seen = F.normalize(at_least_float32(apply_detached(batch.head, negatives)), dim=1)
        anchors, positives = (F.normalize(embeddings[rows], dim=1) for rows in triplets[:2])
        lead = (seen - anchors).square().sum(dim=1) - (positives - anchors).square().sum(dim=1)
        return {
            "hard": self.hard_weight * mean_or_zero(to_anchor),
            "reg": self.reg_weight * mean_or_zero(to_negative),
            "adv": self.adv_weight * mean_or_zero(F.relu(lead - self.adv_margin)),
        }


class Generator(nn.Module):
    """Two layers from the features of anchor, positive and negative, side by side, to those of a synthetic negative.

    Shapes: features (B, F) and T triplets of their rows -> (T, F).
    """

    def __init__(self, feature_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(3 * feature_size, hidden_size)
        self.outer = nn.Linear(hidden_size, feature_size)

    def forward(self, features: Tensor, triplets: Triplets) -> Tensor:
        # The inner layer on (T, 3F) is three layers on (B, F), their rows added: a batch has fewer rows than triplets.
        weights = self.inner.weight.split(features.shape[1], dim=1)
        hidden = sum(F.linear(features, weight)[rows] for weight, rows in zip(weights, triplets, strict=True))
        return self.outer(F.relu(hidden + self.inner.bias))


def apply_detached(head: nn.Module, features: Tensor) -> Tensor:
    """What the head makes of features, its own weights and statistics being constants."""
    weights = {name: weight.detach() for name, weight in head.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in head.named_buffers()}
    return torch.func.functional_call(head, weights | statistics, (features,))


def at_least_float32(rows: Tensor) -> Tensor:
    """In float32 at least."""
    return rows if rows.dtype == torch.float64 else rows.float()


def mean_or_zero(values: Tensor) -> Tensor:
    """The mean, 0 on the graph where there is nothing."""
    return values.sum() / max(1, len(values))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random source of a step."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def draw_triplets(labels: Tensor, per_anchor: int, generator: torch.Generator) -> Triplets:
    """At most `per_anchor` triplets of each anchor, none twice, spread over its positives.

    An anchor's triplets, its positives times its negatives, are cut into as many stretches of about equal length, and
    one is drawn from each.
    """
    same, different = (mask.cpu() for mask in label_masks(labels))
    positives, negatives = same.sum(dim=1), different.sum(dim=1)
    how_many = (positives * negatives).clamp_max(per_anchor)
    anchors = torch.repeat_interleave(how_many)
    rank = torch.arange(len(anchors)) - (how_many.cumsum(0) - how_many)[anchors]
    ends = (rank * (positives * negatives)[anchors]) // how_many[anchors]
    next_ends = ((rank + 1) * (positives * negatives)[anchors]) // how_many[anchors]
    within = torch.rand(len(anchors), generator=generator, dtype=torch.float64) * (next_ends - ends)
    place = ends + within.long()
    of_positives, of_negatives = same.nonzero()[:, 1], different.nonzero()[:, 1]
    p = of_positives[(positives.cumsum(0) - positives)[anchors] + place // negatives[anchors]]
    n = of_negatives[(negatives.cumsum(0) - negatives)[anchors] + place % negatives[anchors]]
    return Triplets(*(rows.to(labels.device) for rows in (anchors, p, n)))


@torch.no_grad()
def minds_negatives(loss: nn.Module, embedding_size: int) -> bool:
    """Whether the loss of a triplet with its negative in a reference changes as the negative moves.

    Not asked of losses with proxies or for two views. The loss is asked in evaluation mode, so that nothing in it
    changes.
    """
    if not takes_reference(loss) or bool(getattr(loss, "compares_views", "")) or embedding_size < 2:
        return False
    anchor, positive = torch.eye(2, embedding_size)[:, None]
    here, there = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    training = loss.training
    try:
        loss.eval()
        values = [
            loss(
                anchor,
                here,
                Triplets(here, here, there),
                ref_emb=torch.cat([positive, negative]),
                ref_labels=torch.arange(2),
            )
            for negative in (anchor + 0.1, -anchor)
        ]
    except ValueError:
        return False
    finally:
        loss.train(training)
    return all(isinstance(value, Tensor) and value.numel() == 1 for value in values) and bool(values[0] != values[1])
