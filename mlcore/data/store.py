"""The imported sets: a folder each under the data root, read-only but for their titles."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.data.fingerprint import compute_fingerprint, set_stamp
from mlcore.data.natural_order import natural_key
from mlcore.data.table import ImageTable
from mlcore.disk.atomic import read_json, replace_json

if TYPE_CHECKING:
    import pandas as pd

SET_ID = re.compile(r"set-[0-9a-f]{12}")
TITLE_LIMIT = 120
FOUND, NATURAL = "found", "natural"
LATER = ("one_colour", "class_order")  # facts that sets of before do not have
UPLOADS = ".uploads"  # where files that somebody sent lie until they are imported


class SetNotFound(ValueError):
    """There is no imported set of that name."""


@dataclass(frozen=True)
class SetFacts:
    """What `set.json` says of a set: who it is, whence, how much, how stored, and what to know of it (`notes`).

    `one_colour` are the first thousand rows whose images came out of one colour all over. `class_order` says how its
    classes are numbered, see `number_classes`.
    """

    folder: Path
    id: str
    title: str
    source: dict[str, Any]
    counts: dict[str, int]
    side: int
    mode: str
    fingerprint: str
    made: str
    options: dict[str, Any]
    notes: list[str]
    one_colour: list[int] = field(default_factory=list)
    class_order: str = FOUND

    @property
    def has_vectors(self) -> bool:
        """Whether it is a set of feature vectors, on which a head is trained."""
        return (self.folder / "vectors.npy").exists()


def data_root() -> Path:
    """`LAB_DATA`, else `data` beside the runs."""
    given = os.environ.get("LAB_DATA")
    return Path(given) if given else Path(os.environ.get("LAB_RUNS") or "runs").absolute().parent / "data"


def own_key(key: str) -> str | None:
    """What a data set's key means if it means no declared one: a set's id, or an absolute path; else None.

    Whether there is such a set is not asked: what a run was trained on may be gone.
    """
    if SET_ID.fullmatch(key):
        return key
    is_path = "/" in key or os.sep in key or key.startswith((".", "~"))
    try:
        path = Path(key).expanduser()
        return os.path.abspath(path) if is_path or path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def own_title(key: str) -> str:
    """What people call the images of a set's id or of a path."""
    facts = read_facts(data_root() / key) if SET_ID.fullmatch(key) else None
    return facts.title if facts else Path(key).name or key


def all_sets(root: Path | None = None) -> list[SetFacts]:
    """Every set, the newest first."""
    folder = root or data_root()
    found = [read_facts(entry) for entry in folder.glob("set-*") if SET_ID.fullmatch(entry.name)]
    return sorted((facts for facts in found if facts), key=lambda facts: (facts.made, facts.id), reverse=True)


def full_titles(sets: Sequence[SetFacts], taken: Iterable[str] = ()) -> dict[str, str]:
    """What to call each set, by its id, so that no two are called the same, nor as something else that is `taken`."""
    return {
        facts.id: f"{facts.title} ({difference}, {facts.counts['images']:,} images)" if difference else facts.title
        for facts, difference in zip(sets, distinguishing_words(sets, taken).values(), strict=True)
    }


def distinguishing_words(sets: Sequence[SetFacts], taken: Iterable[str] = ()) -> dict[str, str]:
    """By id: whence and when a set came, where its title does not tell it from others; else ""."""
    titles = Counter([facts.title.casefold() for facts in sets] + [title.casefold() for title in taken])
    told = {facts.id: "" if titles[facts.title.casefold()] == 1 else origin_and_time(facts) for facts in sets}
    same = Counter((facts.title.casefold(), told[facts.id]) for facts in sets)
    return {
        facts.id: f"{told[facts.id]}, {facts.id}"
        if same[facts.title.casefold(), told[facts.id]] > 1
        else told[facts.id]
        for facts in sets
    }


