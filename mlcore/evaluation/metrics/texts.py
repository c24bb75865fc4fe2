"""How well texts find images and images their texts."""

from __future__ import annotations

from mlcore.evaluation.metrics.registry import METRICS
from mlcore.evaluation.side import Side

CLIP = "Radford et al., ICML 2021, arXiv:2103.00020"


def declare_text_to_image(k: int) -> None:
    place = "first" if k == 1 else f"among the first {k}"

    @METRICS.add(
        f"text_to_image_recall_at_{k}",
        title=f"Text to image, Recall@{k}",
        short=f"T>I R@{k}",
        family="texts",
        description=f"The share of texts with an image of that very text {place}.",
        paper=CLIP,
    )
    def recall(side: Side) -> float | None:
        return None if side.text_hits is None else float(side.text_hits[:, :k].any(axis=1).mean())


for _k in (1, 5):
    declare_text_to_image(_k)


@METRICS.add(
    "image_to_text_recall_at_1",
    title="Image to text, Recall@1",
    short="I>T R@1",
    family="texts",
    description="The share of images whose nearest text is their own.",
    paper=CLIP,
)
def image_to_text(side: Side) -> float | None:
    return None if side.image_hits is None else float(side.image_hits.mean())
