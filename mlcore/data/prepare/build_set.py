"""A prepared index as a set of its own, which can be trained on: its pixels are copied from the sets it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mlcore.data.image_set_writer import SetWriter
from mlcore.data.prepare.plan import Plan
from mlcore.data.sources.entries import ImageEntry
from mlcore.data.store import SetFacts, data_root, read_facts, set_of_state
from mlcore.disk.atomic import make_folders

COLUMNS = ("row", "file", "label", "parent", "split", "fold", "text")
WRITTEN = (*COLUMNS, "width", "height", "mode", "hash")


def derive_set(
    index: pd.DataFrame,
    folders: Mapping[str, Path],
    title: str,
    *,
    plan: Plan | None = None,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of a new set with the rows of a prepared index, in their order; the sets it comes from stay.

    `folders` are those sets' by name: with several, `set` in the index says whose `row` a row is. The same rows of the
    same sets are not written twice under one title. `plan` is kept beside, to tell how the set was made.

    Raises: ValueError if a folder is no set, the sets are of different sides, or a row is not in its set; DiskFull
    before the disk is full.
    """
    facts = {name: require_facts(folder) for name, folder in folders.items()}
    sides = {name: fact.side for name, fact in facts.items()}
    if len(set(sides.values())) != 1:
        raise ValueError(
            f"prepare: sets that are merged must have images of one side; they have {in_words(sides)} px. Import them "
            "with the same side."
        )
    only = next(iter(facts))
    whose = index["set"].to_numpy() if len(facts) > 1 else np.full(len(index), only, dtype=object)
    check_rows(index, whose, facts)
    chosen, root = index[list(COLUMNS)].assign(set=whose), root or data_root()
    digest = hashlib.sha256(json.dumps([facts[name].fingerprint for name in facts]).encode())
    digest.update(chosen.to_json(orient="values").encode())
    state = digest.hexdigest()
    there = set_of_state(root, state, None, title)
    if there is not None:
        return there
    pixels = {
        name: np.load(fact.folder / "pixels.npy", mmap_mode="r", allow_pickle=False) for name, fact in facts.items()
    }
    vectors = vector_reader(index, whose, facts)
    rows = zip(whose, *(index[name] for name in WRITTEN), strict=True)
    make_folders(root)
    with SetWriter(root, state, sides[only]) as writer:
        writer.check_room((len(index) - writer.done) * sides[only] ** 2 * 3)
        for number, (name, row, file, label, parent, split, fold, text, width, height, mode, look) in enumerate(rows):
            if number < writer.done:
                continue
            found = ImageEntry(
                file,
                label,
                parent=parent or None,
                split=split or None,
                fold=int(fold) if fold >= 0 else None,
                text=text or None,
            )
            writer.add(found, pixels[name][row], int(width), int(height), mode, look)
            if progress is not None:
                progress(number + 1, len(index))
        made_from = {
            "key": "prepared",
            "path": "",
            "knobs": {},
            "sets": {name: fact.id for name, fact in facts.items()},
            "plan": (plan or Plan()).model_dump(mode="json"),
            "state": state,
        }
        return writer.finish(title, made_from, {"side": sides[only]}, vectors_of=vectors)


def vector_reader(
    index: pd.DataFrame, whose: np.ndarray, facts: Mapping[str, SetFacts]
) -> Callable[[list[str]], Iterator[np.ndarray]] | None:
    """What gives the vectors of the index's rows, part after part; None for sets of images.

    Raises: ValueError if only some of the sets have vectors, or theirs are of different lengths.
    """
    if not any(fact.has_vectors for fact in facts.values()):
        return None
    if not all(fact.has_vectors for fact in facts.values()):
        raise ValueError("prepare: a set of feature vectors can be merged with other sets of vectors only.")
    arrays = {
        name: np.load(fact.folder / "vectors.npy", mmap_mode="r", allow_pickle=False) for name, fact in facts.items()
    }
    lengths = {name: array.shape[1] for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"prepare: vectors that are merged must be of one length; they have {in_words(lengths)}.")
    rows = index["row"].to_numpy()
    return lambda _: (arrays[name][row][None] for name, row in zip(whose, rows, strict=True))


def require_facts(folder: Path) -> SetFacts:
    facts = read_facts(Path(folder))
    if facts is None:
        raise ValueError(f"{folder}: must be an imported set to make another of it; it is a table. Import its images.")
    return facts


def check_rows(index: pd.DataFrame, whose: np.ndarray, facts: Mapping[str, SetFacts]) -> None:
    for name in pd.unique(pd.Series(whose)):
        if name not in facts:
            raise ValueError(f"prepare: the index has rows of '{name}', which is none of {', '.join(facts)}.")
        rows, count = index["row"].to_numpy()[whose == name], facts[name].counts["images"]
        if rows.min() < 0 or rows.max() >= count:
            raise ValueError(f"prepare: rows of '{name}' must be 0 to {count - 1}; got {rows.min()} to {rows.max()}.")


def in_words(sides: Mapping[str, int]) -> str:
    return " and ".join(f"{side} ({name})" for name, side in sides.items())
