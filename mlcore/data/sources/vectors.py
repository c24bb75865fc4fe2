"""Feature vectors with labels, from an NPZ archive of arrays or a Parquet table: what a head is trained on."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
from PIL import Image

from mlcore.data.sources.found import Found, LeftOut
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.root import allowed, checked_name
from mlcore.data.sources.table import SPLITS, column_names, parquet_file
from mlcore.data.sources.zip import RATIO_LIMIT, SMALL, check_list
from mlcore.declare import Knob, nearest_word

ROW_LIMIT = 2_000_000
COLUMN_LIMIT = 65_536
VALUE_LIMIT = 2**30  # numbers of all vectors together: 4 GB as they are kept
WORDS_LIMIT = 512 * 2**20  # bytes of all labels or names, as an array keeps them
MEMBER_LIMIT = 1000
READ = 8 * 2**20  # bytes
SIDES = (8, 16)  # px of the square that shows a vector
PART = 4096  # rows
NUMBERS = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}
WORDS = {**NUMBERS, "U": None, "S": None, "b": (1,)}
VECTORS = ("vectors", "vector", "embeddings", "embedding", "features", "feature", "x")
LABELS = ("labels", "label", "y", "classes", "class", "targets", "target")
EXTRAS = {"name": ("names", "name", "files", "file"), "split": ("splits", "split"), "fold": ("folds", "fold")}
EXTRAS |= {"parent": ("parents", "parent")}


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds. Shapes: vectors (N, D) float32; labels and each of `extras` N texts, '' where there is none.

    `why` says by row what is wrong with a vector, beside numbers that are not finite.
    """

    vectors: np.ndarray
    labels: Sequence[str]
    extras: dict[str, Sequence[str]]
    why: dict[int, str]


