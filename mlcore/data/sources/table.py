"""A table that names images and their classes: CSV or Parquet, one or several joined."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import Root, check_name, make_printable, not_an_image, resolve_allowed, same_name
from mlcore.data.sources.split_names import SIDES
from mlcore.data.sources.table_rows import (
    SUFFIXES,
    Row,
    TableFile,
    column_names,
    numbered_rows,
    open_table,
    unreadable_columns,
)
from mlcore.data.sources.zip_files import PackedFiles
from mlcore.declare import Knob, nearest_word
from mlcore.traits import SourceTrait

CORNERS = ("left", "top", "right", "bottom")
KNOWN = ("split", "fold", "parent", "box", "text", *CORNERS)
FILE_COLUMNS = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "image_name")
LABEL_COLUMNS = ("label", "class", "class_name", "label_name", "category", "labels", "target")
FILE_COLUMN = Knob("Column with the file's name.", none="file, or filename, path, image ...", rare=True)
LABEL_COLUMN = Knob("Column with the class.", none="label, or class, category ...", rare=True)


class TableOfFiles:
    """Images as the rows of tables name them. `tables` are the main one and others beside it; `images` opens them.

    Further tables are joined by the file's name where they bring other columns, and put below where they have files and
    labels of their own.

    Raises: ValueError if a table cannot be read, lacks a column or has one of a kind that is not read.
    """

    def __init__(
        self,
        tables: Sequence[TableFile],
        images: Root | PackedFiles,
        file_column: str | None,
        label_column: str | None,
    ) -> None:
        self.images = images
        main, *beside = tables
        there = column_names(main)
        self.asked = {"file": file_column, "label": label_column}
        self.called = {
            "file": file_column or known_column(there, FILE_COLUMNS),
            "label": label_column or known_column(there, LABEL_COLUMNS),
        }
        self.below: list[TableFile] = [main]
        self.joined: list[TableFile] = []
        for table in beside:
            both = {"file", "label"} <= set(self.columns(table))
            (self.below if both else self.joined).append(table)
        joined = {name for table in self.joined for name in self.columns(table)}
        for table in self.below:
            self.check_columns(table, joined)

    def columns(self, table: TableFile) -> list[str]:
        """The names of a table's columns, the file's and the label's as `file` and `label`."""
        meaning = {column: name for name, column in self.called.items()}
        names = [meaning.get(name, name) for name in column_names(table)]
        twice = {name for name in names if names.count(name) > 1 and name in ("file", "label", *KNOWN)}
        if twice:
            raise ValueError(f"{table.name}: has the column '{sorted(twice)[0]}' twice; keep one of them.")
        for column, kind in unreadable_columns(table).items():
            if meaning.get(column, column) in ("file", "label", *KNOWN):
                raise ValueError(
                    f"{table.name}: the column '{column}' must hold words or numbers; it holds {kind}. Write it as "
                    "text, or call it otherwise."
                )
        return names

    def check_columns(self, table: TableFile, joined: set[str]) -> None:
        have = set(self.columns(table))
        for needed in ("file", "label"):
            if needed not in have | (joined if needed == "label" else set()):
                near = nearest_word(self.called[needed], sorted(have))
                raise ValueError(
                    f"{table.name}: must have a column '{self.called[needed]}'.{near} Name yours with "
                    f"--option {needed}_column=NAME."
                )

    def describe(self) -> list[Reading]:
        """Which columns were taken for what, where they are not called so and nobody said it."""
        return [
            Reading(f"The column '{self.called[name]}' is taken as the {what}.", f"--option {name}_column=NAME")
            for name, what in (("file", "file's name"), ("label", "class"))
            if self.asked[name] is None and self.called[name] != name
        ] + self.images.describe_names()

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        beside: dict[str, Row] = {}
        for table in self.joined:
            for _, row in self.rows(table):
                facts = {name: value for name, value in row.items() if value and name != "file"}
                beside.setdefault(normalize_name(self.plain_name(row)), {}).update(facts)
        seen: dict[int, str] = {}
        for table in self.below:
            for number, row in self.rows(table):
                file = self.plain_name(row)
                yield self.found(f"{table.name}, row {number}", file, row | beside.get(normalize_name(file), {}), seen)

    def rows(self, table: TableFile) -> Iterator[tuple[int, Row]]:
        meaning = {column: name for name, column in self.called.items()}
        for number, row in numbered_rows(table):
            yield number, {meaning.get(name, name): value.strip() for name, value in row.items()}

    def plain_name(self, row: Row) -> str:
        """A row's file as a name below the images' folder, where it is one: an absolute path into it is."""
        file = row.get("file", "").replace("\\", "/").removeprefix("./")
        return self.images.name_below(file)

    def found(self, where: str, file: str, row: Row, seen: dict[int, str]) -> ImageEntry | SkippedEntry:
        """What a row says, or why it cannot be used."""
        try:
            check_name(file)
            box, fold, split = read_box(row), read_fold(row), read_split(row)
        except ValueError as error:
            cure = " Name that folder: --option root=FOLDER" if file.startswith("/") else ""
            return SkippedEntry(make_printable(file) or where, f"{where}: {error}{cure}")
        if not row.get("label"):
            return SkippedEntry(file, f"{where}: it has no label. Every image needs a class.")
        if reason := not_an_image(file):
            return SkippedEntry(file, f"{where}: {reason}")
        twin = hash((same_name(file), box))
        if twin in seen:
            same = normalize_name(seen[twin]) == normalize_name(file)
            return SkippedEntry(
                file, f"{where}: the table names {'it' if same else 'a name that differs by case'} before."
            )
        seen[twin] = file
        label, parent = normalize_name(row["label"]), normalize_name(row.get("parent", ""))
        return ImageEntry(file, label, parent or None, split, fold, box, row.get("text") or None)

    def open(self, file: str) -> bytes:
        return self.images.open(file)

    def stamp(self, file: str) -> str:
        return self.images.stamp(file)


