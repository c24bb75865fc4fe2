"""The left side of the Lab while its expanders are closed: nothing in them is drawn, and nothing of them is lost."""

from __future__ import annotations

import pytest

from app.shared.draft import KEY
from mlcore.spec.compatibility import fitting_keys


@pytest.fixture
def expanders_open():
    """Here they are closed, as on a page that nobody has touched."""


def test_settings_behind_closed_expanders_come_with_a_link_and_stay(open_page):
    query = {"s.optimizer.weight_decay": "0.25", "s.head.dropout": "0.3", "s.loss.margin": "0.7"}
    page = open_page("lab", **query)
    page.selectbox("lab.set.backbone").select("mlp").run()
    draft = page.session_state[KEY]
    assert (draft["optimizer.weight_decay"], draft["head.dropout"]) == (0.25, 0.3)
    assert draft["loss.margin"] == 0.7
    names = {widget.key for widget in [*page.number_input, *page.selectbox, *page.slider]}
    assert "lab.set.loss" in names
    assert not {"lab.set.optimizer.weight_decay", "lab.set.sampler"} & names


def test_a_part_that_does_not_go_with_another_loss_is_left_out_behind_a_closed_expander(open_page):
    wrapper = fitting_keys("wrapper", "contrastive")[0]
    assert wrapper not in fitting_keys("wrapper", "arcface")
    page = open_page("lab", **{"s.loss": "contrastive", "s.wrapper": wrapper})
    assert page.session_state[KEY]["wrapper"] == wrapper
    page.selectbox("lab.set.loss").select("arcface").run()
    assert page.session_state[KEY]["wrapper"] is None
    assert not page.error
