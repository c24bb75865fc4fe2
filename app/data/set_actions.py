"""What is told and done only of imported sets: their notes, what was left out, another title, deleting."""

from __future__ import annotations

import streamlit as st

from app.data.browse import make_atlas
from app.data.plan_store import forget_plan
from app.shared.stored_widgets import act_button
from app.shared.text import count, escape_markdown
from app.widgets.tiles import Row, Tile, atlas_carrier, image_tiles
from mlcore.data.store import SetFacts, delete_set, read_index, read_left_out, rename_set

SHOWN = 1000
ONE_COLOUR_SHOWN = 48


def show_import_notes(facts: SetFacts) -> None:
    """What to know of the set, and what was left out of it and why."""
    for note in facts.notes:
        st.caption(f":material/info: {escape_markdown(note, 600)}")
    show_one_colour(facts)
    number = facts.counts.get("left_out", 0)
    if not number:
        return
    with st.expander(f"{count(number, 'file')} left out"):
        left = read_left_out(facts.folder)
        reasons = left["reason"].value_counts().rename_axis("Reason").reset_index(name="Files")
        st.dataframe(reasons, hide_index=True, width="stretch")
        st.dataframe(
            left.head(SHOWN),
            hide_index=True,
            width="stretch",
            column_config={"file": "File", "reason": "Reason"},
            key="data.left",
        )
        if number > SHOWN:
            st.caption(f"The first {SHOWN:,} of {number:,}; all are in left_out.parquet in the set's folder.")


def show_one_colour(facts: SetFacts) -> None:
    """The images that came out of one colour all over, small, with their names."""
    rows = tuple(facts.one_colour[:ONE_COLOUR_SHOWN])
    if not rows:
        return
    with st.expander(f"{count(len(facts.one_colour), 'image')} of one colour"):
        names = read_index(facts.folder)["file"]
        pictures = make_atlas(facts.id, facts.fingerprint, rows)
        atlas_carrier(pictures, key="data.one_colour.atlas")
        tiles = tuple(Tile(place, place, "none", names[row]) for place, row in enumerate(rows))
        image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key="data.one_colour", size=32)
        st.caption(f"Such as {', '.join(escape_markdown(names[row], 60) for row in rows[:3])}.")


def set_actions(facts: SetFacts) -> None:
    """Rename and delete."""
    with st.container(horizontal=True):
        with st.popover("Rename", icon=":material/edit:"):
            title = st.text_input("Title", facts.title, max_chars=120, key=f"data.rename.{facts.id}.{facts.title}")
            act_button(
                "Rename",
                key="data.renamed",
                disabled=not title.strip() or title == facts.title,
                on_click=rename_set,
                args=(facts.id, title),
            )
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown(
                f"**{escape_markdown(facts.title)}** goes for good ({count(facts.counts['images'], 'image')}; "
                "the files that it was imported from stay). "
                "Runs that were trained on it can still be looked at, but not gone on with."
            )
            act_button("Delete it", key="data.delete", type="primary", on_click=remove, args=(facts.id,))


def remove(set_id: str) -> None:
    delete_set(set_id)
    forget_plan(set_id)
    st.session_state.pop("data.set", None)
    st.toast("The set is deleted.", icon=":material/delete:")
