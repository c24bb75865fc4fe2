"""A table that names images and their classes: CSV or Parquet, one or several joined."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from mlcore.data.sources.found import Found, LeftOut
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.root import Root, allowed, checked_name, not_an_image, printable, same_name
from mlcore.declare import Knob, nearest_word

TABLE_LIMIT = 1 * 2**30  # bytes of a table
ROW_LIMIT = 2_000_000
COLUMN_LIMIT = 200
FIELD_LIMIT = 10_000  # characters of one cell
SPLITS = {word: word for word in ("train", "test", "val", "query", "gallery")}
SPLITS |= {"training": "train", "testing": "test", "valid": "val", "validation": "val"}
CORNERS = ("left", "top", "right", "bottom")
KNOWN = ("split", "fold", "parent", "box", "text", *CORNERS)
Row = dict[str, str]


@SOURCES.add(
    "table", title="Table of files", family="own", names=("CSV", "Parquet", "OML dataframe"), traits=("anything",)
)
class FileTable:
    """A row for each image: `file` and `label`, and where there are: split, fold, parent, box, text.

    `split` is train, test, val, query or gallery; `box` is "left, top, right, bottom" in pixels, or four columns of
    those names; `text` says what is to be seen, for training with text. Further tables are joined by the file's name
    where they bring other columns, and put below where they have files and labels of their own. A row that cannot be
    used is left out with its number.

    Raises: ValueError if a table cannot be read, lacks a column or is too large.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: Annotated[str | None, Knob("Folder of the images.", none="the table's own folder")] = None,
        more: Annotated[
            str | None, Knob("More tables beside it, with commas between them.", none="none", rare=True)
        ] = None,
        file_column: Annotated[str, Knob("Column with the file's name.", rare=True)] = "file",
        label_column: Annotated[str, Knob("Column with the class.", rare=True)] = "label",
    ) -> None:
        self.path = allowed(path)
        folder = self.path.parent
        self.root = Root(folder if root is None else folder / Path(root).expanduser())
        beside = [name.strip() for name in (more or "").split(",") if name.strip()]
        self.tables = [self.path, *(allowed(folder / name) for name in beside)]
        self.names = {file_column: "file", label_column: "label"}
        self.below, self.joined = [self.path], []
        for table in self.tables[1:]:
            both = {"file", "label"} <= set(self.columns(table))
            (self.below if both else self.joined).append(table)
        joined = {name for table in self.joined for name in self.columns(table)}
        for table in self.below:
            self.check_columns(table, joined)

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        return os.path.isfile(path) and Path(path).suffix.lower() in (".csv", ".tsv", ".parquet")

    def columns(self, table: Path) -> list[str]:
        """The names of a table's columns, the file's and the label's as `file` and `label`."""
        names = [self.names.get(name, name) for name in column_names(table)]
        twice = {name for name in names if names.count(name) > 1 and name in ("file", "label", *KNOWN)}
        if twice:
            raise ValueError(f"{table.name}: has the column '{sorted(twice)[0]}' twice; keep one of them.")
        return names

    def check_columns(self, table: Path, joined: set[str]) -> None:
        have = set(self.columns(table))
        asked = {name: column for column, name in self.names.items()}
        for needed in ("file", "label"):
            if needed not in have | (joined if needed == "label" else set()):
                near = nearest_word(asked[needed], sorted(have))
                raise ValueError(
                    f"{table.name}: must have a column '{asked[needed]}'.{near} Name yours with {needed}_column."
                )

    def find(self) -> Iterator[Found | LeftOut]:
        beside: dict[str, Row] = {}
        for table in self.joined:
            for row in self.rows(table):
                beside.setdefault(row.get("file", ""), {}).update({k: v for k, v in row.items() if v and k != "file"})
        seen: dict[int, str] = {}
        for table in self.below:
            for number, row in enumerate(self.rows(table), 2):
                yield self.found(table, number, row | beside.get(row.get("file", ""), {}), seen)

    def rows(self, table: Path) -> Iterator[Row]:
        read = parquet_rows if table.suffix.lower() == ".parquet" else csv_rows
        for number, row in enumerate(read(table)):
            if number == ROW_LIMIT:
                raise ValueError(f"{table.name}: has more than {ROW_LIMIT:,} rows; divide it.")
            yield {self.names.get(name, name): value.strip() for name, value in row.items()}

    def found(self, table: Path, number: int, row: Row, seen: dict[int, str]) -> Found | LeftOut:
        """What a row says, or why it cannot be used."""
        file = row.get("file", "").replace("\\", "/").removeprefix("./")
        where = f"{table.name}, row {number}"
        try:
            checked_name(file)
            box, fold, split = box_of(row), fold_of(row), split_of(row)
        except ValueError as error:
            return LeftOut(printable(file) or where, f"{where}: {error}")
        if not row.get("label"):
            return LeftOut(file, f"{where}: it has no label. Every image needs a class.")
        if reason := not_an_image(file):
            return LeftOut(file, f"{where}: {reason}")
        twin = hash((same_name(file), box))
        if twin in seen:
            same = seen[twin] == file
            return LeftOut(file, f"{where}: the table names {'it' if same else 'a name that differs by case'} before.")
        seen[twin] = file
        return Found(file, row["label"], row.get("parent") or None, split, fold, box, row.get("text") or None)

    def open(self, file: str) -> bytes:
        return self.root.open(file)

    def stamp(self, file: str) -> str:
        return self.root.stamp(file)


