"""Images found by typed words, in a run that was trained on texts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from safetensors.torch import load as load_tensors

from mlcore.catalogue import registry
from mlcore.data import ImageTable, load
from mlcore.runs.attempt import Attempt
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import History, training_fingerprint
from mlcore.runs.records import FileEntry
from mlcore.spec.data_split import build_split
from mlcore.spec.defaults import reads_texts
from mlcore.spec.run_spec import RunSpec
from mlcore.text import ImageTexts, Texts, build_tower
from mlcore.text.encoder import TextEncoder
from mlcore.text.image_texts import normalize_text
from mlcore.text.small import WORD, fold_case
from mlcore.traits import TextEncoderTrait

SIDES = ("held_out", "train", "all")
WORDS_LIMIT = 1000  # characters
TOWER = "method/tower."


class Hit(TypedDict):
    """An image that was found: its row in the set, its place in the watched sample, and what is said of it."""

    row: int
    place: int
    similarity: float
    class_name: str
    image_name: str
    text: str


@dataclass(frozen=True, eq=False)
class Moment:
    """Images and texts in one space as they were: `step` of the images, `text_step` of the tower.

    Shapes: images (W, D) float32 of length 1 (or 0), of the watched sample.
    """

    step: int
    text_step: int
    images: np.ndarray
    tower: TextEncoder


class WordSearch:
    """Searches the images that a run watches by typed words; light, since only the text side is computed.

    The images' embeddings are those of the run's pictures, the text side comes from its newest checkpoint that goes
    with one of them. `before` is step 0, `now` None until the first checkpoint.

    Raises: ValueError for a run that reads no texts or has no picture yet, and where its encoder is not installed.
    """

    def __init__(self, run: RunFolder) -> None:
        self.spec = run.spec
        if not reads_texts(self.spec.method.key):
            raise ValueError(
                f"{run.title()} was not trained on texts, so words find nothing in it. Train one: python -m mlcore "
                "train --dataset emoji --method image_text --loss siglip"
            )
        history = History(run)
        history.refresh()
        watched = run.watch()
        if watched is None or not history.snapshots:
            raise ValueError(f"{run.title()} has no picture of its images yet: it is {run.state}. Wait for the first.")
        self.sample, self.names = watched
        self.texts, self.heard = self._texts_of(run)
        self.known = {text: number for number, text in enumerate(self.texts.names)} if self.texts else {}
        first = min(history.snapshots)
        self.before = (
            Moment(first, 0, self._images(history, first), self._tower(history, first)) if first == 0 else None
        )
        self.now = self._now(run, history)
        self._inputs: torch.Tensor | None = None

    def find(self, words: str, *, count: int = 12, side: str = "held_out", moment: Moment | None = None) -> list[Hit]:
        """The `count` images of a side nearest to the words, the nearest first, at a moment (None: now).

        Raises: ValueError for no words, too many, an unknown side or a run without a checkpoint.
        """
        text = normalize_text(words)
        if not text or len(text) > WORDS_LIMIT:
            raise ValueError(f"Type a word or more, at most {WORDS_LIMIT} characters; got {len(text)}.")
        if side not in SIDES:
            raise ValueError(f"side must be one of {', '.join(SIDES)}; got '{side}'.")
        if count < 1:
            raise ValueError(f"count must be at least 1; got {count}.")
        at = moment or self.trained()
        places = np.arange(len(at.images))
        if side != "all":
            held = self.sample["held_out"].astype(bool)
            places = np.flatnonzero(held if side == "held_out" else ~held)
        cosines = at.images[places] @ self.embed(text, at.tower)
        order = np.argsort(-cosines, kind="stable")[:count]
        return [self._hit(int(places[one]), float(cosines[one])) for one in order]

    def trained(self) -> Moment:
        """Now. Raises: ValueError before the first checkpoint."""
        if self.now is None:
            raise ValueError("The run has no checkpoint yet, and so no trained text side. It keeps one at its looks.")
        return self.now

    def find_unknown_words(self, words: str) -> list[str]:
        """Those of the typed words that stand in no training text; [] where the texts are not at hand."""
        if not self.heard:
            return []
        return [word for word in dict.fromkeys(WORD.findall(fold_case(words))) if word not in self.heard]

    @torch.inference_mode()
    def embed(self, text: str, tower: TextEncoder) -> np.ndarray:
        """(D,) float32 of length 1. A text of the set is looked up where its sentence embedding is kept."""
        number = self.known.get(text)
        if self.texts is not None and number is not None and TextEncoderTrait.FROZEN in self._encoder_traits():
            if self._inputs is None:
                self._inputs = tower.prepare(self.texts.names)
            inputs = self._inputs[number : number + 1]
        else:
            inputs = tower.prepare([text])
        return normalize_rows(tower(inputs).float().numpy())[0]

    def text_of(self, row: int) -> str:
        """An image's own text by its row in the set, '' where it has none or the set is not at hand."""
        if self.texts is None or self.texts.numbers[row] < 0:
            return ""
        return self.texts.names[self.texts.numbers[row]]

    def _encoder_traits(self) -> tuple[str, ...]:
        return registry("text_encoders")[str(self.spec.method.params["encoder"])].traits

    def _hit(self, place: int, similarity: float) -> Hit:
        row = int(self.sample["ids"][place])
        class_name = str(self.names["class_names"][int(self.sample["labels"][place])])
        return {
            "row": row,
            "place": place,
            "similarity": similarity,
            "class_name": class_name,
            "image_name": str(self.names["image_names"][place]),
            "text": self.text_of(row),
        }

    def _texts_of(self, run: RunFolder) -> tuple[Texts | None, frozenset[str]]:
        """The run's texts and the words of those it was trained on; nothing where the set is gone or another."""
        try:
            table = load(self.spec.dataset.key, **self.spec.dataset.params)
            if training_fingerprint(run) not in ("", table.fingerprint):
                return None, frozenset()
            texts = load_texts(self.spec, table)
        except (ValueError, OSError):
            return None, frozenset()
        trained = np.unique(texts.numbers[texts.train])
        words = (word for number in trained if number >= 0 for word in WORD.findall(fold_case(texts.names[number])))
        return texts, frozenset(words)

    def _images(self, history: History, step: int) -> np.ndarray:
        attempt, entry = history.snapshots[step]
        return normalize_rows(attempt.read_arrays(entry)["embeddings"].astype(np.float32))

    def _tower(self, history: History, step: int) -> TextEncoder:
        size = self._images(history, step).shape[1]
        return build_tower(self.spec.method.params, size, self.spec.seed).eval()

    def _now(self, run: RunFolder, history: History) -> Moment | None:
        kept = list_checkpoints(run)
        together = [found for found in kept if found[1]["step"] in history.snapshots]
        for attempt, entry in together + [found for found in kept if found not in together]:
            with contextlib.suppress(ValueError):
                tensors = load_tensors(attempt.read_bytes(entry))
                step = min(history.snapshots, key=lambda known: (abs(known - entry["step"]), -known))
                tower = self._tower(history, step)
                own = {name.removeprefix(TOWER): value for name, value in tensors.items() if name.startswith(TOWER)}
                tower.load_state_dict(own, strict=True)
                return Moment(step, entry["step"], self._images(history, step), tower)
        return None


