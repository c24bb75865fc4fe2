"""Runs as one zip, written to a temporary file so that a large run never lies in memory twice."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from typing import IO

from mlcore.runs.folder import RunFolder


def zip_of(runs: Sequence[RunFolder]) -> IO[bytes]:
    """An open file, at its start, with every file of the runs (without hidden ones)."""
    file = tempfile.SpooledTemporaryFile(max_size=64 * 2**20)  # noqa: SIM115
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for run in runs:
            for name, path in run.zip_bytes():
                archive.write(path, name)
    file.seek(0)
    return file
