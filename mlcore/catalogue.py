"""What is declared in every room, without importing torch when an up-to-date listing is at hand.

Declarations live in the parts' own files, and reading those means importing torch (about 2 s). So whoever has
imported them leaves the listing in the user's cache folder, named by a digest of our sources; a page or a
command that only needs to know *what there is* reads that file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import sys
import time
from pathlib import Path

from mlcore.declare import PartSpec, Registry

ROOMS = {
    "losses": ("mlcore.losses", "LOSSES"),
    "miners": ("mlcore.miners", "MINERS"),
    "subset_miners": ("mlcore.miners", "SUBSET_MINERS"),
    "samplers": ("mlcore.samplers", "SAMPLERS"),
    "methods": ("mlcore.training.methods", "METHODS"),
    "optimizers": ("mlcore.training.optimizers", "OPTIMIZERS"),
    "schedules": ("mlcore.spec.schedules", "SCHEDULES"),
    "text_encoders": ("mlcore.text", "TEXT_ENCODERS"),
    "augmentations": ("mlcore.augmentations", "AUGMENTATIONS"),
    "backbones": ("mlcore.backbones", "BACKBONES"),
    "datasets": ("mlcore.data", "DATASETS"),
    "distances": ("mlcore.distances", "DISTANCES"),
    "reducers": ("mlcore.reducers", "REDUCERS"),
    "regularizers": ("mlcore.regularizers", "REGULARIZERS"),
    "wrappers": ("mlcore.losses.wrappers.distributed", "WRAPPERS"),
    "testers": ("mlcore.evaluation.testers", "TESTERS"),
    "sources": ("mlcore.data.sources", "SOURCES"),
}
KEPT_S = 30 * 86_400.0
SOURCES = Path(__file__).parent


def registry(room: str) -> Registry:
    """The declared parts of one of ROOMS."""
    if room not in ROOMS:
        raise ValueError(f"There is no room '{room}'. Known: {', '.join(ROOMS)}.")
    return import_registry(room) if is_imported(ROOMS[room][0]) else read_listing()[room]


def is_imported(module: str) -> bool:
    """Whether a module is there as a whole; one that another thread is still importing would have to be waited for."""
    found = sys.modules.get(module)
    return found is not None and not getattr(found.__spec__, "_initializing", False)


def import_registry(room: str) -> Registry:
    module, name = ROOMS[room]
    return getattr(importlib.import_module(module), name)


@functools.lru_cache(maxsize=1)
def read_listing() -> dict[str, Registry]:
    """Every room, from the listing of these very sources, or made now and left for the next process."""
    listing = cache_file()
    try:
        records = json.loads(listing.read_text())
        return {
            room: Registry(records[room]["noun"], [PartSpec.from_dict(spec) for spec in records[room]["specs"]])
            for room in ROOMS
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {room: import_registry(room) for room in write_listing(listing)}


def write_listing(listing: Path | None = None) -> tuple[str, ...]:
    """Import every room and leave the listing; those of sources long gone are removed.

    A cache folder that cannot be written costs speed, nothing else.
    """
    listing = listing or cache_file()
    records = {
        room: {"noun": import_registry(room).noun, "specs": [spec.to_dict() for spec in import_registry(room).values()]}
        for room in ROOMS
    }
    temporary = listing.with_suffix(f".{os.getpid()}.tmp")
    try:
        listing.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(records))
        temporary.replace(listing)
        for other in listing.parent.glob("catalogue-*.json"):
            if other != listing and time.time() - other.stat().st_mtime > KEPT_S:
                other.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return tuple(ROOMS)


def cache_file() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metric-learning-lab"
    return folder / f"catalogue-{sources_digest()}.json"


@functools.lru_cache(maxsize=1)
def sources_digest() -> str:
    """Changes whenever one of our Python files does."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        facts = path.stat()
        digest.update(f"{path.relative_to(SOURCES)}:{facts.st_mtime_ns}:{facts.st_size};".encode())
    return digest.hexdigest()[:16]
