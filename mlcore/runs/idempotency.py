"""One press of Start is one run: a nonce names the run that was made for it, and is given away once."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from mlcore.disk.atomic import make_folder, replace_file

PATIENCE_S = 5.0
LOOK_S = 0.005


class Nonces:
    """A small file for each nonce, which holds a run's id; whole from its first moment, for it is linked into place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".nonces"

    def claim(self, nonce: str, run_id: str) -> str:
        """The id of the run that the nonce stands for: `run_id`, unless another was first.

        That other run may still be in the making; if it never comes (its maker died, or it was deleted), the nonce
        goes to `run_id`.
        """
        if not re.fullmatch(r"[0-9a-zA-Z-]{1,64}", nonce):
            raise ValueError("a nonce has 1 to 64 letters and digits")
        make_folder(self.folder)
        path = self.folder / nonce
        draft = self.folder / f".{nonce}.{os.getpid()}.{run_id}.tmp"
        draft.touch(mode=0o600)
        draft.write_text(run_id)
        try:
            os.link(draft, path)
            return run_id
        except FileExistsError:
            return self._other(path, run_id)
        finally:
            draft.unlink()

    def read(self, nonce: str) -> str:
        """The id that a nonce stands for, '' if it has not been given away."""
        try:
            return (self.folder / nonce).read_text()[:64]
        except (OSError, ValueError):
            return ""

    def _other(self, path: Path, run_id: str) -> str:
        first = path.read_text()
        made = time.time() - path.stat().st_mtime
        deadline = time.monotonic() + max(0.0, PATIENCE_S - max(0.0, made))
        while not (self.root / first / "spec.json").is_file():
            if time.monotonic() >= deadline:
                replace_file(path, run_id.encode())
                return run_id
            time.sleep(LOOK_S)
        return first
