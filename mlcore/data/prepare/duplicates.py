"""Near-duplicates: images whose perceptual hashes differ in few bits, and which of them to leave out.

Everything here is exact: each search compares all hashes (faiss, 64-bit Hamming), in blocks so small that memory stays
bounded also where thousands of images are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import faiss
import numpy as np
import pandas as pd

Kind = Literal["within_class", "across_classes", "across_splits"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TwoNames = Literal["ask", "earlier_stays"]  # what becomes of two images that are alike and are called differently
MAX_DISTANCE = 16
BITS = 64
MATCHES = 5_000_000  # the most neighbours that one block of a search may have


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows that are nearly alike, and which rows to leave out so that none remain.

    `pairs` has the columns first, second (positions in the index), distance (bits) and kind, one of KINDS; with
    `complete` False there are more than were asked for. `kept` and `dropped` of `leave_out` are its first and second.
    """

    pairs: pd.DataFrame
    complete: bool = True

    def counts(self) -> dict[str, int]:
        """How many pairs of each kind."""
        found = self.pairs["kind"].value_counts()
        return {kind: int(found.get(kind, 0)) for kind in KINDS}

    def shown(self, index: pd.DataFrame) -> pd.DataFrame:
        """The pairs with file, label and split of both, the leaks first, then the nearest: what a person looks at."""
        columns = {
            f"{side}_{word}": index[word].to_numpy()[self.pairs[side].to_numpy()]
            for side in ("first", "second")
            for word in ("file", "label", "split")
        }
        table = self.pairs.assign(**columns)
        rank = table["kind"].map(KINDS[::-1].index)
        order = np.lexsort((table["second"], table["first"], table["distance"], rank))
        return table.iloc[order].reset_index(drop=True)

    def groups(self) -> list[list[int]]:
        """Rows that hang together through pairs, each group sorted, in the order of their first rows."""
        parent: dict[int, int] = {}

        def root(row: int) -> int:
            while parent.setdefault(row, row) != row:
                parent[row] = row = parent[parent[row]]
            return row

        for first, second in zip(self.pairs["first"].tolist(), self.pairs["second"].tolist(), strict=True):
            low, high = sorted((root(first), root(second)))
            parent[high] = low
        members: dict[int, list[int]] = {}
        for row in sorted(parent):
            members.setdefault(root(row), []).append(row)
        return list(members.values())


def near_duplicates(index: pd.DataFrame, distance: int = 6, limit: int = 200_000) -> NearDuplicates:
    """Every pair of images whose hashes differ in at most `distance` of 64 bits, up to `limit` pairs.

    A pair is 'across_splits' if one image is trained on and the other held out, else 'across_classes' if their labels
    differ, else 'within_class'. Photos of different things on one background can be alike too: look before dropping.
    Raises: ValueError for a distance that is not 0..16, or a row without a hash.
    """
    codes = hash_codes(index)
    check_distance(distance)
    found, count = [], 0
    for first, second, apart in earlier_neighbours(codes, distance):
        found.append(np.stack([first, second, apart]))
        count += len(first)
        if count > limit:
            break
    rows = np.concatenate(found, axis=1) if found else np.empty((3, 0), dtype=np.int64)
    rows = rows[:, np.lexsort((rows[1], rows[0]))] if count <= limit else rows[:, :limit]
    return NearDuplicates(pair_table(index, *rows), complete=count <= limit)


