"""Data: the image sets, people's own ones too; their classes and images, cleaning, splits, where they come from."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.data.browse import draw_mosaic, groups_text
from app.data.classes_view import classes_view, shown_split
from app.data.import_panel import import_panel, jobs_going_on, left_behind
from app.data.prepare_panel import prepare_panel
from app.data.set_actions import set_actions, show_import_notes
from app.lab.compare_losses import USUAL_FIVE
from app.shared.datasets import image_sets
from app.shared.draft import OTHERS, Draft
from app.shared.stored_widgets import act_button, stored_segments
from app.shared.text import count, escape_markdown, look_up_words
from app.shared.url import sync_query_params, went_back
from app.shared.view import view_run
from app.widgets.tiles import Row, Tile, atlas_carrier, image_tiles
from mlcore.data import load
from mlcore.data.store import all_sets, distinguishing_words
from mlcore.spec.run_spec import RunSpec

CARDS = 8
IN_A_LINE = 4
CARD_TILES = 10
PHOTO = 64  # px: images this large are taken for photographs
FROZEN = {
    "backbone": "efficientnet_lite0",
    "backbone.freeze": "everything",
    "augment": "none",
    "mix.kind": "none",
}
SHOWN = "data.shown"
VIEWS = {"look": "Look", "prepare": "Prepare"}

own = {facts.id: facts for facts in all_sets()}
sets = image_sets()
apart = distinguishing_words(list(own.values()), [sets[name].title for name in sets if name not in own])
asked = st.query_params.get("set")
if st.session_state.get("data.set") not in sets or (went_back() and asked in sets):
    st.session_state["data.set"] = asked if asked in sets else next(iter(sets))
key = st.session_state["data.set"]
if SHOWN not in st.session_state or went_back():
    view = st.query_params.get("view")
    st.session_state[SHOWN] = view if view in VIEWS else "look"


def choose(key: str) -> None:
    st.session_state["data.set"] = key
    st.session_state.pop("data.row", None)


def take_chosen() -> None:
    if st.session_state["data.more"] is not None:
        choose(st.session_state["data.more"])


def set_card(key: str, chosen: bool) -> None:
    """A set in small: its name, some of its images, how many there are."""
    with st.container(border=True, height="stretch"):
        act_button(
            escape_markdown(own[key].title if key in own else sets[key].title, 60),
            key=f"data.card.{key}",
            type="primary" if chosen else "secondary",
            icon=":material/check:" if chosen else None,
            width="stretch",
            on_click=choose,
            args=(key,),
        )
        try:
            table, pictures = draw_mosaic(key, CARD_TILES)
        except (ValueError, OSError) as error:
            st.caption(f":material/broken_image: {escape_markdown(str(error), 200)}")
            return
        atlas_carrier(pictures, key=f"data.mosaic.{key}")
        tiles = tuple(Tile(place, place, "none", "") for place in range(pictures.count))
        image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key=f"data.tiles.{key}", size=32)
        whence = f"  \n{escape_markdown(apart[key])}" if apart.get(key) else ""
        st.caption(f"{count(len(table), 'image')}, {count(len(table.class_names), 'class', 'classes')}{whence}")


def set_cards() -> None:
    """The newest of the own sets and those that come with the lab, the chosen one always; the others in a list."""
    shown = sorted(sets, key=lambda name: name in own)[: len(sets) - len(own)]
    shown += list(own)[: CARDS - len(shown)]
    if key not in shown:
        shown[-1] = key
    for start in range(0, len(shown), IN_A_LINE):
        line = st.columns(IN_A_LINE)
        for column, name in zip(line, shown[start : start + IN_A_LINE], strict=False):
            with column:
                set_card(name, name == key)
    others = [name for name in sets if name not in shown]
    if others:
        st.selectbox(
            f"{count(len(others), 'more set')}",
            others,
            index=None,
            format_func=lambda name: sets[name].title,
            placeholder="Choose a set",
            key="data.more",
            on_change=take_chosen,
        )


def to_the_lab(*, several: bool) -> None:
    """The shown set with the shown split in the Lab, and larger images through a pretrained backbone,
    whose features are made once, so that the first run takes seconds."""
    draft, usual = Draft(), RunSpec.model_fields["backbone"].default.key
    changes: dict[str, Any] = {"dataset": key, **shown_split(key, table)}
    if min(table.image_size) >= PHOTO and (several or draft.get("backbone") == usual):
        changes |= FROZEN
    draft.replace(draft.spec().changed(changes).settings())
    draft.set(OTHERS, [loss for loss in USUAL_FIVE if loss != draft.get("loss")][:4] if several else [])
    view_run(None)


st.title("Data", anchor=False)
import_panel()
jobs_going_on()
left_behind()
set_cards()
sync_query_params({"set": key}, "set".__eq__)

try:
    table = load(key)
except (ValueError, OSError) as error:
    st.error(f"These images cannot be read: {escape_markdown(str(error), 400)}", icon=":material/broken_image:")
    if key in own:
        set_actions(own[key])
    st.stop()

st.subheader(escape_markdown(table.title), anchor=False)
with st.container(horizontal=True):
    train = st.button("Train on it", icon=":material/bubble_chart:", key="data.train")
    compare = st.button(
        "Compare five losses on it",
        icon=":material/table_rows:",
        key="data.compare",
        help="Takes the set to the Lab with five losses chosen; there, Start runs one after the other.",
    )
if key not in own:
    st.markdown(sets[key].description.split("\n\n")[0])
height, width = table.image_size
if table.vectors is None:
    colour = "grey" if table.channels == 1 else "colour"
    what = f"{count(len(table), 'image')} in {{}}, stored at {width} × {height} px, {colour}."
else:
    what = f"{count(len(table), 'vector')} of {table.vectors.shape[1]:,} numbers in {{}}."
st.caption(f"{what.format(count(len(table.class_names), 'class', 'classes'))} {groups_text(table)}")
with st.expander("Origin and licence"):
    st.markdown(escape_markdown(table.origin, 2000))
    st.markdown(escape_markdown(table.licence, 2000))
    st.caption(f"Fingerprint (sha256): {table.fingerprint}")
if key in own:
    show_import_notes(own[key])
    set_actions(own[key])
    st.session_state[SHOWN] = stored_segments(
        "data.view",
        "Show",
        list(VIEWS),
        st.session_state[SHOWN],
        words=look_up_words(VIEWS),
        label_visibility="collapsed",
        width="stretch",
    )
view = st.session_state[SHOWN] if key in own else "look"
sync_query_params({"view": view} if view != "look" else {}, "view".__eq__)
if view == "look":
    classes_view(key, table)
else:
    prepare_panel(own[key])
if train or compare:  # after the page, so that what was typed last is in it
    to_the_lab(several=compare)
    st.switch_page("../pages/lab.py")
