"""From a run's folder to what a page draws: the watched sample, a snapshot's arrays, the map of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from mlcore.runs.attempt import Attempt
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import FrozenHistory
from mlcore.runs.records import EvaluatedRecord, NamedNumbers

UMAP, PCA, PCA3, TRUE2, TRUE3 = "umap-2d", "pca-2d", "pca-3d", "true-2d", "true-3d"
SNAPSHOT = ("embeddings", "pca", "neighbours", "similarities")  # arrays of every snapshot, a row an image
METHODS = {UMAP: "UMAP", PCA: "PCA", PCA3: "PCA 3-D", TRUE2: "2-D", TRUE3: "3-D"}


@dataclass(frozen=True, eq=False)
class WatchSample:
    """The fixed sample of a run. Shapes: ids, labels (W,) int; held_out (W,) bool."""

    ids: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    class_names: tuple[str, ...]
    image_names: tuple[str, ...]
    dataset: str
    total: int

    def unseen_classes(self, split: str) -> bool:
        """Whether classes are held out. A split that the data came with may hold out either: then the sample tells."""
        if split in ("class", "sample"):
            return split == "class"
        return not np.isin(self.labels[self.held_out], self.labels[~self.held_out]).any()

    def place(self, sample: int | None) -> int | None:
        """Where in the arrays a sample id stands."""
        if sample is None:
            return None
        found = int(np.searchsorted(self.ids, sample))
        return found if found < len(self.ids) and self.ids[found] == sample else None


@dataclass(frozen=True, eq=False)
class Picture:
    """The map of one step. `message` says what the method cannot show yet; `faith` how far it can be believed."""

    step: int
    method: str
    dims: int
    points: np.ndarray
    proxies: np.ndarray | None
    proxy_labels: np.ndarray | None
    faith: NamedNumbers | None
    message: str


def read_watch_sample(run: RunFolder) -> WatchSample | None:
    """The run's watched sample, or None before it is chosen; ValueError with a sentence if its files are damaged."""
    return _read_watch_sample(str(run.path)) if run.has_watch() else None


@st.cache_resource(max_entries=64, show_spinner=False)
def _read_watch_sample(path: str) -> WatchSample:
    found = RunFolder(Path(path)).watch()
    if found is None:
        raise ValueError("watch.json is missing")
    arrays, names = found
    return WatchSample(
        ids=arrays["ids"].astype(np.int64),
        labels=arrays["labels"].astype(np.int64),
        held_out=arrays["held_out"].astype(bool),
        class_names=tuple(map(str, names["class_names"])),
        image_names=tuple(map(str, names["image_names"])),
        dataset=str(names["dataset"]),
        total=int(names["total"]),
    )


def read_snapshot(history: FrozenHistory, step: int, count: int | None) -> dict[str, np.ndarray]:
    """A snapshot's arrays, a row for each of the `count` watched images (None: however many); ValueError with a
    sentence if damaged."""
    attempt, entry = history.snapshots[step]
    arrays = _arrays(attempt, str(attempt.path), entry["file"], entry["sha256"], "")
    if not all(name in arrays and len(arrays[name]) == (count or len(arrays[name])) for name in SNAPSHOT):
        raise ValueError(f"{entry['file']} is not a picture of the watched images")
    return arrays


def read_nearest_snapshot(
    history: FrozenHistory, step: int, count: int | None
) -> tuple[int, dict[str, np.ndarray], list[str]]:
    """The step, else the one nearest to it whose snapshot is whole, with its arrays, and why others were passed over.

    Raises: ValueError if no snapshot is whole.
    """
    faults: list[str] = []
    for at in sorted(history.snapshots, key=lambda known: (abs(known - step), known)):
        try:
            return at, read_snapshot(history, at, count), faults
        except ValueError as error:
            faults.append(f"Step {at} cannot be shown: {error}.")
    raise ValueError("No step can be shown. " + " ".join(faults[:3]))


