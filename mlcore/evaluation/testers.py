"""Testers: a model's retrieval and clustering metrics on data sets, against any reference sets and label levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mlcore.declare import Knob, Registry
from mlcore.evaluation.metrics import METRICS, Family, Value, measure
from mlcore.evaluation.ranking import fit_pca
from mlcore.evaluation.side import RECALLS, Search, Side

TESTERS = Registry("tester")

NORMALIZE = Knob("Scale each embedding to length 1 first, and search by cosine instead of distance.")
TRUNK = Knob("Test the trunk's features, not the embedder's embeddings.")
BATCH = Knob("Samples embedded at a time.", 1, 100_000)
PCA = Knob("Reduce to so many principal components first.", 1, 100_000, none="no reduction")
DEPTH = Knob("How deep map and mrr look.", 1, 1_000_000, none="the whole gallery")
CLUSTERS = Knob("Also cluster, for NMI and AMI.")

Splits = Sequence[tuple[str, Sequence[str]]]
Collate = Callable[[list[object]], object]
Figure = float | int | None
PerClass = dict[int, dict[str, float]]
Results = dict[str, dict[str, Figure | PerClass]]
COUNTS = ("queries", "lone_queries")


class EmbeddedSplit(NamedTuple):
    """A split's embeddings (N, D) and labels (N, levels); `others` are those of the second stream, where there is."""

    embeddings: np.ndarray
    labels: np.ndarray
    others: np.ndarray | None = None


class Measured(NamedTuple):
    """What is found at one level: figures by name, and where asked for, those of each class."""

    figures: dict[str, Figure]
    per_class: PerClass | None


