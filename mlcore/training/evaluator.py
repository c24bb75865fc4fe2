"""Evaluates a copy of the model in a thread beside the training, so that training does not wait."""

from __future__ import annotations

import copy
import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.data import ImageTable, Split
from mlcore.evaluation.geometry import angle_histograms
from mlcore.evaluation.metrics import METRICS, Family, mean_values, measure
from mlcore.evaluation.retrieval import nearest
from mlcore.evaluation.side import Side, SideTexts, search_gallery
from mlcore.margins import DrawsMargins, LineRecord, MarginLine
from mlcore.projection import pca
from mlcore.training.embedder import Embedder
from mlcore.training.events import Evaluated, Event, SnapshotTaken, Warned
from mlcore.training.feature_source import FeatureSource, Source, row_chunks
from mlcore.training.methods import EmbedTexts

REST = 6.0
HISTOGRAM_POINTS = 1000  # half a million pairs; numpy keeps the training waiting while it counts more
NEIGHBOURS = 8
HELD_OUT_SHARE = 0.6
HALF_LENGTHS = (0.05, 60_000.0)


class Cancelled(Exception):
    """The run was stopped while an evaluation was going on."""


@dataclass(frozen=True, eq=False)
class WatchSample:
    """The rows that every picture of a run shows, the same at every step.

    Shapes: rows (W,) int64, sorted; labels (W,) int64; held_out (W,) bool.
    """

    rows: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    total: int


def choose_sample(table: ImageTable, split: Split, points: int, seed: int) -> WatchSample:
    """At most `points` rows, spread evenly over the classes; up to 60 % of them held out, where both sides abound."""
    total = len(split.train) + len(split.held_out)
    places = min(points, total)
    held = min(len(split.held_out), max(round(places * HELD_OUT_SHARE), places - len(split.train)))
    generator = np.random.default_rng(seed)
    chosen = [
        spread_over_classes(split.held_out, table.labels, held, generator),
        spread_over_classes(split.train, table.labels, places - held, generator),
    ]
    rows = np.sort(np.concatenate(chosen))
    return WatchSample(rows, table.labels[rows], np.isin(rows, split.held_out), total)