@SOURCES.add(
    "table",
    title="Table of files",
    family="own",
    aliases=("CSV", "Parquet", "OML dataframe"),
    traits=(SourceTrait.ANYTHING,),
)
class FileTable(TableOfFiles):
    """A row for each image: `file` and `label`, and where there are: split, fold, parent, box, text.

    `split` is train, test, val, query or gallery; `box` is "left, top, right, bottom" in pixels, or four columns of
    those names; `text` says what is to be seen, for training with text. The images lie beside the table, in another
    folder, or in a zip archive (`root`). Further tables are joined by the file's name where they bring other columns,
    and put below where they have files and labels of their own. A row that cannot be used is left out with its number.

    Raises: ValueError if a table cannot be read, lacks a column or is too large.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: Annotated[
            str | None, Knob("Folder of the images, or a zip archive of them.", none="the table's own folder")
        ] = None,
        more: Annotated[
            str | None, Knob("More tables beside it, with commas between them.", none="none", rare=True)
        ] = None,
        file_column: Annotated[str | None, FILE_COLUMN] = None,
        label_column: Annotated[str | None, LABEL_COLUMN] = None,
    ) -> None:
        self.path = resolve_allowed(path)
        folder = self.path.parent
        place = folder if root is None else folder / Path(root).expanduser()
        beside = [name.strip() for name in (more or "").split(",") if name.strip()]
        tables = [open_table(self.path), *(open_table(resolve_allowed(folder / name)) for name in beside)]
        super().__init__(tables, files_at(place), file_column, label_column)

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        return os.path.isfile(path) and Path(path).suffix.lower() in SUFFIXES


def files_at(place: Path) -> Root | PackedFiles:
    """A folder, or a zip archive as one."""
    return PackedFiles(place) if place.suffix.lower() == ".zip" and place.is_file() else Root(place)


def known_column(there: Sequence[str], known: Sequence[str]) -> str:
    """The first of the known names that a column has, in any case; else the first of all."""
    lower = {name.lower(): name for name in reversed(there)}
    return next((lower[name] for name in known if name in lower), known[0])


def normalize_name(name: str) -> str:
    """A name with its accents written in the one way in which names are compared."""
    return unicodedata.normalize("NFC", name)


def read_split(row: Row) -> str | None:
    """One of the known words; any other is refused, for it would be trained on or not by accident."""
    word = row.get("split", "").lower()
    if word and word not in SIDES:
        raise ValueError(f"its split must be train, test, val, query or gallery; got '{word[:40]}'.")
    return SIDES.get(word)


def read_fold(row: Row) -> int | None:
    text = row.get("fold", "")
    if not text:
        return None
    fold = parse_finite("fold", text)
    if fold < -1 or fold != int(fold):
        raise ValueError(f"its fold must be a whole number from 0, or -1 for none; got '{text[:40]}'.")
    return None if fold == -1 else int(fold)


def read_box(row: Row) -> tuple[int, int, int, int] | None:
    """The box in pixels, without what lies left of or above the image.

    Raises: ValueError if it is not four numbers, or has no area.
    """
    text = row.get("box", "").strip("[]()")
    numbers = text.replace(",", " ").replace(";", " ").split() if text else [row.get(name, "") for name in CORNERS]
    if not any(numbers):
        return None
    if len(numbers) != 4:
        raise ValueError(f"its box must be four numbers: left, top, right, bottom; got '{text[:40]}'.")
    left, top, right, bottom = (round(parse_finite("box", number)) for number in numbers)
    if right <= max(left, 0) or bottom <= max(top, 0):
        raise ValueError(
            f"its box must be left < right and top < bottom, from 0; got {left}, {top}, {right}, {bottom}."
        )
    return max(left, 0), max(top, 0), right, bottom


def parse_finite(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError(f"its {name} must be a number; got '{text[:40]}'.")
    return number
