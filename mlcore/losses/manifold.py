"""Manifold loss: an N-pair loss on similarities that a random walk finds along the data, between batch and proxies."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_proxy_batch, match_proxies, outside_autocast, require_cosine
from mlcore.losses.logsumexp import log_one_plus_sum_exp
from mlcore.losses.proxy_loss import require_sizes
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, LossTerm, MeanReducer, Reduced, Reducer

SPREAD = 0.5  # divides cosines before their exponential


@LOSSES.add(
    "manifold",
    title="Manifold",
    family="proxy",
    formula=(
        r"\log\Big(1+\sum_{k\ne y}e^{G_{xk}-G_{xy}+\delta}\Big)"
        r"+\lambda_C\log\Big(1+\sum_{k\ne y}e^{\cos(G_x,G_k)-\cos(G_x,G_y)+\delta}\Big),\quad "
        r"G=(1-\alpha)(I-\alpha D^{-\frac12}SD^{-\frac12})^{-1},\ S_{ij}=e^{2[\cos\theta_{ij}]_+}"
    ),
    paper="Aziere and Todorovic, CVPR 2019, Ensemble Deep Manifold Similarity Learning Using Hard Proxies",
    aliases=("ManifoldLoss (pytorch-metric-learning)",),
    renamed={"l": "embedding_size"},
    unpictured="Its similarities are those of a walk over the whole batch, and a picture has one anchor.",
)
class ManifoldLoss(nn.Module):
    """Asks a random walk that starts at an embedding to end at its own proxy more often than at any other.

    Batch and proxies are the nodes of a graph; G holds where walks end that go on with probability alpha. The first
    part compares G directly, the second whether a sample and a proxy see the graph alike (rows of G, by their cosine).
    A proxy that is behind the own one by the margin costs nothing, so the sums are over the others only.

    Labels choose the proxies. As in the paper, K proxies stand for K meta-classes: with num_classes given (the Lab
    does) each class belongs to one of them, by a random and even partition from `seed` that is saved with the loss;
    where there are no more classes than K, every class has a proxy of its own. Without num_classes labels are numbers
    of proxies. pytorch-metric-learning rejects labels and draws a proxy for each sample anew in every call, or takes
    proxy numbers in the place of indices_tuple: pass those as labels.

    What to expect: Gentle, since it stops as soon as each sample leans to its own proxy by the small margin; raise the
    margin to 0.05 or so to pack classes more tightly. Time grows with the cube of batch and
    proxies together. One learner of the paper's ensemble, without its search for hard proxies.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), else [0, K). A
    miner's tuples become one weight per sample. The parts are intrinsic_loss and context_loss, one loss per sample.
    Raises: ValueError for a distance that is not the cosine.
    """

    fitting_distances = ("cosine",)
    separates_with = {"margin": 0.05}  # the usual margin is met, and training over, long before classes are apart
    meta_classes: Tensor | None

    def __init__(
        self,
        embedding_size: int,
        K: Annotated[
            int,
            Knob(
                "Proxies, at most one per class; if fewer, classes share them.",
                1,
                10_000,
                log=True,
                needs="num_classes",
                title="Proxies",
            ),
        ] = 50,
        lambdaC: Annotated[
            float | None,
            Knob(
                "Weight of the second part.",
                0.0,
                1000.0,
                symbol=r"\lambda_C",
                none="the second part alone",
                title="Weight of context",
            ),
        ] = 1.0,
        alpha: Annotated[
            float,
            Knob(
                "How likely the walk is to go on: how far it sees.",
                0.01,
                0.99,
                symbol=r"\alpha",
                title="Length of the walk",
            ),
        ] = 0.8,
        margin: Annotated[float, Knob("How far the own proxy must be ahead.", 0.0, 1.0, symbol=r"\delta")] = 5e-4,
        *,
        num_classes: int | None = None,
        seed: int = 0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        require_sizes(self, K if num_classes is None else num_classes, embedding_size)
        self.K = K if num_classes is None else min(K, num_classes)
        self.num_classes = num_classes
        self.lambdaC = lambdaC
        self.alpha = alpha
        self.margin = margin
        self.distance = require_cosine(self, distance)
        self.reducer = reducer or MeanReducer()
        self.proxies = nn.Parameter(torch.randn(self.K, embedding_size))
        shared = None if num_classes is None or num_classes <= self.K else even_partition(num_classes, self.K, seed)
        self.register_buffer("meta_classes", shared)

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the sum of the two parts' means over the batch, a scalar."""
        known = self.K if self.num_classes is None else self.num_classes
        batch = check_proxy_batch(self, embeddings, labels, indices_tuple, ref_emb, num_classes=known)
        own = batch.labels if self.meta_classes is None else self.meta_classes[batch.labels]
        rows = torch.arange(len(own), device=own.device)
        parts: dict[str, LossTerm] = {}
        for name, weight, closeness in self.closenesses(batch.embeddings, batch.proxies):
            losses = weight * one_plus_exp_of_closer(closeness, own, self.margin)
            parts[name] = Items(losses if batch.weights is None else losses * batch.weights, rows, batch.labels)
        return self.reducer(parts, batch.embeddings)

    def closenesses(self, embeddings: Tensor, proxies: Tensor) -> list[tuple[str, float, Tensor]]:
        """Each part's name, its weight, and (B, K): how close it finds each sample to each proxy."""
        intrinsic = ("intrinsic_loss", 1.0)
        if self.lambdaC == 0:
            return [(*intrinsic, self.walk(embeddings, proxies, first=len(embeddings))[: len(embeddings)])]
        ends = self.walk(embeddings, proxies)  # (B + K, B + K)
        of_samples, of_proxies = ends.split([len(embeddings), len(proxies)])
        context = F.normalize(of_samples) @ F.normalize(of_proxies).T
        if self.lambdaC is None:
            return [("context_loss", 1.0, context)]
        return [(*intrinsic, of_samples[:, len(embeddings) :]), ("context_loss", self.lambdaC, context)]

    def walk(self, embeddings: Tensor, proxies: Tensor, first: int = 0) -> Tensor:
        """Where walks from each node end (B + K, B + K - first), for the ends from number `first` on."""
        nodes = torch.cat([embeddings, proxies])
        similarities = (self.distance(nodes).clamp_min(0.0) / SPREAD).exp()
        myself = torch.eye(len(nodes), dtype=similarities.dtype, device=similarities.device)
        similarities = similarities * (1.0 - myself)
        root = similarities.sum(dim=1).rsqrt()
        system = myself - self.alpha * (root[:, None] * similarities * root)
        return torch.linalg.solve(system, (1.0 - self.alpha) * myself[:, first:])

    @outside_autocast
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, K): the cosines to the proxies, one per class, or per meta-class where classes share them."""
        return self.distance(*match_proxies(self, embeddings))


def one_plus_exp_of_closer(closeness: Tensor, own: Tensor, margin: float) -> Tensor:
    """(B,): log(1 + sum of exp(lead + margin)) over the other columns that are ahead of the own one less the margin."""
    at = own[:, None]
    lead = closeness - closeness.gather(1, at) + margin
    counts = (lead >= 0).scatter(1, at, False)
    return log_one_plus_sum_exp(lead, counts, dim=1)


def even_partition(num_classes: int, parts: int, seed: int) -> Tensor:
    """(num_classes,): each class's part, drawn at random, parts differing by one class at most."""
    order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
    return order % parts
