"""Choosing one of timm's networks: a list to search, with size, weights and speed, without importing torch or timm."""

from __future__ import annotations

import math
import time
import uuid
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from app.shared.draft import Draft
from app.shared.rerun import rerun_fragment
from app.shared.stored_widgets import act_button
from app.shared.text import count, escape_markdown
from mlcore.catalogue import cache_file
from mlcore.data import ImageTable, load
from mlcore.engines.local import close_input, start_process
from mlcore.input_format import InputFormat, as_side, scale_size
from mlcore.timm_zoo.model_table import (
    HERE,
    HUB,
    NOWHERE,
    NetworkRow,
    find_model,
    names_are_known,
    network_list,
    search,
    version_of_counts,
)
from mlcore.timm_zoo.speed import MachineSpeed, images_per_s, read_speed, speed_words

if TYPE_CHECKING:
    import pandas as pd

OPEN = "lab.timm.open"  # kept while the list is open: a page that is drawn again would close it
PART = "timm"
MODEL = "backbone.model"
PRETRAINED = "backbone.pretrained"
CHOSEN_BEFORE = (MODEL,)  # knobs with a place of their own
LEAST_SIDE = 32
PATIENCE_S = 300.0
TICK_S = 0.25
FEW = 8  # rows that are shown without a scroll bar
WEIGHT_WORDS = {HERE: "weights here", HUB: "weights on the hub", NOWHERE: "no published weights"}
AT_MOST = (5, 10, 25, 50, 100, 300, 0)
COLUMNS = {
    "name": st.column_config.TextColumn("Name", pinned=True),
    "parameters_m": st.column_config.NumberColumn("Parameters (M)", format="%.1f"),
    "speed": st.column_config.NumberColumn("About images/s", help="In training steps on this machine."),
    "weights": st.column_config.TextColumn("Weights"),
    "height": st.column_config.NumberColumn("Input (px)", help="Of its published weights."),
    "family": st.column_config.TextColumn("Family"),
    "licence": st.column_config.TextColumn("Licence", help="Of the weights."),
}


def close() -> None:
    st.session_state.pop(OPEN, None)


def timm_choice(draft: Draft) -> None:
    """The chosen network, what it is and needs, and the way to the list; for the part `timm` only."""
    if draft.get("backbone") != PART:
        close()
        return
    name = draft.get(MODEL)
    if st.button(
        escape_markdown(name, 60),
        key="lab.timm",
        icon=":material/search:",
        width="stretch",
        help="Search timm's networks by size, weights and speed.",
    ):
        st.session_state.pop("lab.timm.search", None)
        st.session_state[OPEN] = True
    if st.session_state.get(OPEN):
        choose_model(draft)
    row = find_model(name)
    if row is None:
        nearly = search(network_list(), name).meant
        hint = f" Did you mean {escape_markdown(nearly, 60)}?" if nearly else ""
        st.warning(f"timm has no network of this name, as far as is known here.{hint}", icon=":material/help:")
        return
    st.caption(" ".join([model_sentence(row, draft), adaptation_words(row, draft)]))
    if draft.get(PRETRAINED) and row["weights"] != HERE:
        st.warning(weights_warning(row), icon=":material/cloud_download:")


def model_sentence(row: NetworkRow, draft: Draft) -> str:
    """'11.2 M parameters · 32 px · about 180 images/s in training · weights on the hub.'"""
    size = " × ".join(map(str, input_format(row, draft).size))
    counted = "size not counted" if math.isnan(row["parameters_m"]) else f"{row['parameters_m']:,.1f} M parameters"
    told = speed_text(row["name"], draft)
    pace = f"{told} images/s in training" if told else ""
    licence = f" ({escape_markdown(row['licence'])})" if row["licence"] else ""
    return " · ".join(filter(None, [counted, f"{size} px", pace, WEIGHT_WORDS[row["weights"]] + licence])) + "."


def adaptation_words(row: NetworkRow, draft: Draft) -> str:
    """What is done to the chosen images before this network sees them; "" while no images are chosen."""
    images = chosen_images(draft)
    return escape_markdown(input_format(row, draft).adapted(images.image_size, images.channels), 300) if images else ""


def weights_warning(row: NetworkRow) -> str:
    if row["weights"] == NOWHERE:
        return "No weights are published for this network. Switch “pretrained” off, or choose another."
    return (
        "Its weights are not here. The run fetches them from the Hugging Face hub, and fails if there is no network. "
        "The list's filter “Here” shows networks whose weights are on this machine."
    )


