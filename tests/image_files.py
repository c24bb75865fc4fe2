"""Images, trees and archives that tests make: good ones and hostile ones."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

STUB = (sys.executable, str(Path(__file__).with_name("hostile_decoder.py")))  # see there


def picture(seed: int = 0, size: tuple[int, int] = (24, 24), mode: str = "RGB") -> Image.Image:
    """A smooth image of its own."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def image_bytes(image: Image.Image | None = None, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, kind, **how)
    return file.getvalue()


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def classes(folder: Path, count: int = 3, each: int = 4, mode: str = "RGB", suffix: str = ".png") -> Path:
    """`count` folders c0, c1 ... of `each` images."""
    files = {
        f"c{label}/{number}{suffix}": image_bytes(picture(100 * label + number, mode=mode))
        for label in range(count)
        for number in range(each)
    }
    return tree(folder, files)


def archive(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as packed:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.filename = name
            entry.compress_type = packing
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, data)
    return path


def png_of_size(width: int, height: int) -> bytes:
    """The head of a one-bit PNG that claims a size, with no pixels to it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder: what is in each file, where each link points."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder"
    return found
