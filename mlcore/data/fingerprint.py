"""By what an imported set is known: its pixels and what its index says of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

COLUMNS = ("file", "label", "parent", "split", "fold", "text")
CHUNK = 8 * 2**20


def compute_fingerprint(folder: Path, class_order: str = "found") -> str:
    """sha256 of pixels, vectors (if any) and those columns of the index that training can depend on, from the disk.

    How classes are numbered counts where it is not by the first row of each ("found"), as it was in sets of before.
    """
    import pandas as pd

    digest = hashlib.sha256()
    for path in array_files(folder):
        with path.open("rb") as file:
            while part := file.read(CHUNK):
                digest.update(part)
    index = pd.read_parquet(folder / "index.parquet", columns=list(COLUMNS))
    for name in COLUMNS:
        column = index[name].astype(object).where(index[name].notna(), None)
        digest.update(json.dumps([name, column.tolist()], default=int).encode())
    if class_order != "found":
        digest.update(class_order.encode())
    return digest.hexdigest()


def set_stamp(folder: Path) -> str:
    """Changes when somebody writes to the pixels, the vectors or the index; cheap."""
    facts = [path.stat() for path in (*array_files(folder), folder / "index.parquet")]
    return " ".join(f"{fact.st_size}:{fact.st_mtime_ns}" for fact in facts)


def array_files(folder: Path) -> list[Path]:
    """The files of a set's numbers: its pixels, and its vectors where it has any."""
    vectors = folder / "vectors.npy"
    return [folder / "pixels.npy", *([vectors] if vectors.exists() else [])]