def leave_out(
    index: pd.DataFrame,
    distance: int = 6,
    kinds: tuple[Kind, ...] = KINDS,
    spare: tuple[str, ...] = (),
    *,
    two_names: TwoNames = "earlier_stays",
) -> NearDuplicates:
    """One pair for each image to leave out: it, and the nearest image that stays and that it nearly repeats.

    Once the seconds are gone, no pair of these `kinds` is left (but among the files to `spare`, which always stay). Of
    two alike a spared one stays, else one that is held out (so that an official test side stays whole), else the
    earlier row. An image leaves only for one that stays itself, so a long chain of small changes is not one group.
    Where the labels of two alike differ, one is wrong, or the things are alike: with `two_names` "ask" both stay, since
    only a person can tell; with "earlier_stays" the earlier one stays, which may be the wrong one.
    Raises: ValueError for an unknown kind, a distance that is not 0..16, or a row without a hash.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"duplicates: a kind is one of {', '.join(KINDS)}; got {unknown[0]!r}.")
    check_distance(distance)
    codes = hash_codes(index)
    spared = index["file"].isin(spare).to_numpy()
    order = np.lexsort((np.arange(len(index)), ~held_out(index), ~spared))
    counts = counted_pairs(index, kinds, two_names)
    kept = np.zeros(len(index), dtype=bool)
    stayed, left, bits = [], [], []
    for block, near_kept, near_block in blocks_against_kept(codes, order, kept, distance):
        spared_here = spared[block]
        best = Nearest(len(block))
        query, first, apart = near_kept
        counted = counts(first, block[query]) & ~spared_here[query]
        best.take(query[counted], first[counted], apart[counted])
        later, earlier, apart = near_block  # places in the block, later > earlier
        counted = counts(block[earlier], block[later]) & ~spared_here[later]
        later, earlier, apart = later[counted], earlier[counted], apart[counted]
        starts = np.searchsorted(later, np.arange(len(block) + 1))
        for place in np.unique(later):
            mine = slice(starts[place], starts[place + 1])
            staying = best.row[earlier[mine]] < 0
            for other, gap in zip(earlier[mine][staying], apart[mine][staying], strict=True):
                if gap < best.apart[place]:
                    best.row[place], best.apart[place] = block[other], gap
        out = best.row >= 0
        kept[block[~out]] = True
        stayed.append(best.row[out])
        left.append(block[out])
        bits.append(best.apart[out])
    rows = (np.concatenate(part) if part else np.empty(0, dtype=np.int64) for part in (stayed, left, bits))
    return NearDuplicates(pair_table(index, *rows))


class Nearest:
    """For each row of a block the nearest row that stays, or -1; of equally near ones the first taken."""

    def __init__(self, count: int) -> None:
        self.row = np.full(count, -1, dtype=np.int64)
        self.apart = np.full(count, BITS + 1, dtype=np.int64)

    def take(self, query: np.ndarray, row: np.ndarray, apart: np.ndarray) -> None:
        order = np.lexsort((apart, query))
        query, first = np.unique(query[order], return_index=True)
        self.row[query], self.apart[query] = row[order][first], apart[order][first]


Matches = tuple[np.ndarray, np.ndarray, np.ndarray]


def blocks_against_kept(
    codes: np.ndarray, order: np.ndarray, kept: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, Matches, Matches]]:
    """Blocks of rows in `order`, with their neighbours among the rows kept before, and among each other.

    The caller marks in `kept` which of a block stay before it asks for the next.
    """
    staying = faiss.IndexBinaryFlat(BITS)
    rows_staying = np.empty(0, dtype=np.int64)
    for start, stop in block_bounds(len(order)):
        block = order[start:stop]
        query, place, apart = search(staying, codes[block], distance)
        among = faiss.IndexBinaryFlat(BITS)
        among.add(codes[block])
        later, earlier, gap = search(among, codes[block], distance)
        before = earlier < later
        yield block, (query, rows_staying[place], apart), (later[before], earlier[before], gap[before])
        new = block[kept[block]]
        staying.add(codes[new])
        rows_staying = np.concatenate([rows_staying, new])


def earlier_neighbours(codes: np.ndarray, distance: int) -> Iterator[Matches]:
    """(first, second, bits apart) of every pair, block by block of the second; first < second."""
    seen = faiss.IndexBinaryFlat(BITS)
    for start, stop in block_bounds(len(codes)):
        seen.add(codes[start:stop])
        query, first, apart = search(seen, codes[start:stop], distance)
        second = query + start
        before = first < second
        yield first[before], second[before], apart[before]


def block_bounds(count: int) -> Iterator[tuple[int, int]]:
    """Starts and stops of blocks so small that even if all rows are alike a block has at most MATCHES neighbours."""
    size = int(np.clip(MATCHES // max(count, 1), 16, 2048))
    for start in range(0, count, size):
        yield start, min(start + size, count)


def search(index: faiss.IndexBinaryFlat, codes: np.ndarray, distance: int) -> Matches:
    """(query, place in the index, bits apart) of all neighbours, in the order of the queries.

    One thread: blocks are small, and on a busy machine two wait for each other ten times as long as they work.
    """
    if index.ntotal == 0 or len(codes) == 0:
        return (np.empty(0, dtype=np.int64),) * 3
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        limits, apart, places = index.range_search(codes, distance + 1)  # faiss keeps what is nearer than the radius
    finally:
        faiss.omp_set_num_threads(threads)
    counts: np.ndarray = np.diff(limits.astype(np.int64))
    query = np.repeat(np.arange(len(codes)), counts)
    return query, places.astype(np.int64), apart.astype(np.int64)


def hash_codes(index: pd.DataFrame) -> np.ndarray:
    """(N, 8) uint8 from hashes of 16 hex digits."""
    hashes = index["hash"].to_numpy(dtype=object)
    wrong = [number for number, text in enumerate(hashes) if len(text) != 16]
    try:
        data = bytes.fromhex("".join(hashes)) if not wrong else b""
    except ValueError:
        wrong, data = [next(n for n, text in enumerate(hashes) if set(text.lower()) - set("0123456789abcdef"))], b""
    if wrong:
        raise ValueError(
            f"duplicates: every image needs a hash of 16 hex digits; {index['file'].iloc[wrong[0]]} has "
            f"{hashes[wrong[0]]!r}. Import the set, which makes them."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, 8)


def check_distance(distance: int) -> None:
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"duplicates: distance must be 0 to {MAX_DISTANCE} of {BITS} bits; got {distance}.")


def held_out(index: pd.DataFrame) -> np.ndarray:
    """(N,) bool: rows with a split word other than train."""
    sides = index["split"].str.strip().str.lower().to_numpy(dtype=object)
    return (sides != "train") & (sides != "")


def pair_kinds(index: pd.DataFrame) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from two arrays of rows to the kind of each pair."""
    labels, away = pd.factorize(index["label"].to_numpy(dtype=object))[0], held_out(index)
    words = np.array(KINDS)

    def kinds(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        number = np.where(away[first] != away[second], 2, (labels[first] != labels[second]).astype(np.int64))
        return words[number]

    return kinds


def counted_pairs(
    index: pd.DataFrame, kinds: tuple[Kind, ...], two_names: TwoNames
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from two arrays of rows to whether one of each pair is to leave."""
    labels, kind_of = pd.factorize(index["label"].to_numpy(dtype=object))[0], pair_kinds(index)

    def counts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked = np.isin(kind_of(first, second), kinds)
        return asked & (labels[first] == labels[second]) if two_names == "ask" else asked

    return counts


def pair_table(index: pd.DataFrame, first: np.ndarray, second: np.ndarray, apart: np.ndarray) -> pd.DataFrame:
    kinds = pair_kinds(index)(first, second).astype(object)
    return pd.DataFrame({"first": first, "second": second, "distance": apart, "kind": kinds})
