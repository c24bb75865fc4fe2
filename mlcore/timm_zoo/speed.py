"""How many images a second a network takes on this machine: estimated from its counts, or as it was measured.

A batch costs so much for each kind of multiply-add, each value written, each operation and each weight. `measuring.py`
finds these costs once for each machine from a few small networks and leaves them in the user's cache folder; here they
are only read, without torch.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcore.catalogue import cache_file
from mlcore.timm_zoo.model_table import write_whole

if TYPE_CHECKING:
    import pandas as pd

BATCH = 32
WAYS = ("forward", "training")
COSTS = ("dense", "grouped", "matmul", "values", "operations", "parameters")


@dataclass(frozen=True)
class MachineSpeed:
    """What was measured on this machine: `costs` in seconds for each way and unit of `count_operations`, and networks'
    images a second by `speed_key`, with the batch they were measured with."""

    device: str
    threads: int
    torch: str
    costs: dict[str, list[float]]
    measured: dict[str, dict[str, float]] = field(default_factory=dict)

    def in_words(self) -> str:
        """'the CPU, 3 threads' or 'cuda'."""
        return self.device if self.device != "cpu" else f"the CPU, {self.threads} thread{'s'[: self.threads != 1]}"


def speed_file() -> Path:
    machine = f"{platform.node()} {platform.machine()} {os.cpu_count()}"
    return cache_file().with_name(f"speed-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json")


def read_speed() -> MachineSpeed | None:
    """What is known of this machine; None before it was measured, or with another torch."""
    try:
        found = MachineSpeed(**json.loads(speed_file().read_text()))
        whole = set(found.costs) == set(WAYS) and all(len(found.costs[way]) == len(COSTS) for way in WAYS)
        return found if whole and found.torch == torch_version() else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_speed(found: MachineSpeed) -> None:
    """For later processes. Raises: OSError where the cache folder cannot be written."""
    write_whole(speed_file(), json.dumps(asdict(found)))


@functools.lru_cache(maxsize=1)
def torch_version() -> str:
    return importlib.metadata.version("torch")


def speed_key(name: str, height: int, width: int) -> str:
    """Under what a measurement is kept; a tag changes nothing of the speed."""
    return f"{name.partition('.')[0]} {height}x{width}"


def count_operations(rows: pd.DataFrame, heights: pd.Series, widths: pd.Series, batch: int = BATCH) -> np.ndarray:
    """(networks, COSTS) of a batch: billions of multiply-adds in dense and grouped convolutions and in matrix products,
    billions of values written, operations, millions of weights. What depends on the image grows with its area."""
    images = batch * (heights * widths) / (rows.height * rows.width)
    return np.stack(
        [
            images * (rows.gmacs - rows.gmacs_grouped - rows.gmacs_matmul),
            images * rows.gmacs_grouped,
            images * rows.gmacs_matmul,
            images * rows.values_m / 1e3,
            rows.operations,
            rows.parameters_m,
        ],
        axis=1,
    ).astype(float)


def images_per_s(
    rows: pd.DataFrame, found: MachineSpeed, way: str = "training", size: tuple[int, int] | None = None
) -> pd.DataFrame:
    """`images_per_s` and whether that was `measured`, for rows of `network_list` in batches of 32.

    At the networks' own size, or `size` (height, width) for those that take it. NaN for what was not counted.
    """
    import pandas as pd

    if way not in WAYS:
        raise ValueError(f"images_per_s: way must be one of {', '.join(WAYS)}; got {way!r}.")
    fixed = rows.fixed.astype(bool) if size else pd.Series(True, index=rows.index)
    heights, widths = (
        side if size is None else side.where(fixed, wanted)
        for side, wanted in zip((rows.height, rows.width), size or (0, 0), strict=True)
    )
    seconds = count_operations(rows, heights, widths) @ np.array(found.costs[way])
    places = [speed_key(*row) for row in zip(rows.index, heights, widths, strict=True)]
    known = [found.measured.get(name, {}).get(way, np.nan) for name in places]
    measured = pd.Series(known, index=rows.index, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimated = pd.Series(BATCH / seconds, index=rows.index)
    return pd.DataFrame({"images_per_s": measured.fillna(estimated), "measured": measured.notna()})


def speed_words(number: float, measured: bool) -> str:
    """'about 410' or '412', 'about 0.3'; '' where nothing is known."""
    if not np.isfinite(number):
        return ""
    if measured:
        return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
    rough = float(f"{number:.2g}")
    return f"about {rough:,.0f}" if rough >= 10 else f"about {rough:g}"