def origin_and_time(facts: SetFacts) -> str:
    """'upload shop.zip, 27 Nov 10:26', by the clock of this machine."""
    path = str(facts.source.get("path") or "")
    way = f"upload {Path(path).name}" if is_upload(path) else Path(path).name if path else "files"
    way = "prepared" if facts.source.get("sets") else way
    try:
        made = datetime.fromisoformat(facts.made).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        made = facts.made
    return f"{way}, {made}"


def is_upload(path: str) -> bool:
    """Whether what an import read was sent by somebody for it."""
    return UPLOADS in Path(path).parts


def find_set(text: str, root: Path | None = None) -> SetFacts:
    """The set whose id is or ends with `text`, or whose title it is.

    Raises: SetNotFound if there is none; ValueError if several are called so.
    """
    wanted = text.strip()
    sets = all_sets(root)
    for same in (
        lambda facts: facts.id == wanted.lower(),
        lambda facts: len(wanted) >= 4 and facts.id.endswith(wanted.lower()),
        lambda facts: facts.title == wanted,
    ):
        found = [facts for facts in sets if same(facts)]
        if len(found) > 1:
            which = "; ".join(f"{facts.id} ({origin_and_time(facts)})" for facts in found)
            raise ValueError(f"{len(found)} sets are meant by '{wanted[:60]}'. Name one by its id: {which}.")
        if found:
            return found[0]
    raise SetNotFound(f"There is no imported set '{wanted[:60]}' in {root or data_root()}. See: python -m mlcore data")


def set_of_state(root: Path, state: str, options: Mapping[str, object] | None, title: str | None = None) -> Path | None:
    """The newest set that was made of a source in this very state, with these options asked for or (None) any, and
    under this title or (None) any."""
    for facts in all_sets(root):
        asked = {"side": facts.options.get("asked_side"), "fit": facts.options.get("fit")}
        fits = (options is None or asked == options) and (title is None or facts.title == title)
        if facts.source.get("state") == state and fits:
            return facts.folder
    return None


def read_facts(folder: Path) -> SetFacts | None:
    """A folder's facts, or None where they cannot be read."""
    record = read_json(folder / "set.json")
    try:
        facts = {name: record[name] for name in SetFacts.__annotations__ if name not in ("folder", *LATER)}
        return SetFacts(folder, **facts, **{name: record[name] for name in LATER if name in record})
    except (TypeError, KeyError):
        return None


def open_set(text: str, root: Path | None = None) -> ImageTable:
    """A set as a table whose pixels stay on the disk until they are looked at.

    Raises: ValueError if there is no such set, or its files are not the ones that were imported.
    """
    facts = find_set(text, root)
    try:
        return read_set(facts.folder, facts.title, set_stamp(facts.folder))
    except OSError as error:
        raise ValueError(f"{facts.title}: cannot be read: {error}. Import it again.") from None


@lru_cache(maxsize=4)
def read_set(folder: Path, title: str, stamp: str) -> ImageTable:
    facts = read_facts(folder)
    if facts is None:
        raise FileNotFoundError("its set.json is gone, or is no record of a set")
    check_unchanged(folder, facts, stamp)
    index = read_index(folder)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
    if len(pixels) != len(index):
        raise ValueError(f"{title}: must have a row of pixels for each of {len(index)} images; has {len(pixels)}.")
    vectors = None
    if facts.has_vectors:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
    codes, names = number_classes(index.label, facts.class_order)
    parents, parent_names = parents_of_classes(index, codes, len(names))
    return ImageTable(
        key=facts.id,
        title=title,
        pixels=pixels,
        labels=codes,
        class_names=tuple(names),
        image_names=tuple(index.file.tolist()),
        origin=origin_sentence(facts),
        licence="Whatever its owner says: an import does not know it.",
        parents=parents,
        parent_names=parent_names,
        splits=index["split"].fillna("").to_numpy(dtype=object) if index["split"].notna().any() else None,
        folds=index["fold"].fillna(-1).to_numpy(dtype=np.int64) if index["fold"].notna().any() else None,
        vectors=vectors,
        known_fingerprint=facts.fingerprint,
        texts=tuple(index["text"].fillna("").map(str)) if index["text"].notna().any() else (),
    )


