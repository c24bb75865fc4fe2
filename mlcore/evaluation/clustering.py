"""Do the classes fall out of the embeddings by themselves: k-means against the labels."""

from __future__ import annotations

import numpy as np

from mlcore.evaluation.array_checks import unit_rows, whole_labels

ITERATIONS = 20


def nmi(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0) -> float | None:
    """Return the normalised mutual information of labels and k-means clusters, 0 to 1.

    As many clusters as classes, on L2-normalised embeddings, every sample used, 20 iterations from the seed.
    It flatters many small classes: compare runs on the same samples only. None where any embeddings would score 1: with
    one class, or with no class of two samples.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers.
    Raises: ValueError if there is no sample, or a number isn't finite.
    """
    labels, clusters = assign_clusters("nmi", embeddings, labels, seed)
    return mutual_information(labels, clusters) if has_groups(labels) else None


def ami(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0) -> float | None:
    """Return the adjusted mutual information of labels and the k-means clusters of `nmi`: 0 by chance, 1 at best.

    Many small classes do not flatter it. Below 0 is worse than chance. None where `nmi` is.

    Shapes and Raises: as `nmi`.
    """
    labels, clusters = assign_clusters("ami", embeddings, labels, seed)
    return adjusted_mutual_information(labels, clusters) if has_groups(labels) else None


def has_groups(labels: np.ndarray) -> bool:
    """Whether clusters can be right or wrong: there are two classes, and one of them has two samples."""
    return 1 < len(np.unique(labels)) < len(labels)


def assign_clusters(who: str, embeddings: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked labels and, for each sample, the number of its k-means cluster."""
    unit = unit_rows(embeddings, who)
    labels = whole_labels(labels, len(unit), who)
    if len(unit) == 0:
        raise ValueError(f"{who}: needs at least one sample; got none.")
    import faiss  # here, so that metrics can be listed without it

    # The bounds keep faiss from thinning large sets and from warning about small ones.
    means = faiss.Kmeans(
        unit.shape[1],
        len(np.unique(labels)),
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(unit),
    )
    means.train(unit)
    _, clusters = means.index.search(unit, 1)
    return labels, clusters[:, 0]


def mutual_information(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Return the mutual information of two namings (N,) of the same samples over the mean of their entropies, 0 to 1.

    1 if both have but one name. A few array operations: scikit-learn's checks keep a training thread waiting.
    """
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(clusters, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1.0 / len(rows))
    apart = entropy(table.sum(axis=1)) + entropy(table.sum(axis=0))
    return 2.0 * max(0.0, apart - entropy(table)) / apart if apart else 1.0


def entropy(shares: np.ndarray) -> float:
    """Of shares that add up to one, in nats."""
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def adjusted_mutual_information(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Return the mutual information of two namings (N,) less its expectation by chance, over the most it could be.

    Vinh, Epps and Bailey, JMLR 2010, with the mean of the entropies as the most. 1 if the namings are the same.
    """
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(clusters, return_inverse=True)
    count = len(rows)
    of_rows, of_columns = np.bincount(rows), np.bincount(columns)
    cells = np.unique(rows.astype(np.int64) * len(of_columns) + columns, return_counts=True)[1]
    mean = 0.5 * (entropy(of_rows / count) + entropy(of_columns / count))
    shared = 2.0 * mean - entropy(cells / count)
    if len(cells) == len(of_rows) == len(of_columns):
        return 1.0
    by_chance = expected_information(of_rows, of_columns, count)
    return (shared - by_chance) / max(mean - by_chance, np.finfo(np.float64).eps)


def expected_information(of_rows: np.ndarray, of_columns: np.ndarray, count: int) -> float:
    """The mean mutual information of random namings with these class sizes (nats); each pair of sizes once."""
    from scipy.special import gammaln

    ways = gammaln(np.arange(count + 1) + 1.0)  # log factorials
    sizes, repeats = np.unique(of_columns, return_counts=True)
    total = 0.0
    for size, times in zip(*np.unique(of_rows, return_counts=True), strict=True):
        overlap = np.arange(1, size + 1)[:, None]  # (n, 1) against sizes (U,)
        possible = (overlap <= sizes) & (overlap >= size + sizes - count)
        rest, others = np.where(possible, sizes - overlap, 0), np.where(possible, count - size - sizes + overlap, 0)
        log_chance = (
            ways[size] + ways[sizes] + ways[count - size] + ways[count - sizes]
            - ways[count] - ways[overlap] - ways[size - overlap] - ways[rest] - ways[others]
        )  # fmt: skip
        chance = np.exp(np.where(possible, log_chance, -np.inf))
        terms = overlap / count * np.log(count * overlap / (size * sizes)) * chance
        total += times * float((terms * repeats).sum())
    return total