@SOURCES.add("vectors", title="Feature vectors", family="own", names=("NPZ", "embeddings", "descriptors"))
class FeatureVectors:
    """Vectors that some network made, with their labels: a head is trained on them as they are.

    An NPZ archive has an array `vectors` (N, D) and one of `labels` (N,), words or whole numbers, and where there are:
    `names`, `splits`, `folds`, `parents`, (N,) each. A Parquet table has a column of lists, or a column for each number
    (then all columns of numbers that mean nothing else are taken, in their order), and the others as columns. A vector
    that is not finite is left out with its row. As there are no images, each is shown as a grey picture of its first
    256 numbers, standardised over the set, by rows. All vectors are held in memory while they are imported.

    Raises: ValueError if the file cannot be read, lacks an array or a column, holds anything but numbers and words
    (nothing pickled is read), does not hold what it says, or is too large.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        vectors: Annotated[str | None, Knob("Array or column of the vectors.", none="seen by its name")] = None,
        labels: Annotated[str | None, Knob("Array or column of the labels.", none="seen by its name")] = None,
    ) -> None:
        self.path = allowed(path)
        self.asked = {"vectors": vectors, "labels": labels}
        if not self.path.is_file():
            raise ValueError(f"{path}: must be a file of vectors that is there. Check its name.")
        read = read_parquet if self.path.suffix.lower() == ".parquet" else read_npz
        self.table = read(self.path, vectors, labels)
        if not len(self.table.vectors):
            raise ValueError(f"{self.path.name}: must have at least one vector; it has none.")

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        if not os.path.isfile(path):
            return False
        suffix = Path(path).suffix.lower()
        if suffix != ".parquet":
            return suffix == ".npz"
        try:
            kinds = parquet_kinds(Path(path))
        except ValueError:
            return False
        return "file" not in kinds and (bool(list_column(kinds)) or len(number_columns(kinds, None)) > 1)

    @cached_property
    def finite(self) -> np.ndarray:
        """(N,) bool: which vectors can be used."""
        good = np.isfinite(self.table.vectors).all(axis=1)
        good[list(self.table.why)] = False
        return good

    @cached_property
    def files(self) -> list[str]:
        """Each row's name: its own, told apart where several rows share it, else its number."""
        names = self.table.extras.get("name") or [""] * len(self.finite)
        digits = len(str(len(names)))
        counts = Counter(names)
        found = [f"{name} (row {row})" if counts[name] > 1 else name for row, name in enumerate(names)]
        return [
            f"vector {row:0{digits}d}" if not names[row] or not usable(name) else name for row, name in enumerate(found)
        ]

    @cached_property
    def rows(self) -> dict[str, int]:
        return {file: row for row, file in enumerate(self.files)}

    @cached_property
    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the numbers that are shown, of the finite vectors, float32."""
        shown = self.table.vectors[self.finite, : self.side**2]
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = shown.mean(axis=0, dtype=np.float64), shown.std(axis=0, dtype=np.float64)
        return mean.astype(np.float32), np.where(deviation > 0, deviation, 1.0).astype(np.float32)

    @property
    def side(self) -> int:
        """Of the square that has room for all numbers of a vector, or for the first 256."""
        return min(SIDES[1], max(SIDES[0], math.ceil(math.sqrt(self.table.vectors.shape[1]))))

    def find(self) -> Iterator[Found | LeftOut]:
        table = self.table
        for row, file in enumerate(self.files):
            told = {name: words[row] for name, words in table.extras.items()}
            split, fold = told.get("split", "").lower(), told.get("fold", "")
            reason = table.why.get(row, "")
            if not reason and not self.finite[row]:
                reason = "Its vector has numbers that are not finite."
            if not reason and not table.labels[row]:
                reason = "It has no label. Every vector needs a class."
            if not reason and split and split not in SPLITS:
                reason = f"Its split is '{split[:40]}'; it must be train, test, val, query or gallery."
            if not reason and fold and not fold.lstrip("-").isdigit():
                reason = f"Its fold must be a whole number; got '{fold[:40]}'."
            if reason:
                yield LeftOut(file, reason)
                continue
            number = int(fold) if fold and int(fold) >= 0 else None
            yield Found(file, table.labels[row], told.get("parent") or None, SPLITS.get(split), number)

    def open(self, file: str) -> bytes:
        """A PNG of the vector's numbers, at most the first 256 of them, grey where they are the set's mean."""
        row = self.rows.get(file)
        if row is None:
            raise ValueError("There is no such vector.")
        mean, deviation = self.scale
        shown = (self.table.vectors[row, : self.side**2] - mean) / deviation
        tile = np.full(self.side**2, 128, np.uint8)
        tile[: len(shown)] = np.clip(128.0 + 48.0 * np.nan_to_num(shown), 0, 255)
        file_bytes = io.BytesIO()
        Image.fromarray(tile.reshape(self.side, self.side)).save(file_bytes, "PNG", compress_level=1)
        return file_bytes.getvalue()

    def stamp(self, file: str) -> str:
        """The vector itself."""
        return f"{zlib.crc32(np.ascontiguousarray(self.table.vectors[self.rows[file]])):08x}"

    def vectors_of(self, files: Sequence[str]) -> Iterator[np.ndarray]:
        """(n, D) float32 each: the vectors of these names, part after part."""
        for start in range(0, len(files), PART):
            yield self.table.vectors[[self.rows[file] for file in files[start : start + PART]]]


def usable(name: str) -> bool:
    try:
        checked_name(name)
    except ValueError:
        return False
    return True


def check_shape(who: str, rows: int, columns: int) -> None:
    """Raises: ValueError for more numbers than are read or than there is memory for."""
    if rows > ROW_LIMIT or not 1 <= columns <= COLUMN_LIMIT or rows * columns > VALUE_LIMIT:
        raise ValueError(
            f"{who}: at most {ROW_LIMIT:,} vectors of 1 to {COLUMN_LIMIT:,} numbers, {VALUE_LIMIT:,} in all, are read; "
            f"it says {rows:,} of {columns:,}. Divide it."
        )
    if 4 * rows * columns > psutil.virtual_memory().available:
        raise ValueError(f"{who}: its vectors take {4 * rows * columns / 2**30:.1f} GB, more memory than is free.")


def named(who: str, asked: str | None, known: Sequence[str], there: Sequence[str], what: str) -> str:
    """Which of `there` is meant. Raises: ValueError if it is not there."""
    if asked is not None:
        if asked not in there:
            raise ValueError(f"{who}: has no {what} '{asked}'.{nearest_word(asked, there)}")
        return asked
    lower = {name.lower(): name for name in reversed(there)}
    found = next((lower[name] for name in known if name in lower), None)
    if found is None:
        raise ValueError(
            f"{who}: must have {known[0]}, called '{known[0]}' or '{known[2]}'; it has {', '.join(there) or 'nothing'}."
            f" Name yours: --option {known[0]}=NAME"
        )
    return found


def extras_among(there: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Which array or column holds the names, splits, folds and parents, where there are any."""
    lower = {name.lower(): name for name in reversed(there) if name not in taken}
    found = {extra: next((lower[name] for name in known if name in lower), None) for extra, known in EXTRAS.items()}
    return {extra: name for extra, name in found.items() if name is not None}