class Answer(TypedDict):
    """What `search_words` gives, as plain values."""

    run_id: str
    name: str
    words: str
    side: str
    step: int
    text_step: int
    unheard: list[str]
    found: list[Hit]


def search_words(
    run: RunFolder, words: str, *, count: int = 10, side: str = "held_out", untrained: bool = False
) -> Answer:
    """What the words find, as plain values: `found` the nearest first, `unheard` the words of no training text.

    Raises: ValueError as `WordSearch` does, and for an untrained state whose picture is gone.
    """
    search = WordSearch(run)
    moment = search.before if untrained else search.trained()
    if moment is None:
        raise ValueError(f"{run.title()} has no picture of step 0. Leave --untrained out.")
    found = search.find(words, count=count, side=side, moment=moment)
    return {
        "run_id": run.run_id,
        "name": run.title(),
        "words": normalize_text(words),
        "side": side,
        "step": moment.step,
        "text_step": moment.text_step,
        "unheard": search.find_unknown_words(words),
        "found": found,
    }


def load_texts(spec: RunSpec, table: ImageTable) -> Texts:
    """The texts that a run of `spec` reads."""
    sides = build_split(spec.dataset, table)
    offered = ImageTexts(table.texts, table.class_names, table.labels, sides.train, sides.held_out)
    return offered.taken(str(spec.method.params["texts"]))


def list_checkpoints(run: RunFolder) -> list[tuple[Attempt, FileEntry]]:
    """Every checkpoint of a run, the newest first."""
    return [(attempt, entry) for attempt in reversed(run.attempts()) for entry in reversed(attempt.checkpoints())]


def normalize_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) at length 1; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