def chosen_images(draft: Draft) -> ImageTable | None:
    try:
        return load(draft.get("dataset"))
    except (ValueError, OSError):
        return None


def input_format(row: NetworkRow, draft: Draft) -> InputFormat:
    """As mlcore.backbones.TimmModel has it; mean and deviation, which say nothing about the fitting, are left out."""
    images = chosen_images(draft)
    published, side = (row["height"], row["width"]), draft.get("backbone.side")
    as_published = draft.get("backbone.as_published")
    if row["fixed"]:
        size = published
    elif as_published:
        size = (side, side) if side else published
    else:
        size = scale_size(images.image_size if images else published, side, at_least=LEAST_SIDE)
    grey = draft.get("backbone.grey_input") and images is not None and images.channels == 1
    wanted = InputFormat(as_side(size), 1 if grey else 3, (), ())
    return replace(wanted, crop=row["crop"], interpolation=row["interpolation"]) if as_published else wanted


def known_network(name: str) -> NetworkRow:
    """The row of a listed network. Raises: ValueError for another name."""
    row = find_model(name)
    if row is None:
        raise ValueError(f"timm: there is no model '{name}'. Choose another.")
    return row


def speed_text(name: str, draft: Draft) -> str:
    """'about 180', '176' where it was measured, '' where nothing is known."""
    known = read_speed()
    rows = network_list().loc[[name.partition(".")[0]]]
    if known is None:
        return ""
    found = images_per_s(rows, known, size=input_format(known_network(name), draft).size).iloc[0]
    return speed_words(found.images_per_s, found.measured)


@st.dialog("Choose a timm model", width="large", icon=":material/search:", on_dismiss=close)
def choose_model(draft: Draft) -> None:
    listed = network_list()
    words = st.text_input(
        "Search", key="lab.timm.search", placeholder="resnet, vit tiny, dinov2, in22k", help="Every word must occur."
    )
    filters = st.container(horizontal=True, vertical_alignment="top")
    which = filters.segmented_control(
        "Weights", ["Any", "Published", "Here"], default="Any", key="lab.timm.weights", required=True
    )
    most = filters.selectbox(
        "Parameters", AT_MOST, index=len(AT_MOST) - 1, format_func=at_most, key="lab.timm.most", width=160
    )
    found = search(listed, words, pretrained=which == "Published", here=which == "Here", max_parameters=most or None)
    if found.rows.empty:
        nothing_found(found.meant, which)
        return
    known = read_speed()
    now = draft.get(MODEL).partition(".")[0]
    first = now if not words and now in found.rows.index else found.rows.index[0]
    picked = model_table(found.rows, known, draft) or first
    st.caption(f"{count(len(found.rows), 'network')} of {len(listed):,}. {about_list(known, draft)}")
    use_or_measure(draft, picked, known)


def at_most(most: int) -> str:
    return f"at most {most} M" if most else "any number"


def nothing_found(meant: str, which: str) -> None:
    st.info("No network has all of this. Use fewer words, or other filters.", icon=":material/search_off:")
    if meant:
        act_button(
            f"Search for “{escape_markdown(meant, 60)}”",
            key="lab.timm.meant",
            type="tertiary",
            on_click=search_for,
            args=(meant,),
        )
    elif which == "Here":
        st.caption("The local Hugging Face cache holds safetensors weights of none of them.")


def search_for(words: str) -> None:
    st.session_state["lab.timm.search"] = words


def model_table(rows: pd.DataFrame, known: MachineSpeed | None, draft: Draft) -> str | None:
    """The table of what was found; the name that is selected in it."""
    shown = rows.reset_index()[[name for name in COLUMNS if name != "speed"]]
    shown["weights"] = shown.weights.map({HERE: "here", HUB: "on the hub", NOWHERE: "none"})
    if known is not None:
        images = chosen_images(draft)
        paces = images_per_s(rows, known, size=usual_size(images, draft)).images_per_s.to_numpy()
        shown.insert(2, "speed", [two_figures(pace) for pace in paces])
    chosen = st.dataframe(
        shown,
        key=f"lab.timm.rows.{zlib.crc32(' '.join(rows.index).encode())}",
        on_select="rerun",
        selection_mode="single-row",
        hide_index=True,
        height=320 if len(rows) > FEW else "content",
        column_config=COLUMNS,
    )
    return rows.index[chosen.selection.rows[0]] if chosen.selection.rows else None


