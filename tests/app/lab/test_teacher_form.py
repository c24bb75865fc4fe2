"""Choosing a teacher in the Lab."""

from __future__ import annotations

import pytest
from page_widgets import widget

from app.lab.export_spec import command_line, differences_from_defaults
from mlcore.__main__ import build_parser
from mlcore.commands.training import spec_from_options
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec


@pytest.fixture
def taught(runs, quick_spec):
    run = runs.create(quick_spec.changed({"name": "a *good* one"}))
    assert run_folder(run) == 0
    return run


def control(test, key):
    return widget([*test.button_group, *test.selectbox, *test.toggle], key)


def test_nobody_teaches_unless_asked_to(open_page):
    test = open_page("lab")
    assert control(test, "lab.set.teacher.kind").value == "none"
    assert test.session_state["lab.draft"]["teacher"] is None
    assert not any(name.startswith("s.teacher") for name in test.query_params)


def test_a_backbone_is_chosen_and_the_run_is_made_with_it(open_page, runs):
    test = open_page("lab", **{"s.dataset": "digits"})
    control(test, "lab.set.teacher.kind").set_value("backbone").run()
    control(test, "lab.set.teacher.alone").set_value(True).run()
    assert not test.exception
    test.button(key="lab.start").click().run()
    (run,) = runs.all()
    teacher = run.spec.teacher
    assert (teacher.backbone, teacher.alone, teacher.params["pretrained"]) == ("efficientnet_lite0", True, True)
    control(test, "lab.set.teacher.kind").set_value("none").run()
    assert test.session_state["lab.draft"]["teacher"] is None
    assert not test.exception


def test_a_finished_run_on_the_same_images_is_offered_and_written_down_whole(open_page, runs, quick_spec, taught):
    runs.create(quick_spec.changed({"name": "waiting"}))
    test = open_page("lab", **{"s.dataset": "digits"})
    control(test, "lab.set.teacher.kind").set_value("run").run()
    offered = control(test, "lab.set.teacher.run")
    assert [option.split(" · ")[1] for option in offered.options] == ["a *good* one"]
    control(test, "lab.set.teacher.measure").set_value("mse").run()
    assert test.query_params["s.teacher.run"] in (taught.run_id, [taught.run_id])
    test.button(key="lab.start").click().run()
    made = next(run for run in runs.all() if run.state == RunState.QUEUED and run.spec.teacher)
    assert (made.spec.teacher.run, made.spec.teacher.measure) == (taught.run_id, "mse")
    assert len(made.spec.teacher.sha256) == 64


def test_without_a_run_that_could_teach_it_says_so(open_page):
    test = open_page("lab")
    control(test, "lab.set.teacher.kind").set_value("run").run()
    assert any("No finished run on these images" in caption.value for caption in test.caption)
    assert not test.button(key="lab.start").disabled


def test_a_link_to_a_teacher_that_is_gone_is_told(open_page):
    test = open_page("lab", **{"s.dataset": "digits", "s.teacher.run": "01" + "a" * 24})
    assert any("The teacher" in error.value for error in test.error)
    assert test.button(key="lab.start").disabled


def test_what_is_copied_names_the_teacher_and_not_its_checkpoint():
    spec = RunSpec.read({}).changed({"teacher.run": "01abc", "teacher.weight": 2.0, "teacher.sha256": "1" * 64})
    assert {"teacher.run", "teacher.weight"} <= set(differences_from_defaults(spec))
    assert "teacher.sha256" not in differences_from_defaults(spec)
    words = command_line(spec).replace("\\\n", " ").split()[3:]
    assert spec_from_options(build_parser().parse_args(words)).teacher.run == "01abc"
