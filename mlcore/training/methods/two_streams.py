"""Two streams: questions from one, answers from the other."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.training.methods.method import (
    MakeLoss,
    MethodBatch,
    Outcome,
    TrainingMethod,
    refuse_without_reference,
)
from mlcore.training.methods.registry import METHODS
from mlcore.traits import MethodTrait
from mlcore.tuples import Miner


@METHODS.add(
    "two_streams",
    title="Two streams",
    family="training method",
    formula=r"L(z,\,y;\ z',\,y)",
    paper="No paper of its own; Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("TwoStreamMetricLoss (pytorch-metric-learning)", "two towers", "cross-modal"),
    traits=(MethodTrait.TWO_VIEWS, MethodTrait.NO_PROXIES),
)
class TwoStreamMetricLoss(TrainingMethod):
    """Compares the first rendering of each image with the second of every image, never two of one stream.

    Anchors come from the first stream, positives and negatives from the second: an image's own other rendering and
    those of its class are positives. pytorch-metric-learning joins both streams into one batch and writes down
    every triplet across them; here the loss gets the second stream as its reference, which for triplet losses is the
    same, while pair losses count each pair once.

    What to expect: For queries that differ in kind from what is searched: sketch and photo, day and night, the plain
    and the changed picture. A `second_head` maps the second stream on its own, from a random start; it only pays where
    the streams really differ. Evaluation embeds with the first head.

    Shapes: two views of features (B, F), row by row of one label; labels (B,).
    Raises: ValueError for a loss with proxies or without ref_emb, and for a second head without feature_size.
    """

    views = 2

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        embedding_size: int,
        *,
        second_head: Annotated[
            bool,
            Knob("The second stream has a linear head of its own; otherwise both share one.", needs="feature_size"),
        ] = False,
        feature_size: int | None = None,
    ) -> None:
        super().__init__(make_loss, miner, embedding_size)
        refuse_without_reference("two_streams", self.loss)
        self.second_head: nn.Linear | None = None
        if second_head:
            if feature_size is None:
                raise ValueError("two_streams: second_head must come with feature_size; got None. Pass feature_size.")
            self.second_head = nn.Linear(feature_size, embedding_size)

    def embed(self, head: nn.Module, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        queries, answers = features
        return head(queries), head(answers) if self.second_head is None else self.second_head(answers)

    def outcome(self, batch: MethodBatch) -> Outcome:
        queries, answers = batch.embeddings
        return self.loss_across(queries, answers, batch.labels)
