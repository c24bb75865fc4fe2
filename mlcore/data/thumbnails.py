"""The images of a sample in one small lossless file, for hovering and for retrieval strips."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

MAX_SIDE = 4096  # px, what every WebGL2 texture may be in practice


@dataclass(frozen=True)
class Atlas:
    """Square tiles of `tile` px, row by row, `columns` to a row: tile n is row n of the pixels it was made from.

    `data` is the image file, `mime` its type, and `key` names its contents: 16 hex digits of sha256.
    """

    data: bytes
    mime: str
    tile: int
    columns: int
    count: int
    key: str


def draw_atlas(pixels: np.ndarray, tile: int, rows: np.ndarray | None = None) -> Atlas:
    """Draw every image into one PNG, each scaled to fit a `tile` px square and centred on its own corner's colour.

    Images already of `tile` px are kept bit for bit. With `rows`, those of the images in that order; they are looked at
    one by one, so that large ones need not fit into memory together.

    Shapes: pixels (N, H, W, C) uint8 with C 1 or 3.
    Raises: ValueError if there is no image, or if the atlas would be wider or higher than 4096 px.
    """
    rows = np.arange(len(pixels)) if rows is None else rows
    count, channels = len(rows), pixels.shape[3]
    if count == 0 or tile < 1:
        raise ValueError(f"atlas: there must be at least one image and one px; got {count} images, tile {tile}.")
    columns = min(math.ceil(math.sqrt(count)), max(1, MAX_SIDE // tile))
    lines = math.ceil(count / columns)
    if max(lines, columns) * tile > MAX_SIDE:
        most = (MAX_SIDE // tile) ** 2
        raise ValueError(
            f"atlas: at {tile} px at most {most} images fit {MAX_SIDE} px square; got {count}. "
            "Show fewer images or choose a smaller tile."
        )
    cells = np.zeros((lines, tile, columns, tile, channels), dtype=np.uint8)
    for number, image in enumerate(fit_into_tiles(pixels, tile, rows)):
        cells[number // columns, :, number % columns] = image
    sheet = cells.reshape(lines * tile, columns * tile, channels)
    file = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(file, "PNG", optimize=False, compress_level=6)
    data = file.getvalue()
    return Atlas(data, "image/png", tile, columns, count, hashlib.sha256(data).hexdigest()[:16])


def fit_into_tiles(pixels: np.ndarray, tile: int, rows: np.ndarray) -> np.ndarray:
    """(N, tile, tile, C) uint8: these images scaled to fit, the rest filled with the top left pixel."""
    _, height, width, channels = pixels.shape
    if (height, width) == (tile, tile):
        return pixels[rows]
    scale = tile / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (tile - size[0]) // 2, (tile - size[1]) // 2
    tiles = np.repeat(np.repeat(pixels[rows, :1, :1], tile, axis=1), tile, axis=2)
    method = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR
    for number, row in enumerate(rows):
        image = pixels[row]
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        scaled = np.asarray(picture.resize((size[1], size[0]), method)).reshape(*size, channels)
        tiles[number, top : top + size[0], left : left + size[1]] = scaled
    return tiles
