"""The table that preparing works on: one row an image, as an import leaves it, or as any CSV or Parquet file has it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from mlcore.disk.spreadsheet import escape_word, unescape_word

WORDS = ("file", "label", "parent", "split", "text", "mode", "hash")
NUMBERS = ("row", "fold", "width", "height")
PREPARED = ("file", "label", "parent", "width", "height", "hash", "split", "fold")
MAX_BYTES = 1 << 30


def read_index(path: Path | str) -> pd.DataFrame:
    """The index of an imported set (its folder or its index.parquet), or any Parquet or CSV table with file and label.

    Raises: ValueError if there is no such table, or it cannot be read, or it lacks what `complete_index` asks for.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "index.parquet"
    if not path.is_file():
        raise ValueError(
            f"{path}: there must be a table; there is none. Pass a set's folder, a .parquet or a .csv file."
        )
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path.name}: a table may have at most {MAX_BYTES >> 20} MiB; got {path.stat().st_size >> 20}."
        )
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", encoding_errors="strict")
            table = table.apply(lambda column: column.map(unescape_word))
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError, NotImplementedError, pd.errors.ParserError) as error:
        raise ValueError(f"{path.name}: it cannot be read as a table: {error}") from None
    return complete_index(table, path.name)


def complete_index(table: pd.DataFrame, name: str = "index") -> pd.DataFrame:
    """A copy with every column of an index, in its type: missing words are '', a missing fold -1, a missing size 0.

    Row numbers are the table's own `row`, else counted; other columns stay as they are.
    Raises: ValueError if file or label is missing as a column or in a row, or a number is none.
    """
    for column in ("file", "label"):
        if column not in table:
            raise ValueError(f"{name}: there must be a column '{column}'; got {', '.join(map(str, table.columns))}.")
    full = table.reset_index(drop=True).copy()
    for column in WORDS:
        words = full[column].astype(object) if column in full else pd.Series([""] * len(full), dtype=object)
        full[column] = words.where(words.notna(), "").astype(str).astype(object)
    for column in NUMBERS:
        full[column] = whole_numbers(full, column, name)
    for column in ("file", "label"):
        empty = np.flatnonzero((full[column] == "").to_numpy())
        if len(empty):
            raise ValueError(
                f"{name}: every row needs a {column}; {len(empty)} have none, the first is row {empty[0]}. "
                "Fill it in or leave the row out."
            )
    return full


def whole_numbers(table: pd.DataFrame, column: str, name: str) -> np.ndarray:
    """(N,) int64: a column of the table, with what stands for 'none' where it has nothing."""
    missing = {"row": None, "fold": -1}.get(column, 0)
    if column not in table:
        return np.arange(len(table)) if missing is None else np.full(len(table), missing, dtype=np.int64)
    values = table[column].where(table[column].astype(str) != "", np.nan)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero((np.isnan(numbers) & values.notna().to_numpy()) | (numbers % 1 > 0) | np.isinf(numbers))
    if len(wrong):
        raise ValueError(f"{name}, row {wrong[0]}: {column} must be a whole number; got {values.iloc[wrong[0]]!r}.")
    if missing is None and np.isnan(numbers).any():
        raise ValueError(f"{name}: where there are row numbers every row needs one; some have none. Drop the column.")
    return np.nan_to_num(numbers, nan=-1 if missing is None else missing).astype(np.int64)


def write_index(index: pd.DataFrame, path: Path | str) -> Path:
    """Write the table that other tools read: Parquet, or CSV if the name ends so; `row` and `set` go along.

    Parquet keeps every word as it is. In CSV a word that a spreadsheet would run as a formula gets an apostrophe in
    front, which `read_index` takes away again. No fold is an empty cell. The file appears whole or not at all.
    Raises: ValueError for another ending, OSError if it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{path.name}: the prepared table is .parquet or .csv; got '{path.suffix}'. Rename it.")
    table = index[[*PREPARED, *(column for column in ("row", "set") if column in index)]].copy()
    table["fold"] = table["fold"].astype("Int64").where(table["fold"] >= 0)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix.lower() == ".csv":
            words = [column for column in (*WORDS, "set") if column in table]
            table[words] = table[words].map(escape_word)
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def class_codes(index: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int64 class numbers in the alphabetical order of their names, and the names."""
    codes, names = pd.factorize(index["label"].to_numpy(dtype=object), sort=True)
    return codes.astype(np.int64), np.asarray(names, dtype=object)
