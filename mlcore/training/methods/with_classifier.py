"""The metric loss together with a classifier on the embeddings."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.training.methods.method import MakeLoss, MethodBatch, Outcome, TrainingMethod, one_number, sum_outcome
from mlcore.training.methods.registry import METHODS
from mlcore.tuples import Miner


@METHODS.add(
    "with_classifier",
    title="With a classifier",
    family="training method",
    formula=r"L(z,y)+\lambda\,\mathrm{CE}_{\epsilon}(Wz+b,\,y)",
    paper="Sun et al., NeurIPS 2014, arXiv:1406.4773, eq. 3 (identification and verification together)",
    aliases=("TrainWithClassifier (pytorch-metric-learning)", "joint identification and verification"),
)
class TrainWithClassifier(TrainingMethod):
    """Adds the cross-entropy of a linear classifier on the embeddings to the metric loss.

    The classifier sees embeddings as they are, not scaled to length 1, and is thrown away after training. It gives a
    steady gradient from the first step on, while a loss on tuples may find few.

    What to expect: Helps where tuples are scarce, such as triplet losses with small batches. Beside a loss with proxies
    it adds little: that is a classifier already. Cross-entropy is large beside a triplet loss, so look at the two
    shares: a weight that is too large makes it a plain classifier, whose embeddings suit the training classes.

    Shapes: one view of features (B, F); labels (B,) whole numbers in [0, num_classes).
    Raises: ValueError for labels outside.
    """

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        num_classes: int,
        embedding_size: int,
        *,
        classifier_weight: Annotated[
            float, Knob("Weight of the classifier's loss beside the metric loss.", 0.0, 100.0, symbol=r"\lambda")
        ] = 1.0,
        label_smoothing: Annotated[
            float, Knob("Share of the truth that is spread over all classes.", 0.0, 0.9, symbol=r"\epsilon")
        ] = 0.0,
    ) -> None:
        super().__init__(make_loss, miner, embedding_size)
        self.classifier_weight = classifier_weight
        self.label_smoothing = label_smoothing
        self.classifier = nn.Linear(embedding_size, num_classes)

    def outcome(self, batch: MethodBatch) -> Outcome:
        embeddings, labels = batch.embeddings[0], batch.labels
        tuples = self.mine(embeddings, labels)
        shares = {"metric": one_number(self.loss, embeddings, labels, tuples)}
        shares["classifier"] = self.classifier_weight * self.classification(embeddings, labels)
        return sum_outcome(shares, tuples)

    def classification(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        outside = (labels < 0) | (labels >= self.classifier.out_features)
        if bool(outside.any()):
            raise ValueError(
                f"with_classifier: labels must lie in [0, {self.classifier.out_features}), one number per class; got "
                f"{int(labels[outside][0])}. Renumber the classes from 0, or build it with more num_classes."
            )
        return F.cross_entropy(self.classifier(embeddings), labels, label_smoothing=self.label_smoothing)
