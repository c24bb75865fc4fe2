"""What a search returns: rows of a query and its nearest images, before training and now. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.lab.snapshots import WatchSample
from app.widgets.tiles import Row, Strip, Tile

ROWS = 6


def find_neighbours(neighbours: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(W, K) bool: is that neighbour of the query's class? A place without a neighbour (-1) is no hit."""
    return (labels[neighbours] == labels[:, None]) & (neighbours >= 0)


def rank_of_first(found: np.ndarray) -> int | None:
    """The place of the first right one, from 1; None if none is right."""
    places = np.flatnonzero(found)
    return int(places[0]) + 1 if len(places) else None


def hardest_queries(found: np.ndarray, places: np.ndarray, count: int = ROWS) -> np.ndarray:
    """The places whose results are worst: fewest right, and those late; one query to a tie."""
    weights = 1.0 / (1.0 + np.arange(found.shape[1]))
    scores = (found[places] * weights).sum(axis=1)
    return places[np.argsort(scores, kind="stable")[:count]]


def draw_queries(places: np.ndarray, seed: int, count: int = ROWS) -> np.ndarray:
    """Some places at random, the same for the same seed."""
    return np.sort(np.random.default_rng(seed).permutation(places)[:count])


def query_places(
    sample: WatchSample, neighbours: np.ndarray, how: str, side: str, chosen: Sequence[int], seed: int
) -> np.ndarray:
    """Which of the watched images are searched for. `neighbours` are those before training, so the choice stays put.

    Where queries search a gallery, the gallery has no neighbours and is not asked for.
    """
    if how in ("pinned", "selected"):
        given = [place for sample_id in chosen if (place := sample.place(sample_id)) is not None]
        return np.array(given[:ROWS], dtype=int)
    asking = neighbours[:, 0] >= 0
    places = np.flatnonzero((sample.held_out if side == "held_out" else ~sample.held_out) & asking)
    if how == "random":
        return draw_queries(places, seed)
    return hardest_queries(find_neighbours(neighbours, sample.labels), places)


def result_rows(
    sample: WatchSample,
    places: np.ndarray,
    now: dict[str, np.ndarray],
    before: dict[str, np.ndarray] | None,
    title: str = "Now",
) -> list[Row]:
    """One row a query; `title` stands over what is found `now`, which may be at an earlier step that is looked at.

    `before` None: only one strip, for a model that has not been trained.
    """
    return [result_row(sample, int(place), now, before, title) for place in places]


def result_row(
    sample: WatchSample, place: int, now: dict[str, np.ndarray], before: dict[str, np.ndarray] | None, title: str
) -> Row:
    query = Tile(int(sample.ids[place]), place, "query", f"query: {sample.class_names[sample.labels[place]]}")
    present = result_strip(sample, place, now, title if before else "Before training")
    if before is None:
        return Row(sample.class_names[sample.labels[place]], rank_words(sample, place, None, now), (query,), (present,))
    past = result_strip(sample, place, before, "Before training")
    note = rank_words(sample, place, before, now)
    return Row(sample.class_names[sample.labels[place]], note, (query,), (past, present))


def picked_row(sample: WatchSample, place: int, arrays: dict[str, np.ndarray]) -> Row:
    """An image and, after it, its nearest ones."""
    query = Tile(int(sample.ids[place]), place, "query", f"picked: {sample.class_names[sample.labels[place]]}")
    return Row(tiles=(query, *result_strip(sample, place, arrays, "").tiles))


def result_strip(sample: WatchSample, place: int, arrays: dict[str, np.ndarray], title: str) -> Strip:
    tiles = []
    for rank, found in enumerate(arrays["neighbours"][place], start=1):
        if found < 0:
            continue
        right = sample.labels[found] == sample.labels[place]
        cosine = float(arrays["similarities"][place][rank - 1])
        words = f"rank {rank}: {sample.class_names[sample.labels[found]]}, cosine {cosine:.2f}"
        tiles.append(Tile(int(sample.ids[found]), int(found), "right" if right else "wrong", words))
    return Strip(title, tuple(tiles))


def rank_words(
    sample: WatchSample, place: int, before: dict[str, np.ndarray] | None, now: dict[str, np.ndarray]
) -> str:
    """'2 → 6 of 8 right; first right one: rank 4 → 1', of as many as there can be: 'of 5' of a class of six."""
    present = right_ones(sample, place, now)
    most = min(len(present), others_of_class(sample, place))
    if before is None:
        return f"{present.sum()} of {most} right"
    past = right_ones(sample, place, before)
    counts = f"{past.sum()} → {present.sum()} of {most} right"
    first, now_first = rank_text(past), rank_text(present)
    return counts if first == now_first else f"{counts}; first right one: {first} → {now_first}"


def others_of_class(sample: WatchSample, place: int) -> int:
    """How many other watched images of this one's side and class there are."""
    alike = (sample.labels == sample.labels[place]) & (sample.held_out == sample.held_out[place])
    return int(alike.sum()) - 1


def right_ones(sample: WatchSample, place: int, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(K,) bool: which of this query's neighbours are of its class."""
    found = arrays["neighbours"][place]
    return (sample.labels[found] == sample.labels[place]) & (found >= 0)


def rank_text(found: np.ndarray) -> str:
    rank = rank_of_first(found)
    return f"none of {len(found)}" if rank is None else f"rank {rank}"
