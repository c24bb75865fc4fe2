"""Feature vectors in a Parquet table: a column of lists, or a column for each number."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.data.sources.table_rows import column_names, open_table, parquet_file
from mlcore.data.sources.vector_table import (
    EXTRAS,
    LABELS,
    VECTORS,
    Table,
    check_shape,
    extras_among,
    find_column,
    plain_word,
)


def parquet_kinds(path: Path) -> dict[str, Any]:
    """A table's columns and the kind of each. Raises: ValueError if it cannot be read or has a column twice."""
    names = column_names(open_table(path))
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name}: has a column twice; keep one of them.")
    schema = parquet_file(open_table(path)).schema_arrow
    return dict(zip(schema.names, schema.types, strict=True))


def is_list(kind: Any) -> bool:
    import pyarrow.types as types

    any_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return any_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def list_column(kinds: dict[str, Any]) -> str | None:
    """The column of lists of numbers that is called as vectors are, else the only one there is."""
    lists = [name for name, kind in kinds.items() if is_list(kind)]
    lower = {name.lower(): name for name in reversed(lists)}
    known = next((lower[name] for name in VECTORS if name in lower), None)
    return known or (lists[0] if len(lists) == 1 else None)


def number_columns(kinds: dict[str, Any], label: str | None) -> list[str]:
    """The columns of numbers that mean nothing else, in their order."""
    import pyarrow.types as types

    meaning = {*LABELS, *(name for known in EXTRAS.values() for name in known), "row", "index", "__index_level_0__"}
    return [
        name
        for name, kind in kinds.items()
        if name != label and name.lower() not in meaning and (types.is_floating(kind) or types.is_integer(kind))
    ]


def read_parquet(path: Path, vectors: str | None, labels: str | None) -> Table:
    kinds = parquet_kinds(path)
    label = find_column(path.name, labels, LABELS, list(kinds), "column")
    chosen = list_column(kinds) if vectors is None else find_column(path.name, vectors, VECTORS, list(kinds), "column")
    columns = [chosen] if chosen is not None else number_columns(kinds, label)
    if not columns or (chosen is not None and not is_list(kinds[chosen])):
        raise ValueError(
            f"{path.name}: must have a column of lists of numbers, or columns of numbers; it has "
            f"{', '.join(f'{name} ({kind})' for name, kind in list(kinds.items())[:20])}."
        )
    texts = {"label": label, **extras_among(list(kinds), (label, *columns))}
    texts = {meaning: name for meaning, name in texts.items() if is_word(kinds[name])}
    if "label" not in texts:
        raise ValueError(f"{path.name}: '{label}' must hold words or whole numbers; it holds {kinds[label]}.")
    return read_batches(path, columns, texts, listed=chosen is not None)


def is_word(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return is_word(kind.value_type)
    checks: tuple[Callable[[Any], bool], ...] = (
        types.is_string,
        types.is_large_string,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
    )
    return any(check(kind) for check in checks)


def read_batches(path: Path, columns: list[str], texts: dict[str, str], *, listed: bool) -> Table:
    """Batch after batch of a Parquet table, so that one that says less than it holds is noticed in time."""
    import pyarrow

    file = parquet_file(open_table(path))
    parts: list[np.ndarray] = []
    words: dict[str, list[str]] = {meaning: [] for meaning in texts}
    why: dict[int, str] = {}
    width = 0 if listed else len(columns)
    rows = 0
    try:
        for batch in file.iter_batches(batch_size=2048, columns=[*columns, *texts.values()]):
            if listed:
                part, width = list_rows(batch.column(columns[0]), width, rows, why)
            else:
                part = np.stack([column_numbers(batch.column(name)) for name in columns], axis=1)
            rows += len(part)
            check_shape(path.name, rows, max(1, width))
            parts.append(part)
            for meaning, name in texts.items():
                words[meaning] += [cell_word(value) for value in batch.column(name).to_pylist()]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: is no Parquet table that can be read: {error}") from None
    matrix = np.concatenate([widen_rows(part, width) for part in parts]) if parts else np.zeros((0, width), np.float32)
    return Table(matrix, words.pop("label"), words, why)


def list_rows(column: Any, width: int, first: int, why: dict[int, str]) -> tuple[np.ndarray, int]:
    """Lists as rows (n, width) float32; one that is missing or of another length than the first is zeros, with why."""
    import pyarrow.compute as compute

    lengths = compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if not width:
        width = int(next((length for length in lengths if length > 0), 0))
    part = np.zeros((len(lengths), width), np.float32)
    good = lengths == width
    if width and good.any():
        part[good] = column_numbers(column.filter(good).flatten()).reshape(-1, width)
    for row in np.flatnonzero(~good):
        has = "no vector" if lengths[row] < 1 else f"{lengths[row]} numbers"
        why[first + int(row)] = f"It has {has}; the first vector has {width}."
    return part, width


def widen_rows(part: np.ndarray, width: int) -> np.ndarray:
    """Rows that came before the first vector told how long they are."""
    return part if part.shape[1] == width else np.zeros((len(part), width), np.float32)


def column_numbers(column: Any) -> np.ndarray:
    """float32, not a number where there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return column.to_numpy(zero_copy_only=False).astype(np.float32)


def cell_word(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return plain_word(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value))
