"""A zip archive with a table in it that names its images and their classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import not_an_image
from mlcore.data.sources.table import (
    FILE_COLUMN,
    FILE_COLUMNS,
    LABEL_COLUMN,
    LABEL_COLUMNS,
    TableOfFiles,
    known_column,
)
from mlcore.data.sources.table_rows import SUFFIXES, TableFile, column_names
from mlcore.data.sources.zip_files import AUTO, NAME_ENCODING, PackedFiles, is_archive
from mlcore.declare import Knob

PACKED_TABLE_LIMIT = 256 * 2**20  # bytes of a table in an archive, which is held in memory


@SOURCES.add("zip_table", title="Zip archive with a table", family="own")
class ZipTable(TableOfFiles):
    """A zip archive with a CSV or Parquet table and the images that it names, as `table` reads them.

    Names count from the table's folder, or from the archive's; where neither has such a file and just one file of the
    archive ends so, it is that one. Images that the table does not name are listed and left out.

    Raises: ValueError if the path is no zip archive, or has no such table, or several.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        table: Annotated[str | None, Knob("The table in the archive.", none="the only one", rare=True)] = None,
        file_column: Annotated[str | None, FILE_COLUMN] = None,
        label_column: Annotated[str | None, LABEL_COLUMN] = None,
        name_encoding: Annotated[str, NAME_ENCODING] = AUTO,
    ) -> None:
        self.packed = PackedFiles(path, name_encoding)
        self.table = self.chosen_table(table)
        self.packed.below = f"{self.table.rpartition('/')[0]}/".removeprefix("/")
        read = TableFile(self.table.rpartition("/")[2], self.packed.open(self.table, PACKED_TABLE_LIMIT))
        super().__init__([read], self.packed, file_column, label_column)

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        if not is_archive(path):
            return False
        try:
            return usable_table(PackedFiles(path)) is not None
        except ValueError:
            return False

    def chosen_table(self, asked: str | None) -> str:
        tables = tables_in(self.packed)
        if asked is not None and self.packed.find_spelling(asked) in tables:
            return self.packed.find_spelling(asked)
        found = usable_table(self.packed) or (tables[0] if len(tables) == 1 else None)
        if asked is not None or found is None:
            has = ", ".join(tables[:10]) or "none"
            raise ValueError(
                f"{self.packed.path.name}: must have one table (.csv, .tsv, .parquet) with a column for the file and "
                f"one for the class; its tables: {has}. Name yours with --option table=NAME."
            )
        return found

    def describe(self) -> list[Reading]:
        return [
            Reading(
                f"The classes are those that the table '{self.table}' names.", "--source zip (folders are classes)"
            ),
            *super().describe(),
        ]

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        named = {self.table}
        for item in super().find():
            named.add(item.file)
            yield item
        for file in self.packed.files():
            if isinstance(file, SkippedEntry):
                yield file
            elif file not in named:
                yield SkippedEntry(file, not_an_image(file) or "The table does not name it.")


def tables_in(packed: PackedFiles) -> list[str]:
    return [name for name in packed.files() if isinstance(name, str) and name.lower().endswith(SUFFIXES)]


def usable_table(packed: PackedFiles) -> str | None:
    """The only table of the archive that has a column for the file and one for the class; None for none or several."""
    usable = []
    for name in tables_in(packed):
        try:
            there = column_names(TableFile(name, packed.open(name, PACKED_TABLE_LIMIT)))
        except ValueError:
            continue
        if known_column(there, FILE_COLUMNS) in there and known_column(there, LABEL_COLUMNS) in there:
            usable.append(name)
    return usable[0] if len(usable) == 1 else None
