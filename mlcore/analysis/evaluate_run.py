"""A run's model again, rebuilt from its last checkpoint: every metric, by any tester, against any reference."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.data import ImageTable
from mlcore.declare import nearest_word
from mlcore.evaluation.mean_std import Figures
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.evaluation.testers import TESTERS
from mlcore.runs.checkpoints import last_checkpoint
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import History, training_fingerprint
from mlcore.training.before_first_step import open_computed_features, start_head
from mlcore.training.checkpoint import unpack_modules
from mlcore.training.events import TrainingFault
from mlcore.training.prepare import Prepared, load_table, prepare

SHORT_NAMES = {
    "global": "global_embedding_space",
    "same_parent": "with_same_parent_label",
    "two_streams": "global_two_stream_embedding_space",
}
REFERENCES = ("self", "sets_combined", "training", "gallery")
SIDES = ("held_out", "train")
BATCH = 128


@dataclass(frozen=True)
class Question:
    """`tester`: a key of TESTERS. `pca`: to how many dimensions embeddings are reduced first, None for not at all."""

    tester: str
    reference: str
    side: str
    pca: int | None


OneClass = TypedDict(
    "OneClass",
    {"class": str, "images": int, "figures": Mapping[str, float], "untrained": Mapping[str, float] | None},
)


class Evaluation(TypedDict):
    """What `evaluate_run` answers, as plain values."""

    run_id: str
    name: str
    dataset: str
    step: int
    tester: str
    reference: str
    side: str
    pca: int | None
    images: int
    classes: int
    figures: Figures
    untrained: Figures | None
    no_training: Figures | None
    per_class: list[OneClass] | None


def evaluate_run(
    run: RunFolder,
    *,
    tester: str = "global",
    reference: str = "self",
    side: str = "held_out",
    pca: int | None = None,
    per_class: bool = False,
    untrained: bool = False,
) -> Evaluation:
    """Rebuild a run's model from its last checkpoint, embed a whole side of its split and measure everything.

    `tester` is a key of TESTERS or its short name. `reference` is what is searched: the side itself, both sides of the
    split together, the training side, or the gallery of an official split, which its queries alone ask (as the run's
    own looks do where there is one). Two streams: the first half of each class's images, in the table's order,
    searches among the second half (of the emoji, one designer's among the other's).

    The answer is plain: what was asked, `step`, `images`, `classes`, `figures` (the metrics of embeddings, with how
    many queries there were), with `untrained` the same of the weights of step 0, else None, `no_training` the metrics
    of the backbone's own features as the run's first look told them, None where it was asked another question, and
    with `per_class` a list of classes with their own, the worst MAP@R first, else None. Metrics are None where no
    query had anything to find.

    What to expect: The metrics of a run's last look, where they are the same, to about three digits. The whole gallery
    is sorted for each query. torch's threads and random state are left as they were.

    Raises: ValueError if there is no checkpoint yet, the data is missing or another, or the question does not fit it.
    """
    question = Question(tester_key(tester), reference, side, pca)
    for name, given, known in (("reference", reference, REFERENCES), ("side", side, SIDES)):
        if given not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got '{given}'.")
    checkpoint = last_checkpoint(run)
    with torch_as_it_was():
        prepared, step = rebuild_run(run, checkpoint)
        named, found = measure_side(prepared, step, question, per_class)
        before, found_before = measure_side(*rebuild_run(run, None), question, per_class) if untrained else (None, {})
    rows = rows_asking(prepared, question)
    sizes = np.bincount(prepared.table.labels[rows], minlength=len(prepared.table.class_names))
    classes: list[OneClass] = [
        {
            "class": prepared.table.class_names[number],
            "images": int(sizes[number]),
            "figures": metrics,
            "untrained": found_before.get(number),
        }
        for number, metrics in sorted(found.items(), key=lambda item: (item[1][PRIMARY], item[0]))
    ]
    return {
        "run_id": run.run_id,
        "name": run.title(),
        "dataset": prepared.table.key,
        "step": step,
        "tester": question.tester,
        "reference": question.reference,
        "side": question.side,
        "pca": question.pca,
        "images": len(rows),
        "classes": int((sizes > 0).sum()),
        "figures": named,
        "untrained": before,
        "no_training": no_training(run, prepared, question),
        "per_class": classes if per_class else None,
    }


def no_training(run: RunFolder, prepared: Prepared, question: Question) -> Figures | None:
    """What the run's first look told of the backbone's own features, if it was asked the same question."""
    reference = "self" if prepared.split.queries is None else "gallery"
    usual = Question(SHORT_NAMES["global"], reference, "held_out", None)
    history = History(run)
    history.refresh()
    if question != usual or not history.evaluations or history.evaluations[0]["step"] != 0:
        return None
    return history.evaluations[0].get("backbone")


def tester_key(name: str) -> str:
    """The key in TESTERS of a tester's short name or key."""
    key = SHORT_NAMES.get(name, name)
    if key not in TESTERS:
        raise ValueError(f"There is no tester '{name}'.{nearest_word(name, [*SHORT_NAMES, *TESTERS])}")
    return key