def split_of(row: Row) -> str | None:
    """One of the known words; any other is refused, for it would be trained on or not by accident."""
    word = row.get("split", "").lower()
    if word and word not in SPLITS:
        raise ValueError(f"its split is '{word[:40]}'; it must be train, test, val, query or gallery.")
    return SPLITS.get(word)


def fold_of(row: Row) -> int | None:
    text = row.get("fold", "")
    return whole("fold", text) if text else None


def box_of(row: Row) -> tuple[int, int, int, int] | None:
    """The box in pixels. Raises: ValueError if it is not four numbers, or has no area."""
    text = row.get("box", "").strip("[]()")
    numbers = text.replace(",", " ").replace(";", " ").split() if text else [row.get(name, "") for name in CORNERS]
    if not any(numbers):
        return None
    if len(numbers) != 4:
        raise ValueError(f"its box must be four numbers: left, top, right, bottom; got '{text[:40]}'.")
    left, top, right, bottom = (whole("box", number) for number in numbers)
    if left < 0 or top < 0 or right <= left or bottom <= top:
        raise ValueError(
            f"its box must be left < right and top < bottom, from 0; got {left}, {top}, {right}, {bottom}."
        )
    return left, top, right, bottom


def whole(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError(f"its {name} must be a number; got '{text[:40]}'.")
    return round(number)


def column_names(table: Path) -> list[str]:
    if not table.is_file():
        raise ValueError(f"{table}: must be a table that is there. Check its name.")
    if table.stat().st_size > TABLE_LIMIT:
        raise ValueError(f"{table.name}: has more than {TABLE_LIMIT / 2**30:.0f} GB; divide it.")
    if table.suffix.lower() == ".parquet":
        names = list(parquet_file(table).schema_arrow.names)
    else:
        names = next(csv_lines(table), [])
    if not names or len(names) > COLUMN_LIMIT:
        raise ValueError(f"{table.name}: must have 1 to {COLUMN_LIMIT} columns; got {len(names)}.")
    return [name.strip() for name in names]


def csv_rows(table: Path) -> Iterator[Row]:
    names, lines = column_names(table), csv_lines(table)
    next(lines, None)
    for cells in lines:
        if any(cells):
            yield dict(zip(names, cells, strict=False))


def csv_lines(table: Path) -> Iterator[list[str]]:
    """Lines of cells; the character between them is the one of , ; and tab that the first line has most of."""
    with table.open("rb") as file:
        first = file.readline(2**16)
    delimiter = max(",;\t", key=lambda mark: first.count(mark.encode()))
    limit = csv.field_size_limit(FIELD_LIMIT)
    try:
        with table.open(encoding="utf-8-sig", newline="") as text:
            yield from csv.reader(text, delimiter=delimiter, strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table.name}: is not a table in UTF-8 that can be read: {error}") from None
    finally:
        csv.field_size_limit(limit)


def parquet_file(table: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{table.name}: is no Parquet table that can be read: {error}") from None
    facts = file.metadata
    unpacked = sum(facts.row_group(group).total_byte_size for group in range(min(facts.num_row_groups, 100_000)))
    if facts.num_rows > ROW_LIMIT or unpacked > 4 * TABLE_LIMIT:
        raise ValueError(
            f"{table.name}: has {facts.num_rows:,} rows and unpacks to {unpacked / 2**30:.1f} GB; divide it."
        )
    return file


def parquet_rows(table: Path) -> Iterator[Row]:
    """Rows of those columns that are numbers or texts; what is nothing in them is an empty text."""
    import pyarrow

    file = parquet_file(table)
    names = [field.name for field in file.schema_arrow if plain_column(field.type)]
    try:
        for batch in file.iter_batches(batch_size=4096, columns=names):
            for row in batch.to_pylist():
                yield {name: cell_text(value) for name, value in row.items()}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{table.name}: is no Parquet table that can be read: {error}") from None


def plain_column(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return plain_column(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return types.is_integer(kind.value_type) or types.is_floating(kind.value_type)
    return any(
        check(kind)
        for check in (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    )


def cell_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value[:8]))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)[:FIELD_LIMIT]
