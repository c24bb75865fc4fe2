"""Feature vectors in an NPZ archive, which may come from anybody: heads are read before the numbers are."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.data.sources.vector_table import (
    LABELS,
    MEMBER_LIMIT,
    NUMBERS,
    READ,
    ROW_LIMIT,
    VECTORS,
    WORDS,
    WORDS_LIMIT,
    Table,
    check_shape,
    column_words,
    extras_among,
    find_column,
)
from mlcore.data.sources.zip_files import RATIO_LIMIT, SMALL, check_list

ODD_HEADERS = (  # what numpy raises for a header that says nonsense
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
    UserWarning,
    OverflowError,
    KeyError,
    AttributeError,
    struct.error,
)


def read_npz(path: Path, vectors: str | None, labels: str | None) -> Table:
    check_list(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OSError) as error:
        raise ValueError(f"{path.name}: is no NPZ archive that can be read: {error}") from None
    with archive:
        entries = npz_entries(path, archive)
        there = list(entries)
        chosen = find_column(path.name, vectors, VECTORS, there, "array")
        of_labels = find_column(path.name, labels, LABELS, [name for name in there if name != chosen], "array")
        matrix = read_member(path, archive, entries[chosen], NUMBERS, dimensions=2)
        count = len(matrix)
        columns = {"label": of_labels, **extras_among(there, (chosen, of_labels))}
        read = {}
        for meaning, name in columns.items():
            column = read_member(path, archive, entries[name], WORDS, dimensions=1)
            if len(column) != count:
                raise ValueError(
                    f"{path.name}: '{name}' must have one for each of {count:,} vectors; has {len(column)}."
                )
            read[meaning] = column_words(path, name, column)
    return Table(matrix, read.pop("label"), read, {})


def npz_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays by their names. Raises: ValueError for an archive that names one twice."""
    listed = archive.infolist()
    if len(listed) > MEMBER_LIMIT:
        raise ValueError(f"{path.name}: has {len(listed)} arrays; at most {MEMBER_LIMIT} are read.")
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in listed:
        name = entry.orig_filename.removesuffix(".npy")
        if name in entries:
            raise ValueError(f"{path.name}: names the array '{name[:80]}' twice. Write it anew with numpy.savez.")
        entries[name] = entry
    return entries


def read_member(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, kinds: dict[str, Any], *, dimensions: int
) -> np.ndarray:
    """One array of an archive, looked at before it is read; a matrix comes as float32.

    Raises: ValueError if it is not of the kinds and dimensions that are read, or not as long as its head says.
    """
    who = f"{path.name}: '{entry.orig_filename[:80]}'"
    if entry.flag_bits & 0x41 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{who}: is encrypted, or packed in a way that is not read. Write it with numpy.savez.")
    try:
        with archive.open(entry) as file:
            shape, fortran, kind = npy_header(who, file)
            sizes = kinds.get(kind.kind, ())
            if not kind.itemsize or (sizes is not None and kind.itemsize not in sizes):
                cure = " Save words with .astype(str)." if kind.hasobject else ""
                raise ValueError(f"{who}: must hold {describe_kinds(dimensions)}; it holds {kind}.{cure}")
            if len(shape) != dimensions or any(size < 0 for size in shape):
                raise ValueError(f"{who}: must have {dimensions} dimension(s); its shape is {shape}.")
            if dimensions == 2:
                check_shape(who, *shape)
            size = math.prod(shape) * kind.itemsize
            if dimensions == 1 and (shape[0] > ROW_LIMIT or size > WORDS_LIMIT):
                raise ValueError(
                    f"{who}: at most {ROW_LIMIT:,} words in {WORDS_LIMIT / 2**20:.0f} MB are read; it says "
                    f"{shape[0]:,} in {size / 2**20:,.0f} MB."
                )
            if size > entry.file_size or size > max(SMALL, RATIO_LIMIT * entry.compress_size):
                raise ValueError(f"{who}: says it holds {size:,} bytes, which is not what is in the archive.")
            found = read_numbers(who, file, shape[::-1] if fortran else shape, kind, matrix=dimensions == 2)
            if file.read(1):
                raise ValueError(f"{who}: is longer than its head says.")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        NotImplementedError,
        struct.error,
    ) as error:
        raise ValueError(f"{who}: is damaged: {error}") from None
    return np.ascontiguousarray(found.T) if fortran else found


def describe_kinds(dimensions: int) -> str:
    return "numbers of 2, 4 or 8 bytes" if dimensions == 2 else "words or whole numbers"


def npy_header(who: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and kind of what follows. Raises: ValueError if there is no header that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"version {version} of the format is not read")
            shape, fortran, kind = readers[version](file)
    except ODD_HEADERS as error:
        raise ValueError(f"{who}: is no array that can be read: {str(error)[:200]}") from None
    return shape, fortran, kind


def read_numbers(who: str, file: Any, shape: tuple[int, ...], kind: np.dtype, *, matrix: bool) -> np.ndarray:
    """So many values, bit by bit, a matrix as float32; what comes out is counted, whatever the archive says."""
    count = math.prod(shape)
    found = np.empty(count, np.float32 if matrix else kind)
    step = max(1, READ // max(1, kind.itemsize))
    for start in range(0, count, step):
        wanted = min(step, count - start)
        data = file.read(wanted * kind.itemsize)
        if len(data) != wanted * kind.itemsize:
            raise ValueError(f"{who}: is cut off: {start:,} of {count:,} values are there.")
        with np.errstate(over="ignore", invalid="ignore"):
            found[start : start + wanted] = np.frombuffer(data, kind)
    return found.reshape(shape)
