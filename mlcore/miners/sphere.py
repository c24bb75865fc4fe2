"""What the miners ask that are only right for one geometry."""

from __future__ import annotations

from mlcore.distances import CosineSimilarity, Distance, LpDistance


def only_euclidean(who: str, distance: Distance, *, unit: bool = False) -> Distance:
    """`distance` if it is Euclidean, or the cosine, which says the same of embeddings of length 1.

    Raises: ValueError for any other; with `unit`, also for one that leaves the lengths as they are.
    """
    plain = isinstance(distance, LpDistance | CosineSimilarity) and distance.p == 2 and distance.power == 1
    if not plain or (unit and not distance.normalize_embeddings):
        raise ValueError(
            f"{who}: distance must be LpDistance(){' of normalised embeddings' if unit else ''}, with p=2 and power=1; "
            f"got {type(distance).__name__}. Leave distance out."
        )
    return distance
