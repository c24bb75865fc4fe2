"""The image sets that come with the lab, as strips of tiles and a table that names them."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mlcore.data.registry import DATASETS
from mlcore.data.table import ImageTable

INSTALLED = "mlcore_sample_data"  # what `pip install` calls the folder; the wheel maps it in pyproject.toml


@DATASETS.add("glyphs", title="Glyphs", family="sample")
class Glyphs:
    """62 characters drawn in 36 typefaces, 40 x 40 px, grey.

    Digits, capitals and small letters in twelve faces each of Roboto, Source Sans Pro and Source Serif Pro, all on
    one baseline at one size, so that c and C differ by their height. Training helps on characters never trained on.
    """

    def __init__(self) -> None:
        """There is nothing to set."""

    def read(self) -> ImageTable:
        """Raises: ValueError if the files are missing or damaged."""
        return read_strips(
            "glyphs",
            title="Glyphs",
            mode="L",
            origin=(
                "Drawn for the lab from the typefaces Roboto (Google), Source Sans Pro and Source Serif Pro (Adobe), "
                "as packaged on PyPI."
            ),
            licence="Typefaces: Roboto, Apache License 2.0; Source Sans Pro and Source Serif Pro, SIL Open Font 1.1.",
        )


@DATASETS.add("emoji", title="Emoji", family="sample")
class Emoji:
    """130 people and gestures, each in 6 skin tones by 2 designers, 48 x 48 px, colour.

    The tones of one designer are nearly copies, so the nearest image is nearly always right: look at MAP@R, which
    also asks for the other designer's drawings. Each has its official name as text, "waving hand: dark skin tone".
    """

    def __init__(self) -> None:
        """There is nothing to set."""

    def read(self) -> ImageTable:
        """Raises: ValueError if the files are missing or damaged."""
        return read_strips(
            "emoji",
            title="Emoji",
            mode="RGB",
            origin=(
                "Noto Emoji by Google and Twemoji by Twitter, from emoji-datasource 16.0.0 on npm; texts: their short "
                "names in Unicode CLDR, from emojibase-data 16.0.3 on npm."
            ),
            licence=(
                "Noto Emoji: Apache License 2.0. "
                "Twemoji (c) Twitter, Inc and other contributors, CC BY 4.0; resized, colours reduced. "
                "Texts: Unicode License v3."
            ),
        )


def sample_folder(key: str) -> Path:
    """`sample_data/<key>` of the checkout that mlcore stands in, or of the installed package."""
    folders = [Path(__file__).parents[2] / "sample_data"]
    package = importlib.util.find_spec(INSTALLED)
    if package is not None:
        folders += map(Path, package.submodule_search_locations or ())
    for folder in folders:
        if (folder / key / "table.csv").is_file():
            return folder / key
    raise ValueError(f"{key}: its images must stand in sample_data/{key}; they are missing. Install the lab again.")


def read_strips(
    key: str, *, title: str, mode: str, origin: str, licence: str, folder: Path | None = None
) -> ImageTable:
    """A table from strips of square tiles, row by row as `table.csv` names them: sheet, tile, class, image.

    A column `parent` may name the parent of each row's class, a column `text` say what the row shows. Classes and
    parents are numbered in the order of their first row. `mode` is Pillow's "L" or "RGB".
    Raises: ValueError if a strip is missing or has fewer tiles than the table says, or a class has two parents.
    """
    folder = sample_folder(key) if folder is None else folder
    with open(folder / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    strips = {sheet: read_tiles(folder / sheet, mode) for sheet in dict.fromkeys(row["sheet"] for row in rows)}
    class_numbers = {name: number for number, name in enumerate(dict.fromkeys(row["class"] for row in rows))}
    try:
        tiles = [strips[row["sheet"]][int(row["tile"])] for row in rows]
    except IndexError:
        raise ValueError(f"{key}: a strip must have every tile of table.csv; one is too short. Restore it.") from None
    parents, parent_names = number_parents(key, [(row["class"], row["parent"]) for row in rows if row.get("parent")])
    return ImageTable(
        key=key,
        title=title,
        pixels=np.stack(tiles),
        labels=np.array([class_numbers[row["class"]] for row in rows], dtype=np.int64),
        class_names=tuple(class_numbers),
        image_names=tuple(row["image"] for row in rows),
        origin=origin,
        licence=licence,
        parents=parents,
        parent_names=parent_names,
        texts=tuple(row["text"] or "" for row in rows) if rows and "text" in rows[0] else (),
    )


def number_parents(key: str, pairs: Sequence[tuple[str, str]]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Each class's parent number and the parents' names, from (class, parent) of every row; None and () for no rows.

    Classes must come in the order of their numbers; parents are numbered in the order they first come in.
    Raises: ValueError if a class has two parents.
    """
    of_class: dict[str, str] = {}
    for name, parent in pairs:
        if of_class.setdefault(name, parent) != parent:
            raise ValueError(f"{key}: a class must have one parent; '{name}' has '{of_class[name]}' and '{parent}'.")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(of_class.values()))}
    if not numbers:
        return None, ()
    return np.array([numbers[parent] for parent in of_class.values()], dtype=np.int64), tuple(numbers)


def read_tiles(path: Path, mode: str) -> np.ndarray:
    """(tiles, side, side, C) uint8: a strip cut into squares of its own height."""
    if not path.is_file():
        raise ValueError(f"{path.parent.name}: the strip {path.name} must be there; it is missing. Restore it.")
    with Image.open(path) as strip:
        pixels = np.asarray(strip.convert(mode))
    side = pixels.shape[0]
    count = pixels.shape[1] // side
    return pixels.reshape(side, count, side, -1).swapaxes(0, 1)
