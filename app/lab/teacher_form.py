"""Choosing who teaches a run: nobody, a finished run on the same images, or a pretrained backbone."""

from __future__ import annotations

import streamlit as st

from app.server import lab_server
from app.shared.controls import choice_setting, number_setting, switch_setting
from app.shared.draft import WIDGET, Draft
from app.shared.setting_search import setting_note
from app.shared.stored_widgets import stored_segments, stored_selectbox
from app.shared.text import format_share, look_up_words
from mlcore.catalogue import registry
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.checkpoints import last_sha256
from mlcore.runs.folder import Runs

NEWEST = 30
FRESH_S = 5
HOW = {"teacher.measure": "cosine", "teacher.weight": 1.0, "teacher.alone": False}
KINDS = {"none": "None", "run": "Run", "backbone": "Backbone"}
HELP = (
    "Draws each image's embedding towards the one that another model gives of it (distillation). The teacher sees "
    "images without augmentation, once, before the first step."
)
MEASURE_HELP = "Cosine: the angle between both. Squared: the distance, which settles lengths as well."


def teacher_form(draft: Draft) -> None:
    """Who teaches, how both are compared, and whether the loss has a say beside it."""
    present = "run" if draft.get("teacher.run") else "backbone" if draft.get("teacher.backbone") else "none"
    kind = stored_segments(
        f"{WIDGET}teacher.kind", "Teacher", list(KINDS), present, words=look_up_words(KINDS), width="stretch", help=HELP
    )
    if kind != present:
        clear_teacher(draft)
    if kind == "none" or not {"run": a_run, "backbone": a_backbone}[kind](draft):
        clear_teacher(draft)
        return
    for name, usual in HOW.items():
        draft.settings.setdefault(name, usual)
    choice_setting(draft, "teacher.measure", "Compare by", {"cosine": "Cosine", "mse": "Squared"}, help=MEASURE_HELP)
    number_setting(
        draft, "teacher.weight", "Weight", 1e-4, 1e6, step=None, format="%.4g", help="Times this, added to the loss."
    )
    if switch_setting(draft, "teacher.alone", "Learn from the teacher alone"):
        setting_note("The loss is left out: it has no say, and its proxies stay as they were drawn.")


def a_run(draft: Draft) -> bool:
    """A list of the runs that can teach; whether one is chosen."""
    found = find_teachers(str(lab_server().runs.root), str(draft.get("dataset")))
    named = draft.get("teacher.run")
    if not found and not named:
        setting_note("No finished run on these images yet. Train one first.")
        return False
    label = f"Run, by {METRICS[PRIMARY].title} and name"
    return teacher_choice(draft, "teacher.run", label, found | ({named: named} if named and named not in found else {}))


def a_backbone(draft: Draft) -> bool:
    """A list of the pretrained backbones; whether one is chosen."""
    pretrained = {key: part.title for key, part in registry("backbones").items() if part.defaults().get("pretrained")}
    return teacher_choice(draft, "teacher.backbone", "Backbone", pretrained)


def teacher_choice(draft: Draft, name: str, label: str, titles: dict[str, str]) -> bool:
    kept = draft.get(name) if draft.get(name) in titles else next(iter(titles), None)
    found = stored_selectbox(f"{WIDGET}{name}", label, list(titles), kept, words=look_up_words(titles))
    if found != draft.get(name):
        clear_teacher(draft)
    draft.set(name, found)
    return found is not None


@st.cache_data(max_entries=16, ttl=FRESH_S, show_spinner=False)
def find_teachers(root: str, dataset: str) -> dict[str, str]:
    """What the newest finished runs on a data set are called, by their ids; with their MAP@R on held-out images."""
    runs, found = Runs(root), {}
    for run_id in reversed(runs.ids()):
        try:
            run = runs.open(run_id)
            status = run.status()
            if run.purpose != "run" or not status.state.finished or run.spec.dataset.key != dataset:
                continue
            last_sha256(run)
        except ValueError:
            continue
        score = status.metrics.get("held_out", {}).get(PRIMARY)
        found[run_id] = f"{format_share(score)} · {run.title()}"
        if len(found) == NEWEST:
            break
    return found


def clear_teacher(draft: Draft) -> None:
    """Nobody teaches."""
    for name in [name for name in draft.settings if name.startswith("teacher.")]:
        del draft.settings[name]
    draft.set("teacher", None)