def usual_size(images: ImageTable | None, draft: Draft) -> tuple[int, int] | None:
    """Of the input of networks that take any; None for their own."""
    side = draft.get("backbone.side")
    if draft.get("backbone.as_published"):
        return (side, side) if side else None
    return scale_size(images.image_size, side, at_least=LEAST_SIDE) if images else None


def two_figures(number: float) -> float | None:
    return None if math.isnan(number) else float(f"{number:.2g}")


def about_list(known: MachineSpeed | None, draft: Draft) -> str:
    """Which timm is listed, where that is not the installed one, and what the speeds are."""
    other = "" if names_are_known() else f"They are those of timm {version_of_counts()}, not of the installed one. "
    return other + speed_caption(known, draft)


def speed_caption(known: MachineSpeed | None, draft: Draft) -> str:
    if known is None:
        return "How fast they are here is not measured yet."
    size = usual_size(chosen_images(draft), draft)
    at = f"at {' × '.join(map(str, size))} px, as your images, or the network's fixed size" if size else "at their size"
    return f"Images/s: training on {known.in_words()}, {at}."


def use_or_measure(draft: Draft, name: str, known: MachineSpeed | None) -> None:
    """What is known of the picked network, which weights it starts from, and the way out with it."""
    row = known_network(name)
    if len(row["tags"]) > 1:
        tag = st.selectbox(
            "Which weights",
            row["tags"],
            key=f"lab.timm.tag.{name}",
            help="How they came about; the first are the usual ones.",
        )
        row = known_network(f"{name}.{tag}") if tag != row["tags"][0] else row
    st.markdown(f"**{escape_markdown(row['name'])}**: {model_sentence(row, draft)}")
    wanted_now = row["name"] == draft.get(MODEL) and bool(draft.get(PRETRAINED))
    pretrained = st.toggle(
        "Start from its weights",
        value=row["weights"] == HERE or (row["weights"] == HUB and wanted_now),
        key=f"lab.timm.pretrained.{row['name']}",
        disabled=row["weights"] == NOWHERE,
        help="Off: from random ones.",
    )
    if pretrained and row["weights"] == HUB:
        st.caption(":material/cloud_download: They are not here; the run fetches them, which needs a network.")
    actions = st.container(horizontal=True)
    if actions.button(f"Use {escape_markdown(row['name'], 60)}", key="lab.timm.use", type="primary"):
        choose_network(draft, row["name"], pretrained)
        close()
        st.rerun()
    if known is None:
        told, arguments = "Measure this machine", ["--calibrate"]
    else:
        size = "x".join(map(str, input_format(row, draft).size))
        told, arguments = "Measure it", [name, "--measure", "--side", size]
    if actions.button(told, key="lab.timm.measure", icon=":material/speed:", help=MEASURE_HELP):
        fault = measure_speed(arguments)
        if not fault:
            rerun_fragment()
        st.error(escape_markdown(fault, 300), icon=":material/error:")


MEASURE_HELP = "Some training steps with random weights in a process beside. Best while no run goes on."


def choose_network(draft: Draft, name: str, pretrained: bool) -> None:
    """The network into the draft; what follows from pretrained weights too, where that was left as usual."""
    draft.change({MODEL: name, PRETRAINED: pretrained})


def measure_speed(arguments: list[str]) -> str:
    """Wait for a process that measures, and say what was wrong, else "".

    Leaving the list does not end it, and what it finds is kept.
    """
    log = cache_file().with_name(f"measuring-{uuid.uuid4().hex}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        process = start_process("mlcore", "backbones", *arguments, log=log)
        close_input(process)
        line, start = st.empty(), time.monotonic()
        while process.poll() is None and time.monotonic() - start < PATIENCE_S:
            line.caption(f":material/hourglass_top: Measuring, {time.monotonic() - start:.0f} s")
            time.sleep(TICK_S)
        line.empty()
        if process.poll() is None:
            return "It takes long, and goes on by itself. Open this list again later."
        said = log.read_text(errors="replace").strip().splitlines() or ["it ended without a word."]
        return "" if process.returncode == 0 else f"It could not be measured: {said[-1].removeprefix('mlcore: ')}"
    finally:
        log.unlink(missing_ok=True)
