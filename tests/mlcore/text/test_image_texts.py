"""Which text belongs to which image."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.data import load
from mlcore.evaluation.metrics import METRICS, Family, measure
from mlcore.evaluation.side import Side, SideTexts
from mlcore.text.image_texts import ImageTexts


def offered(own=("a cat", "a  cat", "", "a dog"), class_names=("big_cat", "dog")):
    rows = np.arange(4)
    return ImageTexts(own, class_names, np.array([0, 0, 1, 1]), rows[:4:1], rows[2:])


def test_the_same_text_has_one_number_and_none_has_minus_one():
    texts = offered().taken("own")
    assert texts.names == ("a cat", "a dog")
    assert texts.numbers.tolist() == [0, 0, -1, 1]


def test_class_names_are_words():
    texts = offered(own=()).taken("class names")
    assert texts.names == ("big cat", "dog")
    assert texts.numbers.tolist() == [0, 0, 1, 1]


def test_images_without_texts_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"have no texts\. Train on the names of their classes .*texts='class names'"):
        offered(own=()).taken("own")
    with pytest.raises(ValueError, match="two different texts among the training images"):
        offered(own=("a cat", "a cat", "a cat", "")).taken("own")


def test_the_digest_knows_texts_and_order():
    same, other = offered().taken("own"), offered(own=("a cat", "a cat", "a dog", "")).taken("own")
    assert offered().taken("own").digest() == same.digest() != other.digest()


def test_emoji_have_their_official_names():
    table = load("emoji")
    texts = dict(zip(table.image_names, table.texts, strict=True))
    assert texts["waving hand, yellow, Noto"] == "waving hand"
    assert texts["waving hand, medium-dark, Twemoji"] == "waving hand: medium-dark skin tone"
    assert texts["ok hand, light, Noto"] == "OK hand: light skin tone"
    assert texts["bald person, dark, Noto"] == "person: dark skin tone, bald"
    assert len(set(table.texts)) == 130 * 6
    assert load("glyphs").texts == ()


def text_metrics(images, numbers, texts):
    side = Side(images, np.zeros(len(images), int), texts=SideTexts(texts, numbers))
    return measure(side, METRICS.of(Family.TEXTS))


def by_hand(images, numbers, texts, k):
    """The share of texts with an own image among the first k, one at a time."""
    cosines = (texts / np.linalg.norm(texts, axis=1)[:, None]) @ (images / np.linalg.norm(images, axis=1)[:, None]).T
    cosines[:, numbers < 0] = -np.inf
    asked = [text for text in range(len(texts)) if (numbers == text).any()]
    return np.mean([(numbers[np.argsort(-cosines[text])[:k]] == text).any() for text in asked])


@pytest.mark.parametrize("seed", range(3))
def test_recalls_are_those_counted_by_hand(seed):
    generator = np.random.default_rng(seed)
    texts = generator.normal(size=(9, 4)).astype(np.float32)
    numbers = generator.integers(-1, 8, size=30)  # the last text has no image
    images = (texts[numbers] + generator.normal(size=(30, 4))).astype(np.float32)
    found = text_metrics(images, numbers, texts)
    assert found["text_to_image_recall_at_1"] == pytest.approx(by_hand(images, numbers, texts, 1))
    assert found["text_to_image_recall_at_5"] == pytest.approx(by_hand(images, numbers, texts, 5))
    known = np.unique(numbers[numbers >= 0])
    kept = numbers >= 0
    cosines = (images / np.linalg.norm(images, axis=1)[:, None]) @ (texts / np.linalg.norm(texts, axis=1)[:, None]).T
    right = known[cosines[kept][:, known].argmax(axis=1)] == numbers[kept]
    assert found["image_to_text_recall_at_1"] == pytest.approx(right.mean())


def test_where_there_is_nothing_to_ask_the_metrics_are_none():
    found = text_metrics(np.ones((2, 3)), np.array([-1, 0]), np.ones((1, 3)))
    assert set(found.values()) == {None}
