"""How well texts find images and images their texts."""

from __future__ import annotations

import numpy as np

from mlcore.evaluation.retrieval import nearest

MOST_ASKED = 2000
DEPTH = 5


def text_figures(images: np.ndarray, numbers: np.ndarray, texts: np.ndarray) -> dict[str, float | None]:
    """Recall of images by their texts and of texts by their images, by cosine; None where there is nothing to ask.

    `text_to_image_recall_at_1` and `_5`: the share of texts with an image of that very text among the first one and
    five; `image_to_text_recall_at_1`: the share of images whose nearest text is their own. Of more than 2,000 texts or
    images every so many-th asks; all are searched.

    Shapes: images (N, D), numbers (N,) each one's row in texts (T, D), -1 for none.
    """
    names = ("text_to_image_recall_at_1", "text_to_image_recall_at_5", "image_to_text_recall_at_1")
    kept = np.flatnonzero(numbers >= 0)
    known, own = np.unique(numbers[kept], return_inverse=True)
    if len(known) < 2:
        return dict.fromkeys(names)
    gallery, answers = images[kept], texts[known]
    asking = evenly(len(known))
    found, _ = nearest(answers[asking], min(DEPTH, len(gallery)), gallery=gallery)
    hits = own[found] == asking[:, None]
    queries = evenly(len(gallery))
    named, _ = nearest(gallery[queries], 1, gallery=answers)
    right = named[:, 0] == own[queries]
    shares = (hits[:, 0].mean(), hits.any(axis=1).mean(), right.mean())
    return {name: float(share) for name, share in zip(names, shares, strict=True)}


def evenly(count: int) -> np.ndarray:
    """At most MOST_ASKED of so many places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_ASKED)).astype(np.int64))