def number_classes(labels: pd.Series, order: str) -> tuple[np.ndarray, list[str]]:
    """(N,) each row's class number, and the classes' names: in their natural order, or (FOUND) as rows bring them.

    The latter is that of all sets of before, and stays: what runs held out of them depends on it.
    """
    codes, found = labels.factorize()
    names = list(map(str, found))
    if order == FOUND:
        return codes.astype(np.int64), names
    ordered = sorted(range(len(names)), key=lambda code: natural_key(names[code]))
    numbers = np.empty(len(names), dtype=np.int64)
    numbers[ordered] = np.arange(len(names))
    return numbers[codes], [names[code] for code in ordered]


def origin_sentence(facts: SetFacts) -> str:
    """Whence the images came, in a sentence; of an upload, the file's name."""
    day, path = facts.made[:10], str(facts.source.get("path") or "")
    if facts.source.get("sets"):
        return f"Made of {' and '.join(map(own_title, facts.source['sets'].values()))} on {day}."
    if is_upload(path):
        return f"Uploaded as {Path(path).name} on {day}."
    return f"Imported from {path or 'files'} on {day}."


def read_index(folder: Path) -> pd.DataFrame:
    """A set's index as a pandas table: row, file, label, parent, split, fold, text, width, height, mode, hash."""
    import pandas as pd

    return pd.read_parquet(folder / "index.parquet")


def read_left_out(folder: Path) -> pd.DataFrame:
    """What was left out and why, as a pandas table: file, reason."""
    import pandas as pd

    return pd.read_parquet(folder / "left_out.parquet")


def check_unchanged(folder: Path, facts: SetFacts, stamp: str) -> None:
    """Files that were touched are read as a whole; if they are still the same, that is remembered.

    Raises: ValueError if they are others.
    """
    record = read_json(folder / "set.json")
    if record.get("stamp") == stamp:
        return
    if compute_fingerprint(folder, facts.class_order) != facts.fingerprint:
        raise ValueError(f"{facts.title}: its files are not the ones that were imported. Import it again.")
    try:
        replace_json(folder / "set.json", {**record, "stamp": stamp})
    except OSError:
        return  # on a disk that cannot be written, it is read again next time


def parents_of_classes(
    index: pd.DataFrame, codes: np.ndarray, classes: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Each class's parent number and the parents' names; None and () unless every class has exactly one."""
    if index.parent.isna().any():
        return None, ()
    numbers, names = index.parent.factorize()
    of_class = np.zeros(classes, dtype=np.int64)
    of_class[codes] = numbers
    if not np.array_equal(of_class[codes], numbers):
        return None, ()
    return of_class, tuple(map(str, names))


def rename_set(text: str, title: str, root: Path | None = None) -> SetFacts:
    """Raises: ValueError if there is no such set, or the title is empty or too long."""
    if not title.strip() or len(title) > TITLE_LIMIT:
        raise ValueError(f"A title has 1 to {TITLE_LIMIT} characters; got {len(title)}.")
    facts = find_set(text, root)
    replace_json(facts.folder / "set.json", {**read_json(facts.folder / "set.json"), "title": title.strip()})
    return find_set(facts.id, root)


def delete_set(text: str, root: Path | None = None) -> SetFacts:
    """Remove a set; runs that were trained on it can be looked at, not gone on with.

    Raises: ValueError if there is no such set.
    """
    facts = find_set(text, root)
    hidden = facts.folder.with_name(f".deleted-{facts.id}-{os.getpid()}")
    os.rename(facts.folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)
    return facts
