"""The one format of every data set: pixels, labels and names, row by row, and which classes belong together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A labelled image set. A row's number is the image's stable id everywhere in the lab.

    `origin` and `licence` are sentences to show beside the images. The arrays are made read-only,
    because one table is shared by all who load it.

    Classes may belong to parents (species to genera, digits and letters to kinds of character): then `parents` has the
    parent's number of each class and `parent_names` their names. Without them `parents` is None.

    Pixels may be a memory-mapped file that does not fit into memory: take the rows that are needed, never all. Of such
    a set the fingerprint is known before, as `known_fingerprint`.

    A set may come with a split of its own: then `splits` has each row's word (train, test, query, gallery ...; '' where
    it has none), and `folds` each row's fold (-1 where it has none). `mlcore.data.split` reads both.

    A set of feature vectors has them as `vectors`; its pixels are pictures to show them by. They, too, may be a file.

    Images may come with texts, one each ('' where an image has none); without any, `texts` is empty. The fingerprint
    leaves them out, so a training that reads them keeps a digest of its own.

    Shapes: pixels (N, H, W, C) uint8 with C 1 (grey) or 3 (RGB); labels (N,) int64 in [0, len(class_names)); parents
    (len(class_names),) int64 in [0, len(parent_names)); splits (N,) words; folds (N,) int64; vectors (N, D) float32;
    texts N or none.
    Raises: ValueError if a column has the wrong type or length, a label has no class name or a class no image, or a
    parent has no name or no class.
    """

    key: str
    title: str
    pixels: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_names: tuple[str, ...]
    origin: str
    licence: str
    parents: np.ndarray | None = None
    parent_names: tuple[str, ...] = ()
    splits: np.ndarray | None = None
    folds: np.ndarray | None = None
    vectors: np.ndarray | None = None
    known_fingerprint: str = ""
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                f"{self.key}: pixels must be uint8 (N, H, W, 1 or 3); got {pixels.dtype} {pixels.shape}. "
                "Convert them to 0..255 grey or RGB."
            )
        if 0 in pixels.shape:
            raise ValueError(f"{self.key}: there must be at least one image; got pixels of shape {pixels.shape}.")
        if labels.dtype != np.int64 or labels.shape != pixels.shape[:1]:
            raise ValueError(
                f"{self.key}: labels must be int64, one for each of {len(pixels)} images; "
                f"got {labels.dtype} {labels.shape}."
            )
        if len(self.image_names) != len(pixels):
            raise ValueError(f"{self.key}: {len(pixels)} images need as many names; got {len(self.image_names)}.")
        if self.texts and len(self.texts) != len(pixels):
            raise ValueError(f"{self.key}: {len(pixels)} images need as many texts, or none; got {len(self.texts)}.")
        if not np.array_equal(np.unique(labels), np.arange(len(self.class_names))):
            raise ValueError(
                f"{self.key}: labels must be 0..{len(self.class_names) - 1}, each used at least once, as there are "
                f"{len(self.class_names)} class names; got {labels.min()}..{labels.max()}. Renumber the classes."
            )
        self._check_parents()
        self._check_own_splits()
        self._check_vectors()
        for column in (pixels, labels, self.parents, self.splits, self.folds, self.vectors):
            if column is not None:
                column.setflags(write=False)

    def _check_parents(self) -> None:
        classes, parents = len(self.class_names), self.parents
        if parents is None:
            if self.parent_names:
                raise ValueError(f"{self.key}: {len(self.parent_names)} parent names need parents; got none.")
            return
        if parents.dtype != np.int64 or parents.shape != (classes,):
            raise ValueError(
                f"{self.key}: parents must be int64, one for each of {classes} classes; got {parents.dtype} "
                f"{parents.shape}."
            )
        if not np.array_equal(np.unique(parents), np.arange(len(self.parent_names))):
            raise ValueError(
                f"{self.key}: parents must be 0..{len(self.parent_names) - 1}, each used at least once, as there are "
                f"{len(self.parent_names)} parent names; got {parents.min()}..{parents.max()}. Renumber the parents."
            )

    def _check_own_splits(self) -> None:
        rows, splits, folds = self.labels.shape, self.splits, self.folds
        if splits is not None and (splits.shape != rows or splits.dtype.kind not in "UO"):
            raise ValueError(
                f"{self.key}: splits must be words, one for each of {rows[0]} images; got {splits.dtype} "
                f"{splits.shape}."
            )
        if folds is not None and (folds.shape != rows or folds.dtype != np.int64):
            raise ValueError(
                f"{self.key}: folds must be int64, one for each of {rows[0]} images; got {folds.dtype} {folds.shape}."
            )

    def _check_vectors(self) -> None:
        vectors, rows = self.vectors, len(self.labels)
        if vectors is None:
            return
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != rows or not vectors.shape[1]:
            raise ValueError(
                f"{self.key}: vectors must be float32 (N, D), one for each of {rows} images; got {vectors.dtype} "
                f"{vectors.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of every image, px."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.pixels.shape[3]

    @property
    def label_levels(self) -> np.ndarray:
        """(N, 1) the labels, or (N, 2) with each image's parent beside its class: what takes a hierarchy takes this."""
        return np.stack([self.labels] if self.parents is None else [self.labels, self.parents[self.labels]], axis=1)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of pixels, labels, class names and vectors (if any): equal fingerprints train equal models.

        Parents are left out: they came later, and sets that were trained on before are still the same. A split and
        folds that the set came with count where there are any, since a run may be held to them.
        """
        if self.known_fingerprint:
            return self.known_fingerprint
        digest = hashlib.sha256(repr((self.pixels.shape, self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        for name, column in (("splits", self.splits), ("folds", self.folds)):
            if column is not None:
                digest.update(repr((name, column.tolist())).encode())
        if self.vectors is not None:
            digest.update(repr(("vectors", self.vectors.shape)).encode())
            digest.update(np.ascontiguousarray(self.vectors, dtype="<f4").data)
        return digest.hexdigest()