@TESTERS.add(
    "global_embedding_space",
    title="Global embedding space",
    family="tester",
    aliases=("GlobalEmbeddingSpaceTester (pytorch-metric-learning)",),
)
class GlobalEmbeddingSpaceTester:
    """Searches each query among all of its reference sets and reports how often that brings back its class.

    `test` embeds every split once. A split is compared with itself unless `splits_to_eval` says otherwise, as a list of
    (query, [references]): [("val", ["val"])] is to itself, [("val", ["train"])] to the training set, [("val", ["val",
    "train"])] to all combined. Where the query set is among its references, wherever it stands, each query's own row is
    taken out by index. PCA is fitted on all splits together (pytorch-metric-learning fits each on its own, so that
    queries and references end up in different spaces).

    Labels may have several columns, one for each level of a hierarchy; `label_hierarchy_level` is a column, a list of
    them, or "all". Metrics are named as METRICS names them, with the level: `map_at_r_level0`; with several levels
    there is also `AVERAGE_map_at_r`. NMI and AMI are those of the queries alone. `per_class` adds a dict for each
    level, `per_class_level0`, from the class to its metrics of retrieval.

    What to expect: Sorts the whole gallery for each query; for galleries of tens of thousands set `depth`.

    Raises: ValueError for unknown splits, levels that the labels do not have, and a query split asked for twice.
    """

    def __init__(
        self,
        normalize_embeddings: Annotated[bool, NORMALIZE] = True,
        use_trunk_output: Annotated[bool, TRUNK] = False,
        batch_size: Annotated[int, BATCH] = 32,
        dataloader_num_workers: Annotated[int, Knob("Processes that read the data.", 0, 64)] = 0,
        pca: Annotated[int | None, PCA] = None,
        data_device: torch.device | str | None = None,
        data_and_label_getter: Callable[[Any], tuple[Tensor, ...]] | None = None,
        label_hierarchy_level: int | str | Sequence[int] = 0,
        end_of_testing_hook: Callable[..., object] | None = None,
        *,
        ks: Sequence[int] = (1, 2, 4, 8),
        depth: Annotated[int | None, DEPTH] = None,
        with_clusters: Annotated[bool, CLUSTERS] = True,
        avg_of_avgs: Annotated[bool, Knob("Average over classes instead of queries.")] = False,
        per_class: Annotated[bool, Knob("Also report each class.")] = False,
    ) -> None:
        self.normalize_embeddings = normalize_embeddings
        self.use_trunk_output = use_trunk_output
        self.batch_size = batch_size
        self.dataloader_num_workers = dataloader_num_workers
        self.pca = pca
        self.data_device = data_device
        self.data_and_label_getter = data_and_label_getter
        self.label_hierarchy_level = label_hierarchy_level
        self.end_of_testing_hook = end_of_testing_hook
        self.ks = tuple(ks)
        self.depth = depth
        self.with_clusters = with_clusters
        self.avg_of_avgs = avg_of_avgs
        self.per_class = per_class
        self.all_accuracies: Results = {}

    def test(
        self,
        dataset_dict: Mapping[str, Dataset[object]],
        epoch: int,
        trunk_model: nn.Module,
        embedder_model: nn.Module | None = None,
        splits_to_eval: Splits | None = None,
        collate_fn: Collate | None = None,
    ) -> Results:
        """Return the metrics of each query split, by name. Models come back in the mode they were in."""
        splits = self.checked_splits(dataset_dict, splits_to_eval)
        needed = dict.fromkeys(name for query, references in splits for name in (query, *references))
        embedded = {name: self.embed(dataset_dict[name], trunk_model, embedder_model, collate_fn) for name in needed}
        if self.pca is not None:
            embedded = self.reduced(embedded, self.pca)
        self.all_accuracies = {
            query: {"epoch": epoch, **self.measure_split(embedded, query, references)} for query, references in splits
        }
        if self.end_of_testing_hook is not None:
            self.end_of_testing_hook(self)
        return self.all_accuracies

    def get_all_embeddings(
        self,
        dataset: Dataset[object],
        trunk_model: nn.Module,
        embedder_model: nn.Module | None = None,
        collate_fn: Collate | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(N, D) embeddings, not normalised, and (N, levels) labels of a data set, on the CPU."""
        embedded = self.embed(dataset, trunk_model, embedder_model, collate_fn)
        return torch.from_numpy(embedded.embeddings), torch.from_numpy(embedded.labels)

    @torch.no_grad()
    def embed(
        self, dataset: Dataset[object], trunk: nn.Module, embedder: nn.Module | None, collate_fn: Collate | None
    ) -> EmbeddedSplit:
        models = [model for model in (trunk, embedder) if model is not None]
        training = [[module for module in model.modules() if module.training] for model in models]
        for model in models:
            model.eval()
        loader = DataLoader(dataset, self.batch_size, num_workers=self.dataloader_num_workers, collate_fn=collate_fn)
        streams: list[list[Tensor]] = []
        labels: list[Tensor] = []
        try:
            for item in loader:
                *images, label = item if self.data_and_label_getter is None else self.data_and_label_getter(item)
                streams = streams or [[] for _ in images]
                for stream, batch in zip(streams, images, strict=True):
                    stream.append(self.through(batch, trunk, embedder).float().cpu())
                label = torch.as_tensor(label).cpu()
                labels.append(label[:, None] if label.ndim == 1 else label)
        finally:
            for module in (module for modules in training for module in modules):
                module.training = True
        if not labels:
            raise ValueError(f"{type(self).__name__}: a split must not be empty. Leave it out.")
        joined = [torch.cat(stream).numpy() for stream in streams]
        return EmbeddedSplit(joined[0], torch.cat(labels).numpy(), joined[1] if len(joined) > 1 else None)

    def through(self, batch: Tensor, trunk: nn.Module, embedder: nn.Module | None) -> Tensor:
        batch = batch if self.data_device is None else batch.to(self.data_device)
        features = trunk(batch)
        return features if self.use_trunk_output or embedder is None else embedder(features)

    def reduced(self, embedded: dict[str, EmbeddedSplit], columns: int) -> dict[str, EmbeddedSplit]:
        """Every split in the principal components of all of them."""
        everything = [rows for split in embedded.values() for rows in (split.embeddings, split.others)]
        reduce = fit_pca(np.concatenate([rows for rows in everything if rows is not None]), columns)
        return {
            name: EmbeddedSplit(
                reduce(split.embeddings), split.labels, None if split.others is None else reduce(split.others)
            )
            for name, split in embedded.items()
        }

    def checked_splits(
        self, datasets: Mapping[str, Dataset[object]], splits: Splits | None
    ) -> list[tuple[str, list[str]]]:
        chosen = [(name, [name]) for name in datasets] if splits is None else [(q, list(refs)) for q, refs in splits]
        queries = [query for query, _ in chosen]
        if len(set(queries)) < len(queries):
            raise ValueError(f"splits_to_eval: a query split must come once; got {queries}.")
        for query, references in chosen:
            unknown = [name for name in (query, *references) if name not in datasets]
            if unknown or not references or len(set(references)) < len(references):
                raise ValueError(
                    f"splits_to_eval: must name splits of {sorted(datasets)}, at least one reference, each once; got "
                    f"({query!r}, {references})."
                )
        return chosen

    def levels(self, labels: np.ndarray) -> list[int]:
        """The columns of the labels that are asked for."""
        asked = self.label_hierarchy_level
        if isinstance(asked, str) and asked != "all":
            raise ValueError(f"label_hierarchy_level: must be a number, a list of them or 'all'; got {asked!r}.")
        every = range(labels.shape[1])
        levels = every if isinstance(asked, str) else [asked] if isinstance(asked, int) else asked
        if any(not 0 <= level < labels.shape[1] for level in levels):
            raise ValueError(f"label_hierarchy_level: labels have levels 0 to {labels.shape[1] - 1}; got {asked}.")
        return list(levels)

    def measure_split(
        self, embedded: dict[str, EmbeddedSplit], query: str, references: list[str]
    ) -> dict[str, Figure | PerClass]:
        """All metrics of one query split, named with their level."""
        queries = embedded[query]
        gallery = np.concatenate([embedded[name].embeddings for name in references])
        gallery_labels = np.concatenate([embedded[name].labels for name in references])
        itself = np.full(len(queries.labels), -1)
        if query in references:
            before = sum(len(embedded[name].labels) for name in references[: references.index(query)])
            itself = before + np.arange(len(queries.labels))
        return self.by_level(
            queries.labels, lambda level: self.at_level(level, queries, gallery, gallery_labels, itself)
        )

    def by_level(self, labels: np.ndarray, at_level: Callable[[int], Measured]) -> dict[str, Figure | PerClass]:
        levels = self.levels(labels)
        found = {level: at_level(level) for level in levels}
        named: dict[str, Figure | PerClass] = {}
        for level, measured in found.items():
            named |= {f"{name}_level{level}": value for name, value in measured.figures.items()}
            named |= {} if measured.per_class is None else {f"per_class_level{level}": measured.per_class}
        if len(levels) > 1:
            average = mean_figures([measured.figures for measured in found.values()])
            named |= {f"AVERAGE_{name}": value for name, value in average.items()}
        return named

    def at_level(
        self, level: int, queries: EmbeddedSplit, gallery: np.ndarray, gallery_labels: np.ndarray, itself: np.ndarray
    ) -> Measured:
        return self.measure(queries.embeddings, queries.labels[:, level], gallery, gallery_labels[:, level], itself)

    def measure(
        self,
        queries: np.ndarray,
        labels: np.ndarray,
        gallery: np.ndarray,
        gallery_labels: np.ndarray,
        itself: np.ndarray,
    ) -> Measured:
        side = Side(
            queries,
            labels,
            Search(queries, labels, gallery, gallery_labels, itself),
            ks=tuple({*self.ks, *RECALLS}),
            depth=self.depth,
            normalize=self.normalize_embeddings,
            whole_gallery=True,
        )
        unasked = {f"recall_at_{k}" for k in RECALLS if k not in self.ks}
        found = measure(side, METRICS.of(Family.RETRIEVAL)) | side.ranking.metrics
        of_queries = {
            name: np.asarray(values) for name, values in found.items() if values is not None and name not in unasked
        }
        ranking = side.ranking._replace(metrics=of_queries)
        figures: dict[str, Figure] = dict.fromkeys(name for name in found if name not in unasked)
        figures |= ranking.mean_of_classes() if self.avg_of_avgs else ranking.mean()
        if self.with_clusters:
            figures |= numbers_of(measure(side, METRICS.of(Family.CLUSTERS)))
        return Measured(figures, ranking.per_class() if self.per_class else None)


@TESTERS.add(
    "with_same_parent_label",
    title="With the same parent label",
    family="tester",
    aliases=("WithSameParentLabelTester (pytorch-metric-learning)",),
)
class WithSameParentLabelTester(GlobalEmbeddingSpaceTester):
    """Searches each query only among references of its own parent, and averages over the parents.

    The parent of level L is level L + 1, so the last level cannot be tested. A parent counts once, however many queries
    it has; one in which every query is lone is left out of the average.

    What to expect: Higher values than in the whole space where parents are far apart, since classes of other parents
    cannot be found; what is left is how well close relations are told apart.

    Raises: ValueError as the global tester, and if no level that is asked for has a parent.
    """

    def levels(self, labels: np.ndarray) -> list[int]:
        levels = [level for level in super().levels(labels) if level < labels.shape[1] - 1]
        if not levels:
            raise ValueError(
                f"label_hierarchy_level: a level below the last ({labels.shape[1] - 1}) is needed, which has a parent; "
                f"got {self.label_hierarchy_level}."
            )
        return levels

    def at_level(
        self, level: int, queries: EmbeddedSplit, gallery: np.ndarray, gallery_labels: np.ndarray, itself: np.ndarray
    ) -> Measured:
        told: list[Measured] = []
        for parent in np.unique(queries.labels[:, level + 1]):
            asked = np.flatnonzero(queries.labels[:, level + 1] == parent)
            there = np.flatnonzero(gallery_labels[:, level + 1] == parent)
            place = np.full(len(gallery_labels) + 1, -1)  # the last one stands for "not there"
            place[there] = np.arange(len(there))
            rows, labels = queries.embeddings[asked], queries.labels[asked, level]
            told.append(self.measure(rows, labels, gallery[there], gallery_labels[there, level], place[itself[asked]]))
        figures = mean_figures([one.figures for one in told])
        figures |= {name: sum(one.figures[name] or 0 for one in told) for name in COUNTS}
        per_class = {key: value for one in told for key, value in (one.per_class or {}).items()}
        return Measured(figures, per_class if self.per_class else None)


@TESTERS.add(
    "global_two_stream_embedding_space",
    title="Global two-stream embedding space",
    family="tester",
    aliases=("GlobalTwoStreamEmbeddingSpaceTester (pytorch-metric-learning)",),
)
class GlobalTwoStreamEmbeddingSpaceTester(GlobalEmbeddingSpaceTester):
    """Searches each anchor among the second stream of its split, for data that comes as (anchor, other, label).

    Anchor and other of one row are different things (a sketch and a photo), so a query may find its own row. NMI and
    AMI are those of the anchors.

    What to expect: One split against itself only; other references are refused.

    Raises: ValueError as the global tester, and for data without a second stream.
    """

    def checked_splits(
        self, datasets: Mapping[str, Dataset[object]], splits: Splits | None
    ) -> list[tuple[str, list[str]]]:
        chosen = super().checked_splits(datasets, splits)
        for query, references in chosen:
            if references != [query]:
                raise ValueError(
                    f"splits_to_eval: two streams are tested within a split; got ({query!r}, {references}). "
                    f"Pass ({query!r}, [{query!r}])."
                )
        return chosen

    def measure_split(
        self, embedded: dict[str, EmbeddedSplit], query: str, references: list[str]
    ) -> dict[str, Figure | PerClass]:
        split = embedded[query]
        others = split.others
        if others is None:
            raise ValueError("global_two_stream: data must come as (anchor, other, label); got one stream.")
        nowhere = np.full(len(split.labels), -1)
        return self.by_level(split.labels, lambda level: self.at_level(level, split, others, split.labels, nowhere))


def mean_figures(several: Sequence[Mapping[str, Figure]]) -> dict[str, Figure]:
    """The mean of each figure, counts left out."""
    return {name: mean_of_known([one[name] for one in several]) for name in several[0] if name not in COUNTS}


def numbers_of(values: Mapping[str, Value]) -> dict[str, Figure]:
    """Metrics that are one number each."""
    return {name: None if value is None else float(value) for name, value in values.items()}


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
