"""Maximum loss: of a few random subsets of the batch, the one that loses most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.miners.draws import SEED, DrawingMiner
from mlcore.miners.registry import SUBSET_MINERS


@SUBSET_MINERS.add(
    "maximum_loss",
    title="Maximum loss",
    family="subset",
    formula=r"\arg\max_{S\in\{S_1,\dots,S_t\}}L(S),\quad |S_i|=k",
    paper="No paper of its own; pytorch-metric-learning before 2.0, Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("MaximumLossMiner (pytorch-metric-learning)",),
)
class MaximumLossMiner(DrawingMiner):
    """Tries random subsets of a large batch without gradient and returns the rows of the one with the largest loss.

    A subset miner: it runs before the step that keeps a graph, and gives rows of the batch, not tuples. Embed a large
    batch without gradient, mine, then embed those rows again and train on them. `min_loss`, `avg_loss` and `max_loss`
    hold the losses of the last call's trials.

    What to expect: A slow climb with few trials: the mean of a random subset varies little, so the largest is hardly
    above the average. The loss is asked in evaluation mode, so that trying changes nothing in it.

    Shapes: embeddings (B, D), labels (B,); returns (output_batch_size,) long, each row at most once; all rows in
    order when the batch has no more than that. Draws from its own generator (miners/draws.py).
    Raises: ValueError if the loss does not give one number per batch.
    """

    loss: Callable[..., object]
    miner: Callable[..., object] | None

    def __init__(
        self,
        loss: Callable[..., object],
        output_batch_size: Annotated[int, Knob("Rows to train on.", 1, 1_000_000, symbol="k")] = 32,
        *,
        miner: Callable[..., object] | None = None,
        num_trials: Annotated[int, Knob("Subsets tried.", 1, 1000, symbol="t")] = 5,
        seed: Annotated[int, SEED] = 0,
    ) -> None:
        super().__init__(seed)
        object.__setattr__(self, "loss", loss)  # not a child: its weights are the trainer's to save and to train
        object.__setattr__(self, "miner", miner)
        self.output_batch_size = output_batch_size
        self.num_trials = num_trials
        self.min_loss = self.avg_loss = self.max_loss = 0.0

    @torch.no_grad()
    def forward(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None = None, ref_labels: Tensor | None = None
    ) -> Tensor:
        self.start_draws()
        count = len(embeddings)
        if count <= self.output_batch_size:
            return torch.arange(count, device=embeddings.device)
        training = self.loss if isinstance(self.loss, nn.Module) and self.loss.training else None
        trials = [self.subset(count).to(embeddings.device) for _ in range(self.num_trials)]
        try:
            if training is not None:
                training.eval()
            losses = torch.stack([self.value(embeddings[rows], labels[rows], ref_emb, ref_labels) for rows in trials])
        finally:
            if training is not None:
                training.train()
        self.min_loss, self.avg_loss, self.max_loss = losses.min().item(), losses.mean().item(), losses.max().item()
        return trials[int(losses.argmax())]

    def subset(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)[: self.output_batch_size]

    def value(self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None, ref_labels: Tensor | None) -> Tensor:
        reference = () if ref_emb is None else (ref_emb, ref_labels)
        tuples = None if self.miner is None else self.miner(embeddings, labels, *reference)
        loss = self.loss(embeddings, labels, tuples, *reference)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(
                f"maximum_loss: the loss must give one number; got {type(loss).__name__}. Pass a loss whose reducer "
                "gives a mean or a sum."
            )
        return loss.reshape(())
