"""Runs as one zip."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Sequence

from mlcore.runs.folder import RunFolder


def zip_runs(runs: Sequence[RunFolder]) -> bytes:
    """A zip with every file of the runs (without hidden ones); it is packed on the disk, and then read once.

    Files that a worker takes away meanwhile are left out. Raises: OSError where the disk is full.
    """
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
            for run in runs:
                for name, path in run.zip_bytes():
                    with contextlib.suppress(FileNotFoundError):
                        archive.write(path, name)
        file.seek(0)
        return file.read()
