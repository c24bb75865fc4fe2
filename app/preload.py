"""Imports for the first page, made while the browser is still fetching the page's files."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST_SCRIPTS = (ROOT / "app" / "frame.py", ROOT / "pages" / "lab.py")


def import_page_modules() -> None:
    """Import what the first page's scripts import of ours, and read the images that it shows.

    A script that runs meanwhile waits module by module.
    """
    for script in FIRST_SCRIPTS:
        for name in own_imports(script):
            importlib.import_module(name)
    from app.server import freeze_imported_modules
    from app.shared.draft import default_spec
    from mlcore.data import load

    load(default_spec().dataset.key)
    freeze_imported_modules()


def own_imports(script: Path) -> list[str]:
    """The modules of `app` and `mlcore` that a script imports by `from`, in its order."""
    nodes = ast.parse(script.read_text("utf-8")).body
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return [name for name in named if name.split(".")[0] in ("app", "mlcore")]