def rebuild_run(run: RunFolder, checkpoint: bytes | None) -> tuple[Prepared, int]:
    """The run's parts as they were at the checkpoint, or without one at step 0, and that step. Its teacher is not
    asked for again."""
    try:
        table = load_table(run.spec)
        if training_fingerprint(run) not in ("", table.fingerprint):
            raise ValueError(
                f"The images of '{table.key}' are not those that {run.title()} was trained on, so its metrics would "
                "not be its own. Train it again on the present ones."
            )
        prepared, step = prepare(run.spec.changed({"teacher": None})), 0
        if checkpoint is not None:
            step = unpack_modules(checkpoint, prepared.state.modules, run.record.sha256)
        open_computed_features(prepared)
        if checkpoint is None:
            deque(start_head(prepared, lambda: False), maxlen=0)
    except TrainingFault as fault:
        raise ValueError(fault.text) from fault
    return prepared, step


def measure_side(
    prepared: Prepared, step: int, question: Question, per_class: bool
) -> tuple[Figures, dict[int, dict[str, float]]]:
    """A side's metrics by name, and (if `per_class`) those of each of its classes by number."""
    check_fit(prepared, question)
    side = question.side
    streams = question.tester == SHORT_NAMES["two_streams"]
    needed = [side] if streams else SIDES
    rows = {name: getattr(prepared.split, name) for name in needed}
    if question.reference == "gallery":
        rows = {side: prepared.split.queries, "gallery": prepared.split.gallery}
    if streams:
        rows = {name: pair_rows(prepared.table.labels, rows[name]) for name in rows}
    references = {"self": [side], "sets_combined": list(SIDES), "training": ["train"], "gallery": ["gallery"]}[
        question.reference
    ]
    tests = TESTERS[question.tester].build(batch_size=BATCH, pca=question.pca, per_class=per_class)
    found = tests.test(
        rows, step, Looking(prepared), splits_to_eval=[(side, references)], collate_fn=make_collate(prepared.table)
    )[side]
    told = [name for name in (*METRICS, "queries", "lone_queries") if f"{name}_level0" in found]
    return {name: found[f"{name}_level0"] for name in told}, found.get("per_class_level0", {})


def rows_asking(prepared: Prepared, question: Question) -> np.ndarray:
    queries = prepared.split.queries
    if question.reference == "gallery" and queries is not None:
        return queries
    return prepared.split.held_out if question.side == "held_out" else prepared.split.train


def check_fit(prepared: Prepared, question: Question) -> None:
    """ValueError, in words of the question, where a tester would have nothing to find."""
    tester, reference, side, pca = question.tester, question.reference, question.side, question.pca
    table, split = prepared.table, prepared.split
    if tester == SHORT_NAMES["same_parent"] and table.parents is None:
        raise ValueError(
            f"The tester with the same parent label needs classes with parents; '{table.key}' has none. Use global."
        )
    if tester == SHORT_NAMES["two_streams"] and reference != "self":
        raise ValueError(f"Two streams are tested within a side, with reference self; got '{reference}'.")
    if reference == "gallery" and (side != "held_out" or split.queries is None):
        raise ValueError(
            "A gallery is what an official split searches for its held-out queries; this run or side has none. Use "
            "reference self."
        )
    unseen = not np.isin(table.labels[split.held_out], table.labels[split.train]).any()
    if reference == "training" and side == "held_out" and unseen:
        raise ValueError(
            "The held-out classes are not in the training set, so nothing can be found there. Use reference self or "
            "sets_combined, or a run that holds out images (dataset.split=sample)."
        )
    width = prepared.model.embedding_size
    if pca is not None and not 1 <= pca <= width:
        raise ValueError(f"pca must be between 1 and the embeddings' {width} dimensions; got {pca}.")


class Looking(nn.Module):
    """From row numbers of the table to embeddings, as the training makes them."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self.model = prepared.eval_model
        self.source = prepared.features.source

    def forward(self, rows: np.ndarray) -> Tensor:
        return self.model.head(self.source.features(self.model, rows))


def make_collate(table: ImageTable) -> Callable[[list[object]], tuple[object, ...]]:
    """What makes of a batch of row numbers, or of pairs of them, the streams of rows and their labels (B, levels)."""
    levels = torch.from_numpy(table.label_levels)

    def collated(rows: list[object]) -> tuple[object, ...]:
        streams = np.ascontiguousarray(np.asarray(rows).reshape(len(rows), -1).T)
        return *streams, levels[torch.from_numpy(streams[0])]

    return collated


def pair_rows(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(pairs, 2) rows: the k-th image of the first half of each class beside the k-th of the second half.

    The last image of a class with an odd number of them has no partner.
    """
    pairs = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        half = len(own) // 2
        pairs.append(np.stack([own[:half], own[half : 2 * half]], axis=1))
    found = np.concatenate(pairs)
    if len(found) == 0:
        raise ValueError("Two streams need classes of at least two images; every class of this side has one.")
    return found


@contextlib.contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Threads, random state and determinism of torch, which a training sets for itself, are put back."""
    threads = torch.get_num_threads()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict, warn_only=warns)
