"""Rows of a table, CSV or Parquet, as texts by the names of their columns; what cannot be a table is refused."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

TABLE_LIMIT = 1 * 2**30  # bytes of a table
ROW_LIMIT = 2_000_000
COLUMN_LIMIT = 200
FIELD_LIMIT = 10_000  # characters of one cell
SUFFIXES = (".csv", ".tsv", ".parquet")
Row = dict[str, str]


@dataclass(frozen=True)
class TableFile:
    """A table's name, and where its bytes are: a file, or (out of an archive) memory."""

    name: str
    place: Path | bytes

    @property
    def is_parquet(self) -> bool:
        return self.name.lower().endswith(".parquet")

    @property
    def size(self) -> int:
        return len(self.place) if isinstance(self.place, bytes) else self.place.stat().st_size

    def open(self) -> BinaryIO:
        return io.BytesIO(self.place) if isinstance(self.place, bytes) else self.place.open("rb")


def open_table(path: Path) -> TableFile:
    """Raises: ValueError if there is no such file."""
    if not path.is_file():
        raise ValueError(f"{path}: must be a table that is there. Check its name.")
    return TableFile(path.name, path)


def column_names(table: TableFile) -> list[str]:
    """Raises: ValueError if it is no table that can be read, or too large."""
    if table.size > TABLE_LIMIT:
        raise ValueError(f"{table.name}: has more than {TABLE_LIMIT / 2**30:.0f} GB; divide it.")
    if table.is_parquet:
        names = list(parquet_file(table).schema_arrow.names)
    else:
        names = next((cells for cells in csv_lines(table) if any(cells)), [])
    if not names or len(names) > COLUMN_LIMIT:
        raise ValueError(f"{table.name}: must have 1 to {COLUMN_LIMIT} columns; got {len(names)}.")
    return [name.strip() for name in names]


def unreadable_columns(table: TableFile) -> dict[str, str]:
    """The columns whose values are neither words nor numbers, each with what it holds. In CSV all are words."""
    if not table.is_parquet:
        return {}
    schema = parquet_file(table).schema_arrow
    return {field.name.strip(): str(field.type) for field in schema if not plain_column(field.type)}


def numbered_rows(table: TableFile) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers as a spreadsheet shows them: the names of the columns are the first, empty ones count."""
    for count, (number, row) in enumerate(parquet_rows(table) if table.is_parquet else csv_rows(table)):
        if count == ROW_LIMIT:
            raise ValueError(f"{table.name}: has more than {ROW_LIMIT:,} rows; divide it.")
        yield number, row


def csv_rows(table: TableFile) -> Iterator[tuple[int, Row]]:
    names: list[str] = []
    for number, cells in enumerate(csv_lines(table), 1):
        if not any(cells):
            continue
        if names:
            yield number, dict(zip(names, cells, strict=False))
        else:
            names = [name.strip() for name in cells]


def csv_lines(table: TableFile) -> Iterator[list[str]]:
    """Lines of cells, empty ones too; between cells stands that of , ; and tab that the first words have most of."""
    limit = csv.field_size_limit(FIELD_LIMIT)
    try:
        with table.open() as file:
            delimiter = max(",;\t", key=lambda mark: first_words(file).count(mark.encode()))
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            yield from csv.reader(text, delimiter=delimiter, strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table.name}: is not a table in UTF-8 that can be read: {error}") from None
    finally:
        csv.field_size_limit(limit)


def first_words(file: BinaryIO) -> bytes:
    """The first line that has more than marks and blanks; the file is at its beginning afterwards."""
    file.seek(0)
    head = file.read(2**16).removeprefix(b"\xef\xbb\xbf")
    file.seek(0)
    return next((line for line in head.splitlines() if line.strip(b',;\t "')), b"")


def parquet_file(table: TableFile) -> Any:
    """Raises: ValueError if it is none that can be read, or too large."""
    import pyarrow
    import pyarrow.parquet

    place = pyarrow.BufferReader(table.place) if isinstance(table.place, bytes) else table.place
    try:
        file = pyarrow.parquet.ParquetFile(place)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{table.name}: is no Parquet table that can be read: {error}") from None
    facts = file.metadata
    unpacked = sum(facts.row_group(group).total_byte_size for group in range(min(facts.num_row_groups, 100_000)))
    if facts.num_rows > ROW_LIMIT or unpacked > 4 * TABLE_LIMIT:
        raise ValueError(
            f"{table.name}: has {facts.num_rows:,} rows and unpacks to {unpacked / 2**30:.1f} GB; divide it."
        )
    return file


def parquet_rows(table: TableFile) -> Iterator[tuple[int, Row]]:
    """Rows of those columns that are numbers or texts; what is nothing in them is an empty text."""
    import pyarrow

    file = parquet_file(table)
    names = [field.name for field in file.schema_arrow if plain_column(field.type)]
    number = 1
    try:
        for batch in file.iter_batches(batch_size=4096, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield number, {name.strip(): cell_text(value) for name, value in row.items()}
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
