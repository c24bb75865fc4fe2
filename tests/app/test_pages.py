"""Every page opens without an exception, on an empty lab and on one with runs of every state."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from image_files import classes
from page_widgets import widget
from pages_words import shows_results, words

from app.data.step_forms import FORMS
from mlcore.catalogue import registry
from mlcore.data import importing
from mlcore.data.importing import import_path
from mlcore.runs.states import RunState
from mlcore.spec.defaults import FINE_TUNING
from mlcore.spec.run_spec import RunSpec


@pytest.fixture
def many_runs(runs, quick_spec):
    """A run in every state that a folder can tell of."""
    made = {}
    ways = {
        RunState.QUEUED: [],
        RunState.RUNNING: [RunState.STARTING, RunState.RUNNING],
        RunState.DONE: [RunState.STARTING, RunState.RUNNING, RunState.DONE],
        RunState.CANCELLED: [RunState.CANCELLED],
        RunState.FAILED: [RunState.STARTING, RunState.FAILED],
        RunState.LOST: [RunState.STARTING, RunState.RUNNING, RunState.LOST],
    }
    for state, way in ways.items():
        run = runs.create(quick_spec.changed({"name": f"a {state} run"}))
        for step in way:
            reason = {"reason_text": "It ended <b>early</b>."} if step in (RunState.FAILED, RunState.LOST) else {}
            run.move(step, **reason)
        made[state] = run
    return made


@pytest.mark.parametrize("name", ["lab", "runs", "data"])
def test_a_page_opens_on_an_empty_lab(open_page, name):
    open_page(name)


def test_the_empty_runs_page_says_how_to_get_one(open_page):
    assert "press Start" in words(open_page("runs"))


def test_the_lab_without_a_run_waits_for_its_preview(open_page, runs):
    test = open_page("lab")
    assert "Before training" in words(test)
    (preview,) = runs.all("preview")
    assert preview.spec.budget.steps == 0


@pytest.mark.parametrize("state", ["queued", "running", "done", "cancelled", "failed", "lost"])
def test_the_lab_opens_a_run_in_any_state(open_page, many_runs, state):
    run = many_runs[RunState(state)]
    said = words(open_page("lab", run=run.run_id))
    assert run.title() in said
    if state in ("failed", "lost"):
        assert r"\<b\>early" in said


def test_the_runs_page_lists_every_run_and_no_preview(open_page, many_runs, runs, quick_spec):
    runs.create(quick_spec, purpose="preview")
    test = open_page("runs")
    assert set(test.dataframe[0].value["name"]) == {run.title() for run in many_runs.values()}


def test_no_training_is_a_row_of_the_runs_page_and_no_run(open_page, runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.STARTING)
    metrics = {"held_out": {"map_at_r": 0.5}, "no_training": {"map_at_r": 0.4}, "curve": [[0, 0.3], [4, 0.5]]}
    run.move(RunState.RUNNING, metrics=metrics)
    table = open_page("runs").dataframe[0].value
    assert table["name"].tolist() == [run.title(), "No training · Two-layer perceptron"]
    assert table["MAP@R"].tolist() == [0.5, 0.4]


def test_start_makes_the_run_that_was_set_up(open_page, runs):
    test = open_page("lab", **{"s.dataset": "digits", "s.loss": "cosface", "s.loss.margin": "0.2"})
    test.button(key="lab.start").click().run()
    assert not test.exception
    (run,) = runs.all()
    assert (run.spec.loss.key, run.spec.loss.params["margin"], run.state) == ("cosface", 0.2, RunState.QUEUED)
    assert run.spec.dataset.fingerprint
    assert run.title() in words(test)


def test_a_link_that_makes_no_sense_opens_the_usual_lab(open_page):
    test = open_page("lab", **{"s.loss": "nothing", "run": "../../etc", "step": "x", "queries": "all"})
    assert "names a run that is not here" in words(test)


def test_choosing_another_loss_keeps_the_knobs_of_the_first(open_page):
    test = open_page("lab")
    widget(test.selectbox, "lab.set.loss").select("arcface").run()
    widget(test.slider, "lab.set.loss.arcface.margin").set_value(0.3).run()
    widget(test.selectbox, "lab.set.loss").select("supcon").run()
    assert test.session_state["lab.draft"]["sampler"] == "m_per_class"
    widget(test.selectbox, "lab.set.loss").select("arcface").run()
    assert not test.exception
    assert widget(test.slider, "lab.set.loss.arcface.margin").value == 0.3
    assert test.session_state["lab.draft"]["sampler"] == "shuffle"


def test_a_sliders_move_checks_the_settings_once(open_page, monkeypatch):
    test = open_page("lab", **{"s.loss": "triplet_margin", "s.backbone": "efficientnet_lite0"})
    checked = []
    read = RunSpec.read.__func__
    monkeypatch.setattr(RunSpec, "read", classmethod(lambda cls, record: checked.append(1) or read(cls, record)))
    widget(test.slider, "lab.set.loss.triplet_margin.margin").set_value(0.3).run()
    assert not test.exception
    assert test.query_params["s.loss.margin"] in ("0.3", ["0.3"])
    assert len(checked) == 1


def test_a_pretrained_backbone_brings_its_own_settings(open_page):
    test = open_page("lab")
    widget(test.selectbox, "lab.set.backbone").select("efficientnet_lite0").run()
    draft = test.session_state["lab.draft"]
    assert (draft["backbone.freeze"], draft["optimizer.backbone_lr"]) == ("batch_norm", FINE_TUNING["backbone_lr"])
    assert (draft["head.kind"], draft["optimizer.lr_scaling"]) == ("residual", "classes")
    said = " ".join(caption.value for caption in test.sidebar.caption)
    assert "With 31 training classes in 300 steps: 1.2e-05 (backbone) and 0.00012 (head)" in said


def test_what_cannot_be_is_said_where_it_arose_and_start_is_closed(open_page):
    test = open_page("lab", **{"s.sampler": "m_per_class", "s.sampler.m": "4"})
    widget(test.number_input, "lab.set.sampler.batch_size").set_value(30).run()
    assert "multiple of m" in words(test)
    assert test.button(key="lab.start").disabled


def test_the_data_page_tells_groups_of_classes_where_there_are_any(open_page):
    groups = "Groups: digits (10 classes), capital letters (26), small letters (26)."
    assert groups in words(open_page("data", set="glyphs"))
    assert "Groups:" not in words(open_page("data", set="digits"))


def test_the_lab_draws_a_finished_run(open_page, runs, quick_spec):
    from mlcore.worker import run_folder

    run = runs.create(quick_spec)
    assert run_folder(run) == 0
    test = open_page("lab", run=run.run_id)
    said = words(test)
    assert shows_results(test)
    assert "MAP@R" in said
    assert RunSpec.from_text(run.spec.to_yaml()).settings() == quick_spec.settings()


def test_a_method_that_reads_texts_brings_its_sampler_and_names_a_loss_that_fits(open_page):
    test = open_page("lab", **{"s.dataset": "emoji"})
    widget(test.selectbox, "lab.set.method").select("image_text").run()
    assert "such as clip or siglip" in words(test)
    widget(test.selectbox, "lab.set.loss").select("siglip").run()
    assert not test.exception
    draft = test.session_state["lab.draft"]
    assert (draft["sampler"], test.button(key="lab.start").disabled) == ("shuffle", False)
    widget(test.selectbox, "lab.set.method").select("metric_only").run()
    assert not test.exception
    assert test.session_state["lab.draft"]["sampler"] == "m_per_class"
    assert widget(test.selectbox, "lab.set.sampler").value == "m_per_class"


def test_the_lab_offers_search_by_words_where_a_run_read_texts(open_page, runs, quick_spec):
    from mlcore.worker import run_folder

    texts = {"method": "image_text", "method.texts": "class names", "loss": "clip"}
    plain_run, text_run = runs.create(quick_spec), runs.create(quick_spec.changed(texts))
    assert run_folder(plain_run) == run_folder(text_run) == 0
    assert "Search by words" not in words(open_page("lab", run=plain_run.run_id))
    test = open_page("lab", run=text_run.run_id)
    assert "Search by words" in words(test)
    test.text_input(key="lab.words").set_value("seven").run()
    assert not test.exception


def test_augmentation_mixing_head_and_optimiser_are_offered_from_what_is_declared(open_page, runs):
    test = open_page("lab")
    shown = {item.key: item for item in [*test.selectbox, *test.button_group]}
    assert set(shown["lab.set.augment"].options) >= {"None", "Light", "Standard retrieval", "Strong", "Custom"}
    for name, room in (("name", "optimizers"), ("schedule", "schedules")):
        assert list(shown[f"lab.set.optimizer.{name}"].options) == [spec.title for spec in registry(room).values()]
    shown["lab.set.augment"].set_value("custom").run()
    shown["lab.set.optimizer.name"].set_value("lion").run()
    shown["lab.set.backbone.pooling"].set_value("gem").run()
    assert not test.exception
    widget(test.slider, "lab.set.augment.custom.erase").set_value(0.5).run()
    widget(test.selectbox, "lab.set.loss").set_value("contrastive").run()
    assert not test.exception
    kept = test.session_state["lab.draft"]
    assert (kept["augment"], kept["augment.erase"]) == ("custom", 0.5)
    assert (kept["optimizer.name"], kept["backbone.pooling"], kept["mix.kind"]) == ("lion", "gem", "none")
    assert "lab.set.mix.kind" not in {item.key for item in test.button_group}
    assert test.query_params["s.augment.erase"] in ("0.5", ["0.5"])  # Streamlit's versions differ


def test_settings_of_the_optimiser_come_back_from_a_link(open_page):
    link = {"s.optimizer.schedule": "plateau", "s.optimizer.drop_every": "7", "s.optimizer.ema": "0.95"}
    test = open_page("lab", **link, **{"s.mix.kind": "cutmix", "s.mix.alpha": "0.5", "s.head.norm": "batch"})
    kept = test.session_state["lab.draft"]
    assert (kept["optimizer.drop_every"], kept["optimizer.ema"], kept["mix.alpha"]) == (7, 0.95, 0.5)
    widget(test.selectbox, "lab.set.backbone").set_value("mlp").run()
    assert not test.exception
    assert (kept["mix.kind"], kept["head.norm"]) == ("cutmix", "batch")
    assert kept["backbone.pooling"] == "own"


def test_imported_images_can_be_chosen_in_the_lab_and_are_called_by_their_title(open_page, runs, tmp_path):
    set_id = import_path(classes(tmp_path / "fruit"), root=runs.root.parent / "data", title="My fruit").name
    test = open_page("lab", **{"s.dataset": set_id})
    assert widget(test.selectbox, "lab.set.dataset").value == set_id
    assert "12 images, 3 classes" in words(test)
    runs.create(RunSpec.read({"dataset": set_id, "budget": {"steps": 1}}))
    table = test.switch_page("../pages/runs.py").run().dataframe[0].value
    assert table["data"].tolist() == ["My fruit"]


def test_sets_of_one_title_are_told_apart_wherever_one_is_chosen(open_page, runs, tmp_path):
    folder, root = classes(tmp_path / "fruit"), runs.root.parent / "data"
    shutil.make_archive(str(tmp_path / "crates"), "zip", folder)
    first = import_path(folder, root=root, title="My fruit").name
    second = import_path(tmp_path / "crates.zip", root=root, title="My fruit").name
    offered = [text for text in widget(open_page("lab").selectbox, "lab.set.dataset").options if "My fruit" in text]
    assert sorted(text.partition(", ")[0] for text in offered) == ["My fruit (crates.zip", "My fruit (fruit"]
    page = open_page("data", set=first, view="prepare")
    said = words(page).replace("\\", "")
    assert "12 images, 3 classes  \ncrates.zip, " in said
    assert "12 images, 3 classes  \nfruit, " in said
    assert page.button(key=f"data.card.{second}").label == "My fruit"
    (merge,) = [item for item in page.multiselect if item.label == "Merge with"]
    assert merge.options[0].startswith("My fruit (crates.zip, ")
    runs.create(RunSpec.read({"dataset": second, "budget": {"steps": 1}}))
    (data,) = open_page("runs").dataframe[0].value["data"]
    assert data.startswith("My fruit (crates.zip, ")


@pytest.fixture
def vector_set(runs, tmp_path):
    labels = np.repeat(np.arange(4), 5)
    np.savez(tmp_path / "deep.npz", vectors=np.random.default_rng(0).normal(size=(20, 6)), labels=labels)
    return import_path(tmp_path / "deep.npz", root=runs.root.parent / "data").name


def test_feature_vectors_bring_their_backbone_and_images_the_usual_one_again(open_page, runs, vector_set):
    test = open_page("lab", **{"s.backbone": "efficientnet_lite0", "s.augment": "light"})
    assert "The vectors as they are" not in widget(test.selectbox, "lab.set.backbone").options
    widget(test.selectbox, "lab.set.dataset").select(vector_set).run()
    assert not test.exception
    draft = test.session_state["lab.draft"]
    assert [draft[name] for name in ("backbone", "backbone.freeze", "augment")] == ["vectors", "everything", "none"]
    assert "20 vectors of 6 numbers, 4 classes" in words(test)
    assert not {"lab.set.backbone", "lab.set.augment"} & {item.key.split("~")[0] for item in test.selectbox}
    preview = next(run for run in runs.all("preview") if run.spec.dataset.key == vector_set)
    assert preview.spec.backbone.key == "vectors"
    test.button(key="lab.start").click().run()
    assert runs.all()[0].spec.backbone.freeze == "everything"
    widget(test.selectbox, "lab.set.dataset").select("digits").run()
    assert not test.exception
    draft = test.session_state["lab.draft"]
    assert [draft[name] for name in ("backbone", "backbone.freeze")] == ["small_conv", "nothing"]
    assert draft["optimizer.backbone_lr"] == 1e-3
    assert widget(test.selectbox, "lab.set.backbone").value == "small_conv"


def test_a_link_to_feature_vectors_alone_brings_their_backbone(open_page, vector_set):
    test = open_page("lab", **{"s.dataset": vector_set})
    assert test.session_state["lab.draft"]["backbone"] == "vectors"
    assert not test.error


def test_the_preview_of_feature_vectors_without_a_head_is_a_picture(open_page, runs, vector_set):
    from mlcore.worker import run_folder

    test = open_page("lab", **{"s.dataset": vector_set})
    widget(test.button_group, "lab.set.head.kind").set_value("none").run()
    assert not test.exception
    (preview,) = [run for run in runs.all("preview") if run.spec.head.kind == "none"]
    assert run_folder(preview) == 0
    assert preview.watch() is not None


@pytest.mark.parametrize(("head", "freeze"), [("linear", "everything"), ("none", "nothing")])
def test_the_preview_of_a_frozen_backbone_keeps_its_features_for_the_run(open_page, runs, head, freeze):
    open_page("lab", **{"s.backbone.freeze": "everything", "s.head.kind": head, "s.loss": "arcface"})
    (preview,) = runs.all("preview")
    assert (preview.spec.backbone.freeze, preview.spec.budget.steps) == (freeze, 0)


def test_a_link_may_say_that_there_is_no_head(open_page):
    test = open_page("lab", **{"s.head.kind": "none", "s.loss.scale": "none"})
    draft = test.session_state["lab.draft"]
    assert (draft["head.kind"], draft["loss.scale"]) == ("none", None)
    assert not test.toast


def test_images_that_are_not_here_are_told_and_others_taken(open_page):
    test = open_page("lab", **{"s.dataset": "set-000000000000"})
    assert "set-000000000000" in test.toast[0].value.replace("\\", "")
    assert widget(test.selectbox, "lab.set.dataset").value == "glyphs"


def test_the_data_page_offers_to_go_on_with_an_import_that_was_not_ended(open_page, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    folder = classes(tmp_path / "shop")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "add_outcome", stopped)
        with pytest.raises(KeyboardInterrupt):
            import_path(folder, title="Shop")
    page = open_page("data")
    assert "An import of “Shop” was begun and not ended" in words(page)
    page.button(key="data.unfinished.remove").click().run()
    assert "was begun and not ended" not in words(page)
    assert not list((tmp_path / "data").glob(".import-*"))


@pytest.mark.parametrize("kind", list(FORMS))
def test_every_step_of_preparing_has_its_form(open_page, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    key = import_path(classes(tmp_path / "shop")).name
    page = open_page("data", set=key)
    page.session_state["data.view"] = "prepare"
    page.session_state[f"data.step.{key}"] = kind
    page.run()
    assert not page.exception
    assert FORMS[kind].words in words(page)