def spread_over_classes(rows: np.ndarray, labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` of the rows, taking a first one of every class, then a second one, and so on."""
    shuffled = generator.permutation(rows)
    order = np.argsort(labels[shuffled], kind="stable")
    ordered = shuffled[order]
    groups = labels[ordered]
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.zeros(0, int)
    rank = np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
    return ordered[np.argsort(rank, kind="stable")[:count]]


class Evaluator:
    """Looks at one copy of the model at a time; what it saw comes out of `seen`, oldest first.

    `last_pca` is the principal components' map of the evaluation before (W [+ C], 3), to which the next one is turned.
    """

    def __init__(
        self,
        table: ImageTable,
        split: Split,
        sample: WatchSample,
        source: Source,
        train_classes: np.ndarray,
        last_pca: np.ndarray | None = None,
    ) -> None:
        self.table = table
        self.split = split
        self.sample = sample
        self.source = source
        self.train_classes = train_classes
        self.last_pca = last_pca
        self.embedded = 0
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._ended = self._took = 0.0

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def may_evaluate(self) -> bool:
        """Whether the last one is over for six times as long as it took: evaluating may take a seventh of a core."""
        return not self.busy and time.perf_counter() - self._ended >= REST * self._took

    def evaluate(
        self,
        step: int,
        model: Embedder,
        loss: nn.Module | None,
        *,
        whole: bool = False,
        embed_texts: EmbedTexts | None = None,
    ) -> None:
        """Begin to evaluate the model as it is now. The one before must be over.

        `loss`: whose proxies and margins are drawn, None for none; `whole`: also the expensive metrics; `embed_texts`:
        where the training method reads texts, what they are to it now (see `TrainingMethod.embed_texts`).
        """
        assert not self.busy, "one model is evaluated at a time"
        self.embedded = 0
        seen: nn.Module = model.head if isinstance(self.source, FeatureSource) else model
        frozen = copy.deepcopy(seen).eval()
        proxies = read_proxies(loss, model.embedding_size)
        drawn: tuple[MarginLine, ...] = loss.margin_lines() if isinstance(loss, DrawsMargins) else ()
        lines = [line.record() for line in drawn]
        work = (step, frozen, proxies, lines, whole, embed_texts)
        self._thread = threading.Thread(target=self._work, args=work, name="evaluator", daemon=True)
        self._thread.start()

    def wait(self, patience_s: float | None = None) -> None:
        """Wait for the end of the evaluation, or until the patience is at its end."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def cancel(self, patience_s: float = 0.5) -> None:
        """Give up what is being evaluated. A search that does not end in time is left to end by itself, unheard."""
        self._cancelled.set()
        self.wait(patience_s)

    def drain_events(self) -> list[Event]:
        """What has come since the last call; raises what the evaluation raised."""
        events = []
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, BaseException):
                raise event
            events.append(event)
        return events

    def _work(
        self,
        step: int,
        model: nn.Module,
        proxies: np.ndarray | None,
        lines: list[LineRecord],
        whole: bool,
        embed_texts: EmbedTexts | None,
    ) -> None:
        start = time.perf_counter()
        try:
            features, embeddings = self._embed(model, keep_features=step == 0)
            if not np.isfinite(embeddings).all():
                text = f"The embeddings of step {step} hold numbers that are not finite, so there is no picture of it."
                self._events.put(Warned(step, text))
                return
            self._events.put(SnapshotTaken(step, self._picture(embeddings, proxies)))
            texts = embed_texts() if embed_texts else {}
            self._events.put(self._metrics(step, features, embeddings, proxies, lines, start, whole, texts))
        except Cancelled:
            return
        except Exception as error:
            self._events.put(error)
        finally:
            self._ended = time.perf_counter()
            self._took = self._ended - start

    @torch.inference_mode()
    def _embed(self, model: nn.Module, *, keep_features: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """Features (if kept, and not the embeddings themselves) and embeddings of every row of the table, float32.

        `model` is a whole one, or where features are there before, a head.
        """
        source, kept, found = self.source, None, None
        head: nn.Module
        read: Callable[[np.ndarray], Tensor]
        if isinstance(source, FeatureSource):
            head, read = model, source.read
        else:
            assert isinstance(model, Embedder)
            head, read = model.head, functools.partial(source.features, model)
        for rows in row_chunks(len(self.table)):
            if self._cancelled.is_set():
                raise Cancelled
            features = read(rows)
            embeddings = head(features).float().cpu().numpy()
            if found is None:
                found = np.empty((len(self.table), embeddings.shape[1]), np.float32)
            found[rows] = embeddings
            if keep_features and not isinstance(source, FeatureSource):
                if kept is None:
                    kept = np.empty((len(self.table), features.shape[1]), np.float32)
                kept[rows] = features.float().cpu().numpy()
            self.embedded = int(rows[-1]) + 1
        assert found is not None, "a table has rows"
        if not keep_features or isinstance(head, nn.Identity):
            return None, found
        return source.table if isinstance(source, FeatureSource) else kept, found

    def _picture(self, embeddings: np.ndarray, proxies: np.ndarray | None) -> dict[str, np.ndarray]:
        """The arrays of a picture: embeddings (W, D) f16, pca (W, 3) f32, neighbours (W, 8) positions in the sample of
        the same split (of a query: in the gallery, which itself asks nothing), -1 for none, with similarities (W, 8)
        f16; proxies (C, D) f16, proxy_pca (C, 3) f32 and proxy_labels (C,) if any."""
        sample = self.sample
        watched = embeddings[sample.rows]
        stacked = watched if proxies is None else np.concatenate([watched, proxies])
        alike = self.last_pca is not None and len(self.last_pca) == len(stacked)
        layout = pca(stacked, 3, previous=self.last_pca if alike else None)
        self.last_pca = layout
        neighbours = np.full((len(watched), NEIGHBOURS), -1, dtype=np.int32)
        similarities = np.zeros((len(watched), NEIGHBOURS), dtype=np.float16)
        for asking, searched in self._searches():
            gallery = None if searched is asking else watched[searched]
            k = min(NEIGHBOURS, len(searched) - (gallery is None)) if len(asking) else 0
            if k > 0:
                found, cosines = nearest(watched[asking], k, gallery=gallery)
                neighbours[asking, :k] = searched[found]
                similarities[asking, :k] = cosines
        arrays = {
            "embeddings": to_float16(watched),
            "pca": layout[: len(watched)],
            "neighbours": neighbours,
            "similarities": similarities,
        }
        if proxies is not None:
            arrays |= {
                "proxies": to_float16(proxies),
                "proxy_pca": layout[len(watched) :],
                "proxy_labels": self.train_classes,
            }
        return arrays

    def _searches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Places in the sample that ask, and those that they search: each side itself, but queries a gallery."""
        train, held_out = np.flatnonzero(~self.sample.held_out), np.flatnonzero(self.sample.held_out)
        if self.split.search is None:
            return [(train, train), (held_out, held_out)]
        asking, searched = (np.flatnonzero(np.isin(self.sample.rows, rows)) for rows in self.split.search)
        return [(train, train), (asking, searched)]

    def _metrics(
        self,
        step: int,
        features: np.ndarray | None,
        embeddings: np.ndarray,
        proxies: np.ndarray | None,
        lines: list[LineRecord],
        start: float,
        whole: bool,
        texts: Mapping[str, SideTexts],
    ) -> Evaluated:
        metrics = METRICS.of() if whole else METRICS.of(expensive=False)
        scores, angles = {}, {}
        for name in ("held_out", "train"):
            if self._cancelled.is_set():
                raise Cancelled
            side = self._side(name, embeddings, texts.get(name))
            scores[name] = mean_values(side, measure(side, metrics))
            angles[name] = angle_histograms(
                side.embeddings, side.labels, proxies, self.train_classes, max_points=HISTOGRAM_POINTS
            )
        raw = None
        if step == 0:
            raw = scores["held_out"]
            if features is not None:
                side = self._side("held_out", features)
                raw = mean_values(side, measure(side, METRICS.of(Family.RETRIEVAL, expensive=False)))
        seconds = time.perf_counter() - start
        return Evaluated(step, seconds, scores["held_out"], scores["train"], raw, angles, lines)

    def _side(self, name: str, embeddings: np.ndarray, texts: SideTexts | None = None) -> Side:
        """A side among itself, or its queries and their gallery where the split names them."""
        labels, split = self.table.labels, self.split
        rows = split.held_out if name == "held_out" else split.train
        search = None
        if name == "held_out" and split.search is not None:
            asking, gallery = split.search
            search = search_gallery(embeddings[asking], labels[asking], embeddings[gallery], labels[gallery])
        return Side(embeddings[rows], labels[rows], search, texts)


def to_float16(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) as float16; one that is too long or too short for that comes out with length one.

    Maps and searches look at directions only, and those must survive whatever a learning rate does to the lengths.
    """
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    fits = (lengths < HALF_LENGTHS[1]) & ((lengths > HALF_LENGTHS[0]) | (lengths == 0))
    return (rows / np.where(fits, 1.0, np.maximum(lengths, np.finfo(np.float64).tiny))).astype(np.float16)


def read_proxies(loss: nn.Module | None, embedding_size: int) -> np.ndarray | None:
    """The loss's proxies (C, D) float32 on the CPU, if it has one per class that is as long as an embedding."""
    proxies = getattr(loss, "proxies", None)
    if proxies is None or proxies.ndim != 2 or proxies.shape[1] != embedding_size:
        return None
    return proxies.detach().float().cpu().numpy().copy()
