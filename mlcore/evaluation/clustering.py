"""Do the classes fall out of the embeddings by themselves: k-means against the labels."""

from __future__ import annotations

import faiss
import numpy as np

from mlcore.evaluation.rows import unit_rows, whole_labels

ITERATIONS = 20


def nmi(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """Return the normalised mutual information of labels and k-means clusters, 0 to 1.

    As many clusters as classes, on L2-normalised embeddings, every sample used, 20 iterations from the seed.
    It flatters many small classes: compare runs on the same samples only. With one class it is 1 by convention.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers.
    Raises: ValueError if there is no sample, or a number isn't finite.
    """
    unit = unit_rows(embeddings, "nmi")
    labels = whole_labels(labels, len(unit), "nmi")
    if len(unit) == 0:
        raise ValueError("nmi: needs at least one sample; got none.")
    classes = len(np.unique(labels))
    # The bounds keep faiss from thinning large sets and from warning about small ones.
    means = faiss.Kmeans(
        unit.shape[1],
        classes,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(unit),
    )
    means.train(unit)
    _, clusters = means.index.search(unit, 1)
    return mutual_information(labels, clusters[:, 0])


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
