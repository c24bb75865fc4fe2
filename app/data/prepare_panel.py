"""Preparing a set on the Data page: what it holds, one step after another with its effect told before, undo, save."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app.data.import_panel import start_import
from app.data.plan_store import Now, PlanInMaking, Sources, Step, plan_statistics, prepare_index
from app.data.step_forms import FORMS
from app.shared.figures import count_figure
from app.shared.stored_widgets import act_button, distinct_labels, stored_widget
from app.shared.text import count, escape_markdown, format_bytes, look_up_words
from app.shared.theme import current_theme
from app.widgets.chart.widget import chart
from mlcore.data.store import SetFacts, all_sets, full_titles
from mlcore.disk.atomic import make_folders, replace_file

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.data.prepare.statistics import Statistics
    from mlcore.data.prepare.steps import Effect

TABLE_KINDS = {"csv": "CSV", "parquet": "Parquet"}
BY_HASH = ("duplicates",)  # steps that compare pictures: not for feature vectors


def prepare_panel(facts: SetFacts) -> None:
    """Everything about making another set of this one."""
    making = PlanInMaking(facts.id)
    merge_form(facts, making)
    sources = making.sources
    stamps = set_stamps(sources)
    try:
        index, effects = prepare_index(sources, stamps, plan_json(making.steps))
    except ValueError as error:
        st.error(escape_markdown(str(error), 600), icon=":material/error:")
        step_buttons(making)
        return
    show_figures(sources, stamps, making)
    show_steps(making, effects)
    now = Now(facts.id, sources, stamps, plan_json(making.steps), index)
    next_step(facts, making, now)
    save(facts, making, sources, index)


def set_stamps(sources: Sources) -> tuple[str, ...]:
    by_id = {facts.id: facts.fingerprint for facts in all_sets()}
    return tuple(by_id.get(set_id, "") for set_id in sources.ids)


def plan_json(steps: list[Step]) -> str:
    return json.dumps({"steps": steps})


def merge_form(facts: SetFacts, making: PlanInMaking) -> None:
    """Other imported sets of the same stored size, to be merged with this one."""
    sets = all_sets()
    others = {other.id: other for other in sets if other.id != facts.id and other.side == facts.side}
    if not others:
        return
    chosen = [other for other in making.record["with"] if other in others]
    called = full_titles(sets)
    with st.expander(
        "Merged with " + ", ".join(escape_markdown(called[other], 80) for other in chosen) if chosen else "Merge sets",
    ):
        titles = {
            other: called[other]
            if called[other] != facts.title
            else f"{facts.title} ({facts.counts['images']:,} images)"
            for other, facts in others.items()
        }
        merge = partial(
            st.multiselect,
            "Merge with",
            list(others),
            format_func=distinct_labels(list(others), look_up_words(titles)),
            placeholder="Other sets of the same stored size",
        )
        stored_widget(merge, f"data.with.{facts.id}", chosen, making.merge_with)
        apart = partial(
            st.toggle,
            "Classes of one name stay apart",
            help="Off: two deliveries of one catalogue. On: both just number their classes.",
        )
        stored_widget(apart, f"data.apart.{facts.id}", making.record["apart"], making.keep_apart)


def show_figures(sources: Sources, stamps: tuple[str, ...], making: PlanInMaking) -> None:
    """What the set holds after the steps so far, with the change since before them."""
    now = plan_statistics(sources, stamps, plan_json(making.steps))
    before = plan_statistics(sources, stamps, plan_json([]))
    counts = list(now.per_class.values())
    columns = st.columns(4)
    for column, label, value, first in (
        (columns[0], "Images", now.images, before.images),
        (columns[1], "Classes", now.classes, before.classes),
    ):
        column.metric(label, f"{value:,}", f"{value - first:+,}" if value != first else None, delta_color="off")
    columns[2].metric("Images per class", f"{counts[-1]} to {counts[0]}" if counts[-1] != counts[0] else f"{counts[0]}")
    columns[3].metric("Size", split_words(now))
    chart(
        count_figure(counts, current_theme()),
        key="data.counts",
        alt=f"Images per class, from {counts[0]} in the largest class to {counts[-1]} in the smallest",
    )
    told = []
    if now.lone:
        lone = count(len(now.lone), "class has", "classes have")
        told.append(f"{lone} one image: a search for it has nothing to find.")
    for name, found in (("Modes", now.modes), ("Split", now.splits), ("Folds", now.folds)):
        if found:
            told.append(
                f"{name}: " + ", ".join(f"{escape_markdown(str(word))} {number:,}" for word, number in found.items())
            )
    st.caption("  \n".join(["Images of each class, the largest class first.", *told]))


def split_words(figures: Statistics) -> str:
    if figures.widths is None or figures.heights is None:
        return "–"
    smallest, largest = min(figures.widths[0], figures.heights[0]), max(figures.widths[2], figures.heights[2])
    return f"{smallest} to {largest} px" if smallest != largest else f"{smallest} px"


def show_steps(making: PlanInMaking, effects: list[Effect]) -> None:
    st.subheader("Steps", anchor=False)
    if not effects:
        st.caption("None yet. Nothing here changes the images: the steps make another set of them.")
    for number, effect in enumerate(effects, 1):
        st.markdown(f"{number}. {escape_markdown(capitalize_first(effect.sentence()), 300)}")
    step_buttons(making)


def step_buttons(making: PlanInMaking) -> None:
    if not making.steps and not making.later:
        return
    with st.container(horizontal=True):
        act_button("Undo", icon=":material/undo:", key="data.undo", disabled=not making.steps, on_click=making.undo)
        act_button("Redo", icon=":material/redo:", key="data.redo", disabled=not making.later, on_click=making.redo)
        act_button(
            "Undo all",
            icon=":material/restart_alt:",
            key="data.clear",
            disabled=not making.steps,
            on_click=making.clear,
        )


def next_step(facts: SetFacts, making: PlanInMaking, now: Now) -> None:
    """A step in the making: its settings, what it would do, and the button that does it."""
    with st.container(border=True):
        hashed = not facts.has_vectors and bool((now.index["hash"] != "").all())
        kinds = [kind for kind in FORMS if hashed or kind not in BY_HASH]
        kind = st.pills(
            "Next step",
            kinds,
            format_func=lambda key: FORMS[key].title,
            key=f"data.step.{making.set_id}",
            default=kinds[0],
            required=True,
        )
        st.caption(FORMS[kind].words)
        step = FORMS[kind].form(now)
        if step is None:
            return
        try:
            effect = prepare_index(now.sources, now.stamps, plan_json([*making.steps, step]))[1][-1]
        except ValueError as error:
            st.warning(escape_markdown(str(error), 400), icon=":material/info:")
            return
        st.markdown(f"**Effect:** {escape_markdown(capitalize_first(effect.sentence()), 300)}")
        act_button(
            "Do it", icon=":material/check:", type="primary", key="data.apply", on_click=making.add, args=(step,)
        )


def save(facts: SetFacts, making: PlanInMaking, sources: Sources, index: pd.DataFrame) -> None:
    """The prepared set as one to train on, or as a table for other tools."""
    st.subheader("Keep the result", anchor=False)
    changed = bool(making.steps) or len(sources.ids) > 1
    usual = f"{facts.title}, prepared"[:120]
    left, right = st.columns([0.6, 0.4], vertical_alignment="bottom")
    typed = left.text_input("Name of the new set", key=f"data.save.{facts.id}", placeholder=usual, max_chars=120)
    title = typed.strip() or usual
    with right:
        act_button(
            f"Save {count(len(index), 'image')} as a new set",
            icon=":material/save:",
            type="primary",
            key="data.keep",
            disabled=not changed,
            on_click=begin_save,
            args=(making, sources, title),
            help=None if changed else "Do a step first; the set as it is can be trained on already.",
            width="stretch",
        )
    with st.container(horizontal=True):
        if st.button(
            "Table", icon=":material/table:", key="data.table", help="Every image as a row, for any other tool."
        ):
            save_table(facts.id, index)
        st.download_button(
            "Steps (YAML)",
            plan_yaml(making.steps),
            file_name=f"{facts.id}.yaml",
            icon=":material/list_alt:",
            key="data.plan",
            on_click="ignore",
            disabled=not making.steps,
            help="For: python -m mlcore prepare SET --plan FILE",
        )


@st.dialog("Save the table")
def save_table(set_id: str, index: pd.DataFrame) -> None:
    """Writes first: a button that writes when it is pressed hands over nothing once the page has run again."""
    st.write(f"{count(len(index), 'image')}: file, label, parent, size, hash, split and fold of each.")
    kind = st.segmented_control(
        "As", TABLE_KINDS, default="csv", required=True, format_func=look_up_words(TABLE_KINDS), key="data.table.kind"
    )
    with st.spinner("Writing …"):
        written = table_bytes(index, kind)
    st.download_button(
        f"Save {set_id}.{kind} ({format_bytes(len(written))})",
        written,
        file_name=f"{set_id}.{kind}",
        mime="text/csv" if kind == "csv" else "application/octet-stream",
        icon=":material/download:",
        key="data.table.save",
        type="primary",
        on_click="ignore",
    )


def begin_save(making: PlanInMaking, sources: Sources, title: str) -> None:
    plan = making.path.with_name(f"{making.set_id}.plan.json")
    make_folders(plan.parent)
    replace_file(plan, plan_json(making.steps).encode())
    arguments = ["prepare", *sources.ids, "--plan", str(plan), "--save", title, "--duplicates", "keep"]
    arguments += ["--labels", "apart" if sources.apart else "join"]
    start_import(title, [*arguments, "--json", "--progress"])


def table_bytes(index: pd.DataFrame, kind: str) -> bytes:
    import tempfile
    from pathlib import Path

    from mlcore.data.prepare import write_index

    with tempfile.TemporaryDirectory() as folder:
        return write_index(index, Path(folder) / f"table.{kind}").read_bytes()


def plan_yaml(steps: list[Step]) -> bytes:
    from mlcore.data.prepare import Plan

    return Plan.read({"steps": steps}).to_yaml().encode()


def capitalize_first(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
