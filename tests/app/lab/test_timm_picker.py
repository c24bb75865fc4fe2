"""Choosing a timm network: the line under it, the list and what comes of a choice."""

import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.lab import timm_picker
from mlcore.backbones import TimmModel
from mlcore.timm_zoo.model_table import find_model

ROOT = Path(__file__).resolve().parents[3]


def lab(settings):
    """The line and, always open, the list."""
    import streamlit as st

    from app.lab.timm_picker import choose_model, timm_choice
    from app.shared.draft import Draft

    draft = Draft()
    if "begun" not in st.session_state:
        st.session_state["begun"] = True
        draft.replace(settings)
    timm_choice(draft)
    choose_model(draft)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """`opened(**settings)` gives the page with an empty cache of weights and of speeds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def page(**settings):
        named = {name.replace("__", "."): value for name, value in settings.items()}
        settings = {"dataset": "digits", "backbone": "timm"} | named
        test = AppTest.from_function(lab, default_timeout=PATIENCE_S, kwargs={"settings": settings}).run()
        assert not test.exception
        return test

    return page


def words(test):
    kinds = ("markdown", "caption", "info", "warning")
    return "\n".join(str(item.value).replace("\\", "") for kind in kinds for item in getattr(test, kind))


def lay_weights(folder, repository):
    place = folder / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "snapshots" / "abc").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots" / "abc" / "model.safetensors").write_bytes(b"")


def test_the_line_says_size_weights_and_how_images_are_fitted(opened):
    said = words(opened())
    assert "11.2 M parameters · 32 × 32 px · weights on the hub (apache-2.0)" in said
    assert "enlarged from 8 × 8 px to 32 × 32 px" in said
    assert "red, green and blue" in said
    assert "not measured yet" in said


def test_weights_that_are_not_here_are_said_before_start(opened):
    assert "fails if there is no network" in words(opened(backbone__pretrained=True))
    none = {"backbone__model": "lcnet_035", "backbone__pretrained": True}
    assert "No weights are published" in words(opened(**none))
    assert "fails if" not in words(opened())


def test_a_search_and_a_choice_change_the_draft(opened):
    test = opened()
    test.text_input(key="lab.timm.search").set_value("convnext atto").run()
    assert "convnext_atto: 3.4 M parameters" in words(test).replace("*", "")
    test.button(key="lab.timm.use").click().run()
    assert not test.exception
    assert test.session_state["lab.draft"]["backbone.model"] == "convnext_atto"
    assert test.session_state["lab.draft"]["backbone.pretrained"] is False


def test_weights_that_are_here_are_taken_with_what_follows(opened, tmp_path):
    lay_weights(tmp_path / "hub", "timm/resnet34.a1_in1k")
    test = opened()
    test.segmented_control(key="lab.timm.weights").set_value("Here").run()
    assert "1 network of" in words(test)
    test.button(key="lab.timm.use").click().run()
    draft = test.session_state["lab.draft"]
    assert (draft["backbone.model"], draft["backbone.pretrained"]) == ("resnet34", True)
    assert draft["backbone.freeze"] == "batch_norm"


def test_a_typing_error_is_mended_by_a_click(opened):
    test = opened()
    test.text_input(key="lab.timm.search").set_value("convnxt atto").run()
    assert "No network has all of this" in words(test)
    test.button(key="lab.timm.meant").click().run()
    assert test.text_input(key="lab.timm.search").value == "convnext atto"


def test_an_unknown_name_of_a_link_is_said(opened):
    assert "Did you mean resnet18?" in words(opened(backbone__model="resnett18"))


class Choice(dict):
    """A draft as far as the fitting of images looks at it."""


@pytest.mark.parametrize(
    "knobs",
    [{}, {"side": 48}, {"as_published": True}, {"as_published": True, "side": 64}, {"grey_input": True}],
    ids=str,
)
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_the_page_fits_images_as_the_network_will(model, knobs):
    draft = Choice({"dataset": "digits"} | {f"backbone.{name}": value for name, value in knobs.items()})
    truth = TimmModel((8, 8), model=model, channels=1, **knobs).input_format
    shown = timm_picker.input_format(find_model(model), draft)
    assert shown.adapted((8, 8), 1) == truth.adapted((8, 8), 1)
    assert (tuple(shown.size), shown.channels) == (tuple(truth.size), truth.channels)


def test_the_list_imports_neither_torch_nor_timm():
    code = "import sys; import app.lab.timm_picker; sys.exit(' '.join({'torch', 'timm'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
