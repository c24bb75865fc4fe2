"""Exact nearest neighbours by brute force: faiss, in blocks that each stay on one core."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK = 2048  # queries; twice as many where there are plenty for every core
PLENTY = 8 * BLOCK


def knn(queries: np.ndarray, gallery: np.ndarray, k: int, *, euclidean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return values (N, k) float32 and indices (N, k) int64 of the k nearest rows of the gallery, nearest first.

    Values are inner products, or squared distances where `euclidean`.

    Faiss would split each of its many small products over all cores and wait for the slowest, which beside a training
    process takes several times as long as one core alone. Here each core takes whole blocks of queries as it gets to
    them; the answer doesn't depend on how many there are.

    Shapes: queries (N, D) and gallery (M, D) contiguous float32, k <= M.
    """
    import faiss  # here, so that metrics can be listed without it

    metric = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
    size = BLOCK if len(queries) < PLENTY else 2 * BLOCK
    blocks = [queries[start : start + size] for start in range(0, len(queries), size)]
    threads = faiss.omp_get_max_threads()  # asked here: inside the pool each thread has its own setting
    with ThreadPoolExecutor(
        max(1, min(threads, len(blocks))), initializer=faiss.omp_set_num_threads, initargs=(1,)
    ) as pool:
        parts = list(pool.map(lambda block: faiss.knn(block, gallery, k, metric=metric), blocks))
    if not parts:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    values, indices = (np.concatenate(column) for column in zip(*parts, strict=True))
    return values, indices