@st.cache_data(max_entries=96, show_spinner=False)
def _arrays(_attempt: Attempt, path: str, file: str, sha256: str, folder: str) -> dict[str, np.ndarray]:
    return _attempt.read_arrays({"file": file, "sha256": sha256}, folder)


def read_layout(history: FrozenHistory, step: int, count: int) -> tuple[np.ndarray, NamedNumbers] | None:
    """The UMAP of a step, (count, 2), with its faithfulness, or None if it is not made (or was damaged)."""
    found = history.layouts.get((UMAP, step))
    if found is None or "file" not in found[1]:
        return None
    attempt, entry = found
    try:
        points = _arrays(attempt, str(attempt.path), entry["file"], entry["sha256"], "layouts")["points"]
    except (ValueError, KeyError):
        return None
    return (points, entry["faith"]) if points.shape == (count, 2) else None


def methods_for(size: int) -> list[str]:
    """The maps that make sense for embeddings of this size, the best first."""
    if size == 2:
        return [TRUE2, UMAP]
    if size == 3:
        return [TRUE3, UMAP, PCA]
    return [UMAP, PCA, PCA3]


def live_step(history: FrozenHistory, method: str) -> int:
    """The newest step of a run with pictures that this method can show; for UMAP one that is laid out, if any is."""
    newest = next(reversed(history.snapshots))
    if method != UMAP:
        return newest
    laid_out = [step for name, step in history.layouts if name == UMAP and "file" in history.layouts[name, step][1]]
    return max((step for step in laid_out if step in history.snapshots), default=newest)


def nearest_step(history: FrozenHistory, step: int) -> int:
    """The snapshot nearest to a step that a link or an older page names."""
    return min(history.snapshots, key=lambda known: (abs(known - step), known))


def find_picture(
    history: FrozenHistory, step: int, arrays: dict[str, np.ndarray], method: str, projector: dict[str, object]
) -> Picture:
    """The map of `step`, whose arrays these are; while UMAP has none, the principal components and why."""
    labels = arrays.get("proxy_labels")
    count = len(arrays["embeddings"])
    if method in (TRUE2, TRUE3):
        points, proxies = normalize_rows(arrays["embeddings"]), arrays.get("proxies")
        return Picture(
            step,
            method,
            points.shape[1],
            points,
            None if proxies is None else normalize_rows(proxies),
            labels,
            None,
            "",
        )
    if method == UMAP:
        found = read_layout(history, step, count + (0 if labels is None else len(labels)))
        if found is not None:
            points, faith = found
            stars = points[count:] if labels is not None else None
            return Picture(step, UMAP, 2, points[:count], stars, labels, faith, "")
    dims = 3 if method == PCA3 else 2
    drawn = PCA3 if method == PCA3 else PCA
    stars = arrays["proxy_pca"][:, :dims] if labels is not None else None
    message = waiting_words(history, step, projector) if method == UMAP else ""
    return Picture(
        step, drawn, dims, arrays["pca"][:, :dims], stars, labels, read_faithfulness(history, drawn, step), message
    )


def waiting_words(history: FrozenHistory, step: int, projector: Mapping[str, object]) -> str:
    found = history.layouts.get((UMAP, step))
    if found is not None:
        return f"PCA: {found[1].get('failed', 'the UMAP of this step is damaged')}"
    if not projector.get("alive"):
        return f"PCA: {projector['trouble']}" if projector.get("trouble") else "PCA while the projector starts"
    if not projector.get("ready"):
        return "PCA while UMAP warms up (seconds; longer the first time)"
    return "PCA while UMAP lays out this step"


def read_faithfulness(history: FrozenHistory, method: str, step: int) -> NamedNumbers | None:
    found = history.layouts.get((method, step))
    return found[1].get("faith") if found else None


def normalize_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows on the unit circle or sphere, float32; a zero row stays zero."""
    rows = embeddings.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def evaluation_at(history: FrozenHistory, step: int) -> EvaluatedRecord | None:
    """The last evaluation at or before a step."""
    return next((found for found in reversed(history.evaluations) if found["step"] <= step), None)
