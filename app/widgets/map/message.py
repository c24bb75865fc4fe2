"""One snapshot of the map as one packed message.

Layout: [uint32 LE: header length][header: UTF-8 JSON, padded with spaces to a multiple of 4][arrays, each padded to 4
bytes]. The header lists the arrays as [name, type, offset after the header, count]. Positions are uint16 over their
bounds (`low`, `high` in the header), so a point costs 4 bytes in 2-D; ids and labels use the narrowest unsigned type
that holds them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

VERSION = 1


@dataclass(frozen=True)
class MapFrame:
    """What the map shows at one step.

    Points (N): `positions` float (N, dims), `ids` stable sample ids (N,), `labels` (N,) indices into `class_names`,
    `held_out` bool (N,). `proxies` float (P, dims) with `proxy_labels` (P,). `ghosts` float (N, dims): where each point
    was "before". `wedges` (P, 2): in a map of directions in the plane, how far a wedge of its class's colour goes
    around each proxy, clockwise and counterclockwise, in radians. The atlas: `atlas_key` of an atlas which
    `atlas_carrier` brings to the browser, its `tile` side in pixels and `columns`; `atlas_index` (N,) names each
    point's tile (its position in the arrays unless given). `selected`, `neighbours`, `picked` are sample ids,
    `hidden_classes` labels: what the page wants lit. The widget takes each over only when the page changes it, so a
    page that never sets them leaves them to the person. `neighbour_notes` are shown when a neighbour is hovered ("rank
    2, cosine .83"). `faith` may hold `knn_kept` and `trustworthiness` in 0..1. `total` is the number of samples that
    this picture stands for. `title` stands above a saved picture. `panel`: the key of the container that is enlarged
    with the map, such as one that holds a scrubber, too. `nogl` is a hook for tests: draw without WebGL2.
    """

    run: str
    step: int
    method: str
    dims: int
    positions: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    class_names: tuple[str, ...]
    colours: tuple[str, ...]
    total: int
    proxies: np.ndarray | None = None
    proxy_labels: np.ndarray | None = None
    wedges: np.ndarray | None = None
    ghosts: np.ndarray | None = None
    atlas_key: str | None = None
    tile: int | None = None
    columns: int | None = None
    atlas_index: np.ndarray | None = None
    selected: tuple[int, ...] = ()
    neighbours: tuple[int, ...] = ()
    neighbour_notes: tuple[str, ...] = ()
    picked: int | None = None
    hidden_classes: tuple[int, ...] = ()
    faith: Mapping[str, float | None] | None = None
    message: str = ""
    title: str = ""
    panel: str = ""
    theme: Literal["light", "dark"] = "light"
    camera: Literal["hold", "follow"] = "follow"
    nogl: bool = False

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ValueError(f"MapFrame: dims must be 2 or 3; got {self.dims}; project the embeddings first.")
        count = len(self.ids)
        _check_shape("positions", self.positions, (count, self.dims))
        for name in ("labels", "held_out", "atlas_index"):
            if getattr(self, name) is not None:
                _check_shape(name, getattr(self, name), (count,))
        if self.ghosts is not None:
            _check_shape("ghosts", self.ghosts, (count, self.dims))
        if self.proxies is not None:
            if self.proxy_labels is None:
                raise ValueError("MapFrame: proxies need proxy_labels; got none; pass the class of each proxy.")
            _check_shape("proxies", self.proxies, (len(self.proxy_labels), self.dims))
        if self.wedges is not None:
            _check_shape("wedges", self.wedges, (0 if self.proxies is None else len(self.proxies), 2))
        if len(self.class_names) != len(self.colours):
            raise ValueError(
                f"MapFrame: one colour per class; got {len(self.colours)} colours for {len(self.class_names)} classes; "
                "use class_colours(class_names, theme)."
            )
        for name in ("labels", "proxy_labels"):
            given = getattr(self, name)
            if given is not None and len(given) and not 0 <= np.min(given) <= np.max(given) < len(self.class_names):
                raise ValueError(
                    f"MapFrame: {name} must be indices into the {len(self.class_names)} class_names; "
                    f"got {np.min(given)}..{np.max(given)}; pass every class of the data set."
                )
        if self.atlas_key is not None and not (self.tile and self.columns):
            raise ValueError(
                f"MapFrame: atlas {self.atlas_key} needs its tile side and columns; pass those of the Atlas."
            )


def pack(frame: MapFrame, *, height: int = 520) -> bytes:
    """The message that map.js reads; `height` is the map's height in CSS pixels."""
    arrays: dict[str, np.ndarray] = {}
    header: dict[str, object] = {
        "version": VERSION,
        "run": frame.run,
        "step": int(frame.step),
        "method": frame.method,
        "dims": frame.dims,
        "count": len(frame.ids),
        "total": int(frame.total),
        "names": list(frame.class_names),
        "colours": list(frame.colours),
        "picked": None if frame.picked is None else int(frame.picked),
        "hidden": sorted(int(label) for label in frame.hidden_classes),
        "notes": list(frame.neighbour_notes),
        "faith": frame.faith,
        "message": frame.message,
        "title": frame.title,
        "panel": frame.panel,
        "theme": frame.theme,
        "camera": frame.camera,
        "height": int(height),
        "nogl": frame.nogl,
        "atlas": None,
    }
    header["low"], header["high"], arrays["positions"] = _quantise("positions", frame.positions)
    arrays["ids"] = _narrow(frame.ids)
    arrays["labels"] = _narrow(frame.labels)
    arrays["held_out"] = np.packbits(np.asarray(frame.held_out, dtype=bool), bitorder="little")
    if frame.proxies is not None and frame.proxy_labels is not None:
        arrays["proxies"] = np.ascontiguousarray(frame.proxies, dtype="<f4").ravel()
        arrays["proxy_labels"] = _narrow(frame.proxy_labels)
    if frame.wedges is not None:
        arrays["wedges"] = np.ascontiguousarray(frame.wedges, dtype="<f4").ravel()
    if frame.ghosts is not None:
        header["ghost_low"], header["ghost_high"], arrays["ghosts"] = _quantise("ghosts", frame.ghosts)
    if frame.atlas_key is not None:
        header["atlas"] = {"key": frame.atlas_key, "tile": frame.tile, "columns": frame.columns}
        if frame.atlas_index is not None:
            arrays["atlas_index"] = _narrow(frame.atlas_index)
    arrays["selected"] = _narrow(np.unique(np.asarray(frame.selected, dtype=np.int64)))
    arrays["neighbours"] = _narrow(np.asarray(frame.neighbours, dtype=np.int64))
    return _join(header, arrays)


def _join(header: Mapping[str, object], arrays: dict[str, np.ndarray]) -> bytes:
    blocks, listing, offset = [], [], 0
    for name, array in arrays.items():
        block = array.tobytes()
        block += b"\0" * (-len(block) % 4)
        listing.append([name, f"{array.dtype.kind}{array.dtype.itemsize}", offset, int(array.size)])
        blocks.append(block)
        offset += len(block)
    text = json.dumps({**header, "arrays": listing}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = text.encode("utf-8")
    encoded += b" " * (-len(encoded) % 4)
    return b"".join([struct.pack("<I", len(encoded)), encoded, *blocks])


def _quantise(name: str, positions: np.ndarray) -> tuple[list[float], list[float], np.ndarray]:
    """Bounds and uint16 places between them: place = low + (high - low) * code / 65535."""
    places = np.asarray(positions, dtype=np.float64)
    if not np.isfinite(places).all():
        raise ValueError(f"pack: {name} must be finite; got NaN or infinity; leave such samples out of the picture.")
    if len(places) == 0:
        zeros = [0.0] * places.shape[1]
        return zeros, zeros, np.zeros(0, dtype="<u2")
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    codes = np.rint((places - low) / span * 65535).astype("<u2")
    return low.tolist(), high.tolist(), codes.ravel()


def _narrow(values: np.ndarray) -> np.ndarray:
    """`values` in the smallest little-endian unsigned type that holds them."""
    whole = np.asarray(values)
    if whole.size == 0:
        return np.zeros(0, dtype="<u1")
    if whole.min() < 0 or whole.max() >= 2**32:
        raise ValueError(
            f"pack: ids and labels must lie in 0..2^32-1; got {whole.min()}..{whole.max()}; use row numbers."
        )
    largest = int(whole.max())
    kind = "<u1" if largest < 2**8 else "<u2" if largest < 2**16 else "<u4"
    return np.ascontiguousarray(whole, dtype=kind)


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise ValueError(f"MapFrame: {name} must have shape {shape}; got {np.shape(array)}; one row per id.")
