"""What a step of the drafted run will see: an image as it is rendered, a mixed one, and the first batch."""

from __future__ import annotations

import json
import time

import numpy as np
import streamlit as st

from app.server import torch_is_ready
from app.shared.draft import Draft
from app.shared.rerun import rerun_fragment
from app.shared.stored_widgets import act_button
from app.shared.text import count, escape_markdown
from app.widgets.tiles import Row, Strip, Tile, atlas_carrier, image_tiles
from mlcore.catalogue import registry
from mlcore.data import load
from mlcore.data.thumbnails import Atlas, draw_atlas
from mlcore.spec.run_spec import RunSpec
from mlcore.traits import MethodTrait

OPEN, IMAGE = "lab.step.open", "lab.step.image"
LARGE, SMALL = 64, 48  # CSS px
CLASSES, EACH = 8, 10  # of a batch, at most shown
LOOK_S = 0.2


def step_preview_button(draft: Draft) -> None:
    """A button, and once it was pressed, until it is closed, a window with what a step of the draft would see."""
    act_button(
        "See what a step sees",
        key="lab.step",
        icon=":material/visibility:",
        width="stretch",
        on_click=st.session_state.__setitem__,
        args=(OPEN, True),
    )
    if st.session_state.get(OPEN):
        preview_dialog(draft)


def close() -> None:
    st.session_state.pop(OPEN, None)
    st.session_state.pop(IMAGE, None)


@st.dialog("What a step sees", width="large", icon=":material/visibility:", on_dismiss=close)
def preview_dialog(draft: Draft) -> None:
    wait_for_torch()
    try:
        spec = draft.spec()
        batch, words, note, rows = first_batch(spec.digest(), spec)
        show_renderings(spec, rows)
        st.markdown("**The first batch**")
        some = "" if batch is None or len(batch) <= CLASSES else f"{CLASSES} of these classes are shown."
        press = "" if batch is None else "Press an image to see it rendered."
        st.caption(escape_markdown(" ".join(filter(None, [words, note, some, press])), 500))
        if batch is not None:
            classes_of_batch(spec, batch, rows)
    except (ValueError, OSError) as error:
        st.error(escape_markdown(str(error), 600), icon=":material/error:")


def wait_for_torch() -> None:
    place = st.empty()
    while not torch_is_ready():
        with place.container():
            st.caption("Loading what renders images (a few seconds, once)")
            st.skeleton(height=240)
        time.sleep(LOOK_S)
    place.empty()


def show_renderings(spec: RunSpec, batch: np.ndarray) -> None:
    """One of the batch's images beside its renderings, and a way to the next one."""
    table = load(spec.dataset.key, **spec.dataset.params)
    pressed = st.session_state.get(IMAGE, 0)
    row = int(batch[pressed % len(batch)]) if len(batch) else pressed * 7919 % len(table)
    seen = json.dumps(spec.model_dump(mode="json", include={"dataset", "backbone", "augment", "mix"}))
    pictures, shown, adapted = render_batch_image(seen, row, pressed, spec)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**An image**", width="content")
        act_button(
            "Another image",
            key="lab.step.next",
            icon=":material/shuffle:",
            type="tertiary",
            on_click=st.session_state.__setitem__,
            args=(IMAGE, pressed + 1),
        )
    st.caption(f"{adapted or 'Images reach the backbone at their own size.'} {rendering_words(spec)}")
    atlas_carrier(pictures, key="lab.step.pictures")
    image_tiles(shown, atlas_key=pictures.key, key="lab.step.tiles", size=LARGE)


def rendering_words(spec: RunSpec) -> str:
    views = MethodTrait.TWO_VIEWS in registry("methods")[spec.method.key].traits
    if spec.augment.key == "none":
        return "Without augmentation every step sees the same picture."
    return f"Every step renders each anew{', twice' if views else ''}."


@st.cache_data(max_entries=32, show_spinner=False)
def render_batch_image(seen: str, row: int, seed: int, _spec: RunSpec) -> tuple[Atlas, list[Row], str]:
    """An atlas of the plain image, its renderings and a mixed one, how they are shown, and what is done before.

    `seen`: what of the spec they depend on.
    """
    from mlcore.training.preview import make_preview

    table = load(_spec.dataset.key, **_spec.dataset.params)
    found = make_preview(_spec, table, row, seed=seed)
    moved = [] if _spec.augment.key == "none" else list(found.rendered)
    mixed = [] if found.mixed is None else [found.mixed]
    stack = np.stack([found.plain, *moved, *mixed])
    name = table.class_names[table.labels[row]]
    tiles = tuple(Tile(number, number, "none", f"rendering {number}") for number in range(1, len(moved) + 1))
    strips = (Strip("Rendered nine times", tiles),) if moved else ()
    shown = [Row(name, "as it is", (Tile(0, 0, "query" if moved else "none", f"{name}, as it is"),), strips)]
    if mixed:
        parted = ", ".join(f"{100 * part:.0f} % {name}" for name, part in found.shares.items())
        place = len(stack) - 1
        shown.append(Row("Mixed", parted, (Tile(place, place, "none", parted),)))
    return draw_atlas(stack, min(LARGE * 2, max(stack.shape[1:3]))), shown, found.adapted


@st.cache_data(max_entries=32, show_spinner=False)
def first_batch(digest: str, _spec: RunSpec) -> tuple[dict[int, list[int]] | None, str, str, np.ndarray]:
    """The images of each class in the run's first batch (None where it cannot be known), the batch in words, what else
    there is to know of it, and its rows."""
    from mlcore.training.preview import batch_preview

    found = batch_preview(_spec, load(_spec.dataset.key, **_spec.dataset.params))
    if not len(found.rows):
        return None, "", found.note, found.rows
    of_class = {label: found.rows[found.labels == label].tolist() for label in found.counts()}
    return of_class, found.sentence(), found.note, found.rows


def classes_of_batch(spec: RunSpec, batch: dict[int, list[int]], rows: np.ndarray) -> None:
    """A row of tiles for each class, as many as there is room for."""
    table = load(spec.dataset.key, **spec.dataset.params)
    shown = {label: batch[label][:EACH] for label in list(batch)[:CLASSES]}
    pictures = small_pictures(spec.dataset.key, tuple(row for some in shown.values() for row in some))
    drawn: list[Row] = []
    places = iter(range(pictures.count))
    for label, some in shown.items():
        more = f", {len(some)} shown" if len(some) < len(batch[label]) else ""
        tiles = tuple(Tile(row, next(places), "none", table.image_names[row]) for row in some)
        drawn.append(Row(table.class_names[label], f"{count(len(batch[label]), 'image')}{more}", tiles))
    atlas_carrier(pictures, key="lab.step.batch")
    half = -(-len(drawn) // 2)
    for number, (column, part) in enumerate(zip(st.columns(2), (drawn[:half], drawn[half:]), strict=True)):
        if not part:
            continue
        with column:
            pressed = image_tiles(part, atlas_key=pictures.key, key=f"lab.step.classes.{number}", size=SMALL)
        if pressed is not None:
            st.session_state[IMAGE] = int(np.flatnonzero(rows == pressed)[0])
            rerun_fragment()


@st.cache_data(max_entries=16, show_spinner=False)
def small_pictures(key: str, rows: tuple[int, ...]) -> Atlas:
    table = load(key)
    return draw_atlas(table.pixels, min(SMALL * 2, max(table.image_size)), np.array(rows))
