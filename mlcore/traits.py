"""What parts say about themselves for others to go by: the words of each room. Their values are stored and listed."""

from __future__ import annotations

from enum import StrEnum


class LossTrait(StrEnum):
    CLASS_SHARES = "class shares"  # takes soft labels, so it may train on mixed images


class ReducerTrait(StrEnum):
    IN_A_RUN = "in a run"  # gives one number, and needs no more than a run has
    WANTS_ANCHORS = "wants anchors"


class RegularizerTrait(StrEnum):
    IN_A_RUN = "in a run"  # needs no more than the proxies


class WrapperTrait(StrEnum):
    IN_A_RUN = "in a run"  # goes round a run's one loss, in one process


class MethodTrait(StrEnum):
    TWO_VIEWS = "two views"  # of each image
    OWN_LABELS = "own labels"
    NO_PROXIES = "no proxies"
    SLICES = "slices"  # of the embedding, a loss for each
    CLASS_SHARES = "class shares"  # images of two classes
    TEXTS = "texts"  # beside the images


class SamplerTrait(StrEnum):
    PARENT_LABELS = "parent labels"  # wants two columns of them
    LOOKS_AT_THE_MODEL = "looks at the model"  # its batches depend on the embeddings so far


class BackboneTrait(StrEnum):
    FEATURE_MAP = "feature map"  # it has one that can be pooled in other ways
    VECTORS = "vectors"  # takes feature vectors, not images


class SourceTrait(StrEnum):
    ANYTHING = "anything"  # tried last, for it takes what no other does


class TextEncoderTrait(StrEnum):
    FROZEN = "frozen"  # sentence embeddings that do not train, only what maps them does
