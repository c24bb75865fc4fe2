"""Texts beside images: encoders that train with the images, and search by typed words."""

from mlcore.text.image_texts import ImageTexts, Texts
from mlcore.text.minilm import MiniLM
from mlcore.text.registry import TEXT_ENCODERS, build_tower
from mlcore.text.small import SmallTextTower

__all__ = ["TEXT_ENCODERS", "ImageTexts", "MiniLM", "SmallTextTower", "Texts", "build_tower"]
