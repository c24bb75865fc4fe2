"""Lessons: settings to begin with, what to predict, and what to see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    key: str
    title: str
    text: str
    look: str
    settings: dict[str, object]


LESSONS = (
    Lesson(
        "arcface-2d",
        "ArcFace in 2-D: digits",
        "Ten digits, an embedding of two numbers: the map *is* the embedding space, nothing is projected. ArcFace asks "
        "every image to lie closer to its class's star than to any other, by a margin: inside the wedge of its colour.",
        "Predict first: where will the stars stand on the circle? Then start again with margin 0 and 0.5: the larger "
        "the margin, the tighter the classes. Ten stars have 36 degrees (0.63 rad) each, so a larger margin cannot be "
        "met: stars begin to fall together, at 1.1 surely.",
        {
            "dataset": "digits",
            "dataset.split": "sample",
            "dataset.held_out": 0.3,
            "backbone": "mlp",
            "head.kind": "mlp",
            "head.norm": "batch",
            "head.embedding_size": 2,
            "loss": "arcface",
            "loss.margin": 0.3,
            "loss.scale": 16.0,
            "sampler.batch_size": 64,
            "budget.steps": 1500,
            "watch.evaluate_every": 50,
            "optimizer.backbone_lr": 2e-3,
            "optimizer.head_lr": 2e-3,
            "optimizer.proxies_lr": 1e-2,
            "optimizer.weight_decay": 0.3,
            "optimizer.schedule": "cosine",
        },
    ),
    Lesson(
        "triplet-or-proxies",
        "Triplets or proxies: glyphs",
        "62 characters in 36 typefaces; half of the characters are never seen in training. Train once with triplets, "
        "then change only the loss to Proxy anchor and start again.",
        "Watch the held-out classes (filled dots): does either loss pull unseen characters together better? Predict "
        "first, then compare both in Runs. (Of three seeds, both go from MAP@R .2 to .7 and end about equal.)",
        {
            "dataset": "glyphs",
            "backbone": "small_conv",
            "loss": "triplet_margin",
            "loss.margin": 0.2,
            "miner": "batch_hard",
            "sampler.batch_size": 64,
            "budget.steps": 300,
            "optimizer.schedule": "cosine",
        },
    ),
    Lesson(
        "fine-tuning-helps",
        "Fine-tuning helps: glyphs",
        "An ImageNet backbone has never seen these characters as classes. Eighty careful steps: a low learning rate, "
        "batch-norm statistics kept, plain shuffled batches, and the backbone's own features as the embedding.",
        "Unseen characters: MAP@R from about .40 to .70. What happens with a rate of 1e-3, or with nothing frozen?",
        {
            "dataset": "glyphs",
            "backbone": "efficientnet_lite0",
            "backbone.freeze": "batch_norm",
            "head.kind": "none",
            "loss": "normalized_softmax",
            "sampler": "shuffle",
            "sampler.batch_size": 32,
            "budget.steps": 80,
            "optimizer.backbone_lr": 3e-4,
            "optimizer.proxies_lr": 1e-2,
            "watch.evaluate_every": 20,
        },
    ),
    Lesson(
        "fine-tuning-hurts",
        "Fine-tuning hurts: emoji",
        "A backbone that has seen a million photos, fine-tuned on half of the emoji at a high learning rate. The loss "
        "falls. Is the search for unseen emoji any better?",
        "Compare MAP@R of unseen classes with that of the backbone's own features. Then lower its rate to 3e-4, or "
        "freeze it.",
        {
            "dataset": "emoji",
            "backbone": "efficientnet_lite0",
            "backbone.freeze": "batch_norm",
            "head.kind": "linear",
            "head.embedding_size": 64,
            "loss": "normalized_softmax",
            "sampler.batch_size": 32,
            "budget.steps": 40,
            "optimizer.backbone_lr": 8e-4,
            "optimizer.head_lr": 2e-3,
        },
    ),
)


def find_lesson(key: str | None) -> Lesson | None:
    return next((item for item in LESSONS if item.key == key), None)
