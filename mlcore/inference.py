"""Using a trained model: which things match, and which are nearest among many."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mlcore.distances import CosineSimilarity, Distance

KINDS = ("flat", "ivf", "hnsw")
FAISS_METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
LabelledImages = Dataset[tuple[Tensor, object]]


class MatchFinder:
    """Says which embeddings match: closer than a threshold, or more similar where the distance is a similarity.

    Raises: ValueError if there is no threshold, neither here nor in the call.
    """

    def __init__(self, distance: Distance, threshold: float | None = None) -> None:
        self.distance = distance
        self.threshold = threshold

    @torch.no_grad()
    def get_matching_pairs(
        self,
        query_emb: Tensor,
        ref_emb: Tensor | None = None,
        threshold: float | None = None,
        return_tuples: bool = False,
    ) -> np.ndarray | list[tuple[int, int]]:
        """(B, N) bool: which rows match which; or the (query, reference) places of those that do."""
        matches = self.matching(self.distance(query_emb, ref_emb), threshold).cpu().numpy()
        if return_tuples:
            return [(int(query), int(other)) for query, other in np.argwhere(matches)]
        return matches

    @torch.no_grad()
    def is_match(self, x: Tensor, y: Tensor, threshold: float | None = None) -> np.ndarray | bool:
        """(B,) bool: row by row, whether x matches y; a bool where there is one row."""
        matches = self.matching(self.distance.pairwise_distance(x, y), threshold).cpu().numpy()
        return bool(matches[0]) if len(matches) == 1 else matches

    def matching(self, dists: Tensor, threshold: float | None) -> Tensor:
        limit = self.threshold if threshold is None else threshold
        if limit is None:
            raise ValueError("MatchFinder: threshold must be given; got None. Pass it here or to MatchFinder.")
        return dists >= limit if self.distance.is_inverted else dists <= limit


class FaissIndex:
    """The nearest of many embeddings, exactly ("flat") or nearly and faster ("ivf", "hnsw").

    "ivf" sorts the rows into `lists` cells and looks into the `probes` nearest; its cells are learned from the first
    rows it is given. "hnsw" walks a graph in which each row has `links` neighbours; no row can be taken out of it. With
    metric "cosine" rows are scaled to length 1 and the largest values are nearest; with "l2" values are squared
    distances.

    What to expect: Flat is right up to some hundred thousand rows. The others miss some neighbours; raise `probes` or
    `effort` until the recall against flat is enough.

    Shapes: rows (N, D) float tensor or array. A file that was saved is a faiss index; load only files you trust.
    Raises: ValueError for an unknown kind or metric, rows of another width or that are not finite, a search before
    there are rows.
    """

    def __init__(
        self,
        kind: str = "flat",
        metric: str = "cosine",
        *,
        lists: int | None = None,
        probes: int = 8,
        links: int = 32,
        effort: int = 64,
    ) -> None:
        if kind not in KINDS or metric not in FAISS_METRICS:
            raise ValueError(
                f"FaissIndex: kind must be one of {', '.join(KINDS)} and metric one of {', '.join(FAISS_METRICS)}; got "
                f"{kind!r} and {metric!r}."
            )
        self.kind = kind
        self.metric = metric
        self.lists = lists
        self.probes = probes
        self.links = links
        self.effort = effort
        self.index: faiss.Index | None = None

    def __len__(self) -> int:
        return 0 if self.index is None else self.index.ntotal

    def train(self, embeddings: Tensor | np.ndarray) -> None:
        """Start anew with these rows."""
        rows = self.prepared(embeddings)
        self.index = self.empty_index(rows)
        self.index.add(rows)

    def add(self, embeddings: Tensor | np.ndarray) -> None:
        """Add rows behind those that are there."""
        if self.index is None:
            return self.train(embeddings)
        return self.index.add(self.prepared(embeddings))

    def __call__(self, query: Tensor | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Values and places (B, k) of the nearest, nearest first. Place -1: an approximate search found no more."""
        if self.index is None:
            raise ValueError("FaissIndex: there is nothing to search. Call train or load first.")
        if not 1 <= k <= len(self):
            raise ValueError(f"FaissIndex: k must be between 1 and the {len(self)} rows; got {k}.")
        self.set_effort(k)
        return self.index.search(self.prepared(query), k)

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write the index whole, or not at all."""
        if self.index is None:
            raise ValueError("FaissIndex: there is nothing to save. Call train first.")
        path = Path(filename)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        faiss.write_index(self.index, str(temporary))
        temporary.replace(path)

    def load(self, filename: str | os.PathLike[str]) -> None:
        """Read an index; kind and metric become those of the file."""
        if not Path(filename).is_file():
            raise ValueError(f"FaissIndex: there is no file {filename}.")
        index = faiss.read_index(str(filename))
        kinds = {"IndexFlat": "flat", "IndexIVFFlat": "ivf", "IndexHNSWFlat": "hnsw"}
        name = type(index).__name__.removesuffix("IP").removesuffix("L2")
        if name not in kinds or index.metric_type not in FAISS_METRICS.values():
            raise ValueError(f"FaissIndex: {filename} holds a {type(index).__name__}, which was not saved here.")
        self.index = index
        self.kind = kinds[name]
        self.metric = next(metric for metric, number in FAISS_METRICS.items() if number == index.metric_type)

    def empty_index(self, rows: np.ndarray) -> faiss.Index:
        columns, metric = rows.shape[1], FAISS_METRICS[self.metric]
        if self.kind == "flat":
            return faiss.IndexFlat(columns, metric)
        if self.kind == "hnsw":
            graph = faiss.IndexHNSWFlat(columns, self.links, metric)
            graph.hnsw.efConstruction = max(40, self.effort)
            return graph
        lists = self.lists or max(1, round(len(rows) ** 0.5))
        if lists > len(rows):
            raise ValueError(f"FaissIndex: lists must be at most the {len(rows)} rows; got {lists}.")
        coarse = faiss.IndexFlat(columns, metric)
        cells = faiss.IndexIVFFlat(coarse, columns, lists, metric)
        cells.cp.min_points_per_centroid = 1
        cells.train(rows)
        return cells

    def set_effort(self, k: int) -> None:
        if isinstance(self.index, faiss.IndexIVFFlat):
            self.index.nprobe = min(self.probes, self.index.nlist)
        elif isinstance(self.index, faiss.IndexHNSWFlat):
            self.index.hnsw.efSearch = max(self.effort, k)

    def prepared(self, embeddings: Tensor | np.ndarray) -> np.ndarray:
        rows = embeddings.detach().float().cpu() if isinstance(embeddings, Tensor) else torch.as_tensor(embeddings)
        rows = rows.float()
        if rows.ndim != 2 or len(rows) == 0 or not bool(torch.isfinite(rows).all()):
            raise ValueError(f"FaissIndex: rows must be finite, of shape (N, D); got shape {tuple(rows.shape)}.")
        if self.index is not None and rows.shape[1] != self.index.d:
            raise ValueError(f"FaissIndex: rows must have {self.index.d} columns; got {rows.shape[1]}.")
        rows = F.normalize(rows) if self.metric == "cosine" else rows
        return np.ascontiguousarray(rows.numpy())


class InferenceModel:
    """A trained model with what is asked of it: embeddings, matches, and the nearest of a gallery.

    The model is used in evaluation mode, and left in the mode it was in. Nearest neighbours come with the values of the
    index: cosines by default, where pytorch-metric-learning gives squared distances.

    Shapes: inputs as the trunk takes them, a tensor (B, ...), a list of tensors, or a data set of (input, label).
    """

    def __init__(
        self,
        trunk: nn.Module,
        embedder: nn.Module | None = None,
        match_finder: MatchFinder | None = None,
        normalize_embeddings: bool = True,
        knn_func: FaissIndex | None = None,
        data_device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.trunk = trunk
        self.embedder = embedder or nn.Identity()
        self.match_finder = match_finder or MatchFinder(CosineSimilarity(), 0.9)
        self.normalize_embeddings = normalize_embeddings
        self.knn_func = FaissIndex() if knn_func is None else knn_func
        self.data_device = data_device
        self.dtype = dtype

    @torch.no_grad()
    def get_embeddings(self, x: Tensor | list[Tensor]) -> Tensor:
        """(B, D) embeddings of one batch."""
        batch = torch.stack(x) if isinstance(x, list) else x
        training = [module for model in (self.trunk, self.embedder) for module in model.modules() if module.training]
        self.trunk.eval()
        self.embedder.eval()
        try:
            embeddings = self.embedder(self.trunk(batch.to(device=self.data_device, dtype=self.dtype)))
        finally:
            for module in training:
                module.training = True
        return F.normalize(embeddings) if self.normalize_embeddings else embeddings

    def get_embeddings_from_tensor_or_dataset(
        self, inputs: Tensor | list[Tensor] | LabelledImages, batch_size: int
    ) -> Tensor:
        """(N, D) embeddings, a batch at a time."""
        batches: Iterable[Tensor | list[Tensor]]
        if isinstance(inputs, Tensor | list):
            batches = [inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size)]
        elif isinstance(inputs, Dataset):
            batches = (item[0] for item in DataLoader(inputs, batch_size))
        else:
            raise ValueError(f"InferenceModel: inputs must be a tensor, a list or a data set; got {type(inputs)}.")
        embeddings = [self.get_embeddings(batch) for batch in batches]
        if not embeddings:
            raise ValueError("InferenceModel: inputs must not be empty.")
        return torch.cat(embeddings)

    def train_knn(self, inputs: Tensor | list[Tensor] | LabelledImages, batch_size: int = 64) -> None:
        """Make the gallery of these inputs; what was there is gone."""
        self.knn_func.train(self.get_embeddings_from_tensor_or_dataset(inputs, batch_size))

    def add_to_knn(self, inputs: Tensor | list[Tensor] | LabelledImages, batch_size: int = 64) -> None:
        """Add these inputs behind those in the gallery."""
        self.knn_func.add(self.get_embeddings_from_tensor_or_dataset(inputs, batch_size))

    def get_nearest_neighbors(self, query: Tensor | list[Tensor], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Values and places (B, k) of the nearest in the gallery, nearest first."""
        return self.knn_func(self.get_embeddings(query), k)

    def get_matches(
        self,
        query: Tensor | list[Tensor],
        ref: Tensor | list[Tensor] | None = None,
        threshold: float | None = None,
        return_tuples: bool = False,
    ) -> np.ndarray | list[tuple[int, int]]:
        """Which of `query` match which of `ref`, or of themselves; see MatchFinder."""
        ref_emb = None if ref is None else self.get_embeddings(ref)
        return self.match_finder.get_matching_pairs(self.get_embeddings(query), ref_emb, threshold, return_tuples)

    def is_match(
        self, x: Tensor | list[Tensor], y: Tensor | list[Tensor], threshold: float | None = None
    ) -> np.ndarray | bool:
        """Row by row, whether x matches y."""
        return self.match_finder.is_match(self.get_embeddings(x), self.get_embeddings(y), threshold)

    def save_knn_func(self, filename: str | os.PathLike[str]) -> None:
        self.knn_func.save(filename)

    def load_knn_func(self, filename: str | os.PathLike[str]) -> None:
        self.knn_func.load(filename)
