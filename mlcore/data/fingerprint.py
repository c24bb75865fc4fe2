"""By what an imported set is known: its pixels and what its index says of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

COLUMNS = ("file", "label", "parent", "split", "fold", "text")
CHUNK = 8 * 2**20


def fingerprint_of(folder: Path) -> str:
    """sha256 of the pixels and of those columns of the index that training can depend on, read from the disk."""
    import pandas as pd

    digest = hashlib.sha256()
    with (folder / "pixels.npy").open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    index = pd.read_parquet(folder / "index.parquet", columns=list(COLUMNS))
    for name in COLUMNS:
        column = index[name].astype(object).where(index[name].notna(), None)
        digest.update(json.dumps([name, column.tolist()], default=int).encode())
    return digest.hexdigest()


def stamp_of(folder: Path) -> str:
    """Changes when somebody writes to the pixels or the index; cheap."""
    facts = [(folder / name).stat() for name in ("pixels.npy", "index.parquet")]
    return " ".join(f"{fact.st_size}:{fact.st_mtime_ns}" for fact in facts)
