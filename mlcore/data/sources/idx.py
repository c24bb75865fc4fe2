"""The files of the MNIST family: all images in one array, all labels in another, as they are or gzipped."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import Root

ARRAY_LIMIT = 768 * 2**20  # bytes of one array; a gzipped one is held in memory
BYTES = 8  # the type code of unsigned bytes


@dataclass(frozen=True)
class Arrays:
    """One pair of files: images (N, H, W), (N, H, W, 3) or (N, 3, H, W), and labels (N,)."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    split: str | None


@SOURCES.add(
    "idx", title="idx files (MNIST family)", family="own", aliases=("MNIST", "EMNIST", "FashionMNIST", "KMNIST")
)
class IdxFiles:
    """A folder with `...images-idx3-ubyte` beside `...labels-idx1-ubyte`, each also with `.gz`.

    Files that begin with train and with t10k or test are taken together, and say so as their split. A class is called
    by its number; where the folder has a `...mapping.txt` of numbers and character codes, as EMNIST has, by its
    character.

    Raises: ValueError if there is no such pair, or an array is not what its name and its header say.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.root = Root(self.path if self.path.is_dir() else self.path.parent)
        only = None if self.path.is_dir() else self.path.name
        self.pairs = [pair for pair in image_files(self.root) if only in (None, *pair)]
        if not self.pairs:
            raise ValueError(
                f"{path}: must hold a file such as train-images-idx3-ubyte beside its labels; there is none."
            )

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        try:
            folder = Path(path) if os.path.isdir(path) else Path(path).parent
            pairs = image_files(Root(folder))
        except ValueError:
            return False
        return bool(pairs) if os.path.isdir(path) else any(Path(path).name in pair for pair in pairs)

    @cached_property
    def arrays(self) -> dict[str, Arrays]:
        both = {}
        for images, labels in self.pairs:
            pixels, numbers = read_array(self.root, images), read_array(self.root, labels)
            if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and 3 not in (pixels.shape[1], pixels.shape[3])):
                raise ValueError(f"{images}: must hold images, grey or RGB; its shape is {pixels.shape}.")
            if numbers.shape != pixels.shape[:1]:
                raise ValueError(f"{labels}: must hold a label for each of {len(pixels)} images; has {numbers.shape}.")
            if pixels.ndim == 4 and pixels.shape[3] != 3:
                pixels = pixels.transpose(0, 2, 3, 1)
            both[images] = Arrays(images, pixels, numbers, split_in(images))
        return both

    @cached_property
    def class_names(self) -> dict[int, str]:
        """The characters of EMNIST's mapping; empty without one."""
        for entry in self.root.entries():
            if entry.name.endswith("mapping.txt"):
                lines = self.root.open(entry.name, limit=2**16).decode("ascii", errors="replace").split("\n")
                pairs = [line.split() for line in lines if len(line.split()) >= 2]
                if all(word.isdecimal() and int(word) < 0x110000 for pair in pairs for word in pair[:2]):
                    return {int(pair[0]): chr(int(pair[1])) for pair in pairs}
        return {}

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        for arrays in self.arrays.values():
            for row, label in enumerate(arrays.labels.tolist()):
                name = self.class_names.get(label, str(label))
                yield ImageEntry(f"{arrays.name}/{row}", name, split=arrays.split)

    def open(self, file: str) -> bytes:
        """One image of an array as the bytes of a BMP file."""
        name, _, row = file.rpartition("/")
        if name not in self.arrays or not row.isdecimal() or int(row) >= len(self.arrays[name].images):
            raise ValueError("There is no such image.")
        image = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(self.arrays[name].images[int(row)])).save(image, "BMP")
        return image.getvalue()

    def stamp(self, file: str) -> str:
        return self.root.stamp(file.rpartition("/")[0])


def image_files(root: Root) -> list[tuple[str, str]]:
    """The pairs of an images and a labels file of a folder, by name."""
    names = {entry.name for entry in root.entries() if entry.is_file(follow_symlinks=False)}
    pairs = []
    for name in sorted(names):
        head, found, tail = name.partition("images")
        if not found or "idx" not in tail or not tail.endswith(("ubyte", "ubyte.gz")):
            continue
        tails = [tail.removesuffix(".gz").replace("idx3", "idx1").replace("idx4", "idx1") + end for end in ("", ".gz")]
        labels = next((f"{head}labels{end}" for end in tails if f"{head}labels{end}" in names), None)
        unpacked_too = name.endswith(".gz") and name.removesuffix(".gz") in names
        if labels and not unpacked_too:
            pairs.append((name, labels))
    return pairs


def split_in(name: str) -> str | None:
    words = name.lower()
    return "train" if "train" in words else "test" if "t10k" in words or "test" in words else None


def read_array(root: Root, name: str) -> np.ndarray:
    """An array of bytes as its header says; ValueError if header and file do not agree."""
    with os.fdopen(root.descriptor(name), "rb") as file:
        opened = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
        try:
            head = opened.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != BYTES or not 1 <= head[3] <= 4:
                raise ValueError(f"{name}: must be an idx file of unsigned bytes with 1 to 4 dimensions; it is not.")
            sizes = opened.read(4 * head[3])
            shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
            count = math.prod(shape)
            if len(sizes) < 4 * head[3] or count > ARRAY_LIMIT:
                raise ValueError(f"{name}: says it has {count:,} values; at most {ARRAY_LIMIT:,} are read.")
            data = opened.read(count + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name}: cannot be read: {error}") from None
    if len(data) != count:
        raise ValueError(f"{name}: must hold {count:,} values as its header says; it is cut off or longer.")
    return np.frombuffer(data, np.uint8).reshape(shape)
