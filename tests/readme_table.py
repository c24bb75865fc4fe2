"""The README's table of parts, made from the declarations: `python tests/readme_table.py` renews it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mlcore.catalogue import registry  # noqa: E402
from mlcore.declare import PartSpec  # noqa: E402

README = ROOT / "README.md"
BEGIN, END = "<!-- parts: made by tests/readme_table.py -->\n", "<!-- end of parts -->\n"
FAMILIES = {
    "proxy": "Proxy losses",
    "pair": "Pair losses",
    "triplet": "Triplet losses",
    "list": "List losses",
    "views": "Two-view losses",
}
ROOMS = {
    "miners": "Miners",
    "subset_miners": "Subset miners",
    "samplers": "Samplers",
    "methods": "Training methods",
    "augmentations": "Augmentations",
    "optimizers": "Optimizers",
    "schedules": "Schedules",
    "distances": "Distances",
    "reducers": "Reducers",
    "regularizers": "Regularizers",
    "wrappers": "Wrappers",
    "testers": "Testers",
    "backbones": "Backbones",
    "datasets": "Data sets",
}


def table() -> str:
    """One row a room; losses have a row a family."""
    losses = sorted(
        registry("losses").values(), key=lambda spec: (list(FAMILIES).index(spec.family), spec.title.lower())
    )
    rows = [row(FAMILIES[family], specs) for family, specs in groupby(losses, key=lambda spec: spec.family)]
    rows += [row(name, registry(room).values()) for room, name in ROOMS.items()]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def row(name: str, specs: Iterable[PartSpec]) -> str:
    titles = [spec.title for spec in specs]
    return f"| {name} ({len(titles)}) | {', '.join(titles)} |"


def renewed(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