def read_npz(path: Path, vectors: str | None, labels: str | None) -> Table:
    check_list(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OSError) as error:
        raise ValueError(f"{path.name}: is no NPZ archive that can be read: {error}") from None
    with archive:
        entries = npz_entries(path, archive)
        there = list(entries)
        chosen = named(path.name, vectors, VECTORS, there, "array")
        of_labels = named(path.name, labels, LABELS, [name for name in there if name != chosen], "array")
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
                raise ValueError(f"{who}: must hold {wanted_kinds(dimensions)}; it holds {kind}.{cure}")
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


def wanted_kinds(dimensions: int) -> str:
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
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, UserWarning, OverflowError) as error:
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


def column_words(path: Path, name: str, column: np.ndarray) -> list[str]:
    """Each value as text. Raises: ValueError for numbers that are not whole, or bytes that are no text."""
    if column.dtype.kind == "f":
        whole = np.isfinite(column) & (np.abs(column) < 2**53)
        if (column[whole] % 1 != 0).any():
            raise ValueError(f"{path.name}: '{name}' must be words or whole numbers; it has fractions.")
        return [str(int(value)) if good else "" for value, good in zip(column, whole, strict=True)]
    try:
        words = np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: '{name}' must be text in UTF-8: {error}") from None
    return [plain_word(str(word)) for word in words.tolist()]


def plain_word(word: str) -> str:
    """Without blanks around it; what is no Unicode is shown as its number."""
    return word.strip().encode(errors="backslashreplace").decode()


def parquet_kinds(path: Path) -> dict[str, Any]:
    """A table's columns and the kind of each. Raises: ValueError if it cannot be read or has a column twice."""
    names = column_names(path)
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name}: has a column twice; keep one of them.")
    schema = parquet_file(path).schema_arrow
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
    label = named(path.name, labels, LABELS, list(kinds), "column")
    chosen = list_column(kinds) if vectors is None else named(path.name, vectors, VECTORS, list(kinds), "column")
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
    return gathered(path, columns, texts, listed=chosen is not None)


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


def gathered(path: Path, columns: list[str], texts: dict[str, str], *, listed: bool) -> Table:
    """Batch after batch of a Parquet table, so that one that says less than it holds is noticed in time."""
    import pyarrow

    file = parquet_file(path)
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
                part = np.stack([numbers_of(batch.column(name)) for name in columns], axis=1)
            rows += len(part)
            check_shape(path.name, rows, max(1, width))
            parts.append(part)
            for meaning, name in texts.items():
                words[meaning] += [cell_word(value) for value in batch.column(name).to_pylist()]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: is no Parquet table that can be read: {error}") from None
    matrix = np.concatenate([grown(part, width) for part in parts]) if parts else np.zeros((0, width), np.float32)
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
        part[good] = numbers_of(column.filter(good).flatten()).reshape(-1, width)
    for row in np.flatnonzero(~good):
        has = "no vector" if lengths[row] < 1 else f"{lengths[row]} numbers"
        why[first + int(row)] = f"It has {has}; the first vector has {width}."
    return part, width


def grown(part: np.ndarray, width: int) -> np.ndarray:
    """Rows that came before the first vector told how long they are."""
    return part if part.shape[1] == width else np.zeros((len(part), width), np.float32)


def numbers_of(column: Any) -> np.ndarray:
    """float32, not a number where there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return column.to_numpy(zero_copy_only=False).astype(np.float32)


def cell_word(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return plain_word(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value))
