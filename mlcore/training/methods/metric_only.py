"""The metric loss and nothing else."""

from __future__ import annotations

from mlcore.training.methods.method import MakeLoss, MethodBatch, Outcome, TrainingMethod, one_number, sum_outcome
from mlcore.training.methods.registry import METHODS
from mlcore.traits import MethodTrait
from mlcore.tuples import Miner


@METHODS.add(
    "metric_only",
    title="Metric loss only",
    family="training method",
    formula=r"L(z, y)",
    paper="No paper of its own; Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("MetricLossOnly (pytorch-metric-learning)",),
    traits=(MethodTrait.CLASS_SHARES,),
)
class MetricLossOnly(TrainingMethod):
    """Trains backbone and head on the chosen loss over the tuples of the chosen miner.

    What to expect: The usual way, and what every other method is to be compared with.

    Shapes: one view of features (B, F); labels (B,), or (B, C) shares where the loss takes them.
    """

    def __init__(self, make_loss: MakeLoss, miner: Miner | None, embedding_size: int) -> None:
        super().__init__(make_loss, miner, embedding_size)

    def outcome(self, batch: MethodBatch) -> Outcome:
        tuples = self.mine(batch.embeddings[0], batch.labels)
        return sum_outcome({"metric": one_number(self.loss, batch.embeddings[0], batch.labels, tuples)}, tuples)
