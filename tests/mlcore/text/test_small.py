"""The small tower: what of a text it reads, and that it learns to tell texts apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mlcore.text.small import MOST, SmallTextTower, fold_case, split_into_subwords


def test_pieces_are_the_word_and_its_three_to_five_letters_in_a_row():
    assert split_into_subwords("Up!") == ["<up>", "<up", "up>"]
    assert split_into_subwords("ab cd") == ["<ab>", "<ab", "ab>", "<cd>", "<cd", "cd>"]
    assert split_into_subwords("thumb")[:4] == ["<thumb>", "<th", "thu", "hum"]
    assert {len(piece) for piece in split_into_subwords("thumb")} == {3, 4, 5, 7}


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ärger", "arger"), ("STRASSE", "straße"), ("ﬁst", "fist"), ("e\u0301", "é"), ("ok_hand", "OK hand")],
)
def test_case_accents_and_ways_of_writing_do_not_count(one, other):
    assert split_into_subwords(one) == split_into_subwords(other)


def test_other_scripts_are_words_too():
    assert split_into_subwords("猫") == ["<猫>"]
    assert "<кот>" in split_into_subwords("КОТ")


@given(st.text())
def test_any_text_is_read(text):
    assert all(piece for piece in split_into_subwords(text))
    assert len(split_into_subwords(text)) <= MOST
    assert fold_case(fold_case(text)) == fold_case(text)


def test_numbers_of_pieces_are_the_same_on_every_machine():
    tower = SmallTextTower(4, buckets=1000)
    # zlib.crc32(b"<up>") % 1000 + 1 and so on, computed once: hash() would differ from process to process.
    assert tower.prepare(["up"]).tolist() == [[1 + 668817123 % 1000, 1 + 3497867625 % 1000, 1 + 1126504436 % 1000]]


def test_texts_of_different_length_stand_in_one_table_and_padding_does_not_count():
    tower = SmallTextTower(4, seed=1)
    alone, together = tower.prepare(["up"]), tower.prepare(["up", "a much longer text"])
    assert together.shape[0] == 2
    torch.testing.assert_close(tower(together)[:1], tower(alone))


def test_nothing_to_read_is_no_error():
    tower = SmallTextTower(4)
    assert torch.isfinite(tower(tower.prepare(["", "!?"]))).all()
    assert tower.prepare([]).shape[0] == 0


def test_the_start_is_a_function_of_the_seed_and_leaves_the_global_source_to_others():
    first = SmallTextTower(4, seed=3).state_dict()
    torch.manual_seed(99)
    again = SmallTextTower(4, seed=3).state_dict()
    other = SmallTextTower(4, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["vectors.weight"], other["vectors.weight"])


def test_part_of_a_word_finds_the_text_that_it_was_trained_with():
    texts = ["thumbs up", "thumbs up: dark skin tone", "waving hand", "waving hand: dark skin tone", "fairy", "merman"]
    goals = torch.eye(4)[[0, 0, 1, 1, 2, 3]]
    tower = SmallTextTower(4)
    inputs = tower.prepare(texts)
    optimizer = torch.optim.Adam(tower.parameters(), lr=0.003)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(8 * F.normalize(tower(inputs)) @ torch.eye(4), goals.argmax(dim=1)).backward()
        optimizer.step()
    for typed, found in (("thumb", 0), ("THUMBS", 0), ("wave, hands!", 1), ("fairies", 2)):
        assert int(tower(tower.prepare([typed])).argmax()) == found, typed
