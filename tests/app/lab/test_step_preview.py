"""The window that shows what a step of the drafted run sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.lab import step_preview
from mlcore.data import load
from mlcore.spec.run_spec import RunSpec

ROOT = Path(__file__).resolve().parents[3]


def spec(**settings):
    return RunSpec.read({"dataset": "digits"}).changed(settings)


@pytest.fixture
def opened(open_page):
    """`opened(**query)` gives the Lab with the window open."""

    def opened(**query):
        test = open_page("lab", **query)
        return test.button(key="lab.step").click().run()

    return opened


def said(test) -> str:
    return "\n".join(str(item.value) for kind in ("markdown", "caption", "error") for item in getattr(test, kind))


def test_nothing_of_it_is_on_the_page_before_the_button_is_pressed(open_page):
    test = open_page("lab")
    assert "lab.step.next" not in {button.key for button in test.button}


def test_the_window_tells_what_the_first_batch_is(opened):
    test = opened(**{"s.dataset": "digits", "s.loss": "contrastive", "s.sampler": "m_per_class", "s.augment": "light"})
    assert not test.exception
    words = said(test).replace("\\", "")
    assert "32 of 896 training images" in words
    assert "Every step renders each anew" in words
    test.button(key="lab.step.next").click().run()
    assert not test.exception
    assert test.session_state[step_preview.IMAGE] == 1


def test_a_draft_that_cannot_be_is_told_in_the_window(opened):
    test = opened(**{"s.dataset": "digits", "s.sampler": "hierarchical", "s.loss": "contrastive"})
    assert not test.exception
    assert "needs data whose classes have parent classes" in said(test)


def test_a_mixed_image_is_shown_with_its_shares():
    wanted = spec(**{"augment": "light", "mix.kind": "mixup"})
    pictures, rows, _ = step_preview.render_batch_image("mixed", 3, 0, wanted)
    assert pictures.count == 11
    assert len(rows[0].strips[0].tiles) == 9
    assert rows[1].title == "Mixed"
    shares = [float(part.split(" %")[0]) for part in rows[1].note.split(", ")]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_without_augmentation_only_the_image_itself_is_shown():
    pictures, rows, _ = step_preview.render_batch_image("plain", 3, 0, spec())
    assert pictures.count == 1
    assert rows[0].strips == ()


def test_the_batch_is_grouped_by_class():
    wanted = spec(**{"loss": "contrastive", "sampler": "m_per_class", "sampler.batch_size": 20})
    batch, words, _, rows = step_preview.first_batch(wanted.digest(), wanted)
    table = load("digits")
    assert sorted(row for some in batch.values() for row in some) == sorted(rows.tolist())
    assert all((table.labels[some] == label).all() for label, some in batch.items())
    assert words.startswith("20 of ")


def test_a_batch_that_cannot_be_known_is_spoken_of():
    asked = {"backbone": "efficientnet_lite0", "sampler": "tuples_to_weights", "loss": "contrastive"}
    batch, words, note, rows = step_preview.first_batch("unknown", spec(**asked))
    assert (batch, words, len(rows)) == (None, "", 0)
    assert "finds hard" in note
    assert np.asarray(rows).dtype == np.int64


def test_it_imports_without_torch():
    code = "import sys; import app.lab.step_preview; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
