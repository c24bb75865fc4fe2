"""The parts of the Losses page: finding a loss, what its formula's letters mean, and its knobs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import streamlit as st

from app.losses.loss_search import search
from app.shared.controls import knob_widgets
from app.shared.draft import Draft, parse_url_text, url_text
from app.shared.stored_widgets import act_button
from app.shared.text import escape_markdown
from app.shared.url import sync_query_params, went_back
from app.shared.view import view_run
from mlcore.catalogue import registry
from mlcore.declare import KnobValue, Param, PartSpec

CHOSEN, PRESSED, VALUES, WRITTEN = "losses.chosen", "losses.pressed", "losses.values", "losses.written"
KNOB = "k."  # a knob's value in the URL: ?loss=...&k.margin=0.3
FAMILIES = {
    "proxy": "Proxies, one per class",
    "pair": "Pairs of a batch",
    "triplet": "Triplets of a batch",
    "list": "Lists: each sample's order of all others",
    "views": "Two views of each sample",
}
FIRST = "arcface"
EXPECT = "What to expect:"
SYMBOLS = {
    r"\theta_y": "angle to the proxy of its own class",
    r"\theta_j": "angle to the proxy of class j",
    r"\theta_{xp}": "angle between sample x and proxy p",
    r"d_{ap}": "distance from anchor to positive",
    r"d_{an}": "distance from anchor to negative",
    r"d_{pn}": "distance from positive to negative",
    r"\theta_{ap}": "angle between anchor and positive",
    r"\theta_{an}": "angle between anchor and negative",
    r"s_{ap}": "similarity (cosine) of anchor and positive",
    r"s_{an}": "similarity (cosine) of anchor and negative",
    r"s_{ai}": "similarity (cosine) of anchor and sample i",
    r"P(a)": "the anchor's positives",
    r"P^+": "proxies with a sample in the batch",
    r"X_p^+": "the samples of p's class",
    r"X_p^-": "all other samples",
    r"]_+": "where positive, else 0",
}


def chosen_loss() -> PartSpec:
    """The loss that was pressed last, else that of the link, else the one looked at before; kept in the URL."""
    room = registry("losses")
    pressed, linked = st.session_state.pop(PRESSED, None), st.query_params.get("loss")
    before = st.session_state.get(CHOSEN)
    named = str(pressed or linked or before or FIRST)
    if named not in room:
        st.warning(f"The link names a loss that is not here: {escape_markdown(named, 60)}.", icon=":material/link_off:")
    key = named if named in room else FIRST
    st.session_state[CHOSEN] = key
    sync_query_params({"loss": key}, "loss".__eq__)
    return room[key]


def loss_list(chosen: PartSpec) -> None:
    """Every declared loss under its family, those that fit the search; open is the family of the chosen one."""
    asked = st.text_input(
        "Search",
        key="losses.search",
        placeholder="Name, alias or paper",
        help="Its name here or in another library, or its paper: author, year, arXiv number. Typing errors are "
        "forgiven.",
        icon=":material/search:",
        persist_state="session",
    )
    room = list(registry("losses").values())
    found, exact = search(room, asked)
    if not found:
        st.caption(
            f"No loss fits “{escape_markdown(asked, 40)}”. Ask for less: one name, one author or a year. "
            f"An empty search lists all {len(room)}."
        )
    elif not exact:
        st.caption(f"Nothing is called “{escape_markdown(asked, 40)}”. Nearest to it:")
    for family in dict.fromkeys(spec.family for spec in found):
        title = FAMILIES.get(family, family.replace("_", " ").capitalize())
        fitting, of_all = (sum(spec.family == family for spec in specs) for specs in (found, room))
        label = f"{title} ({fitting if fitting == of_all else f'{fitting} of {of_all}'})"
        with st.expander(label, expanded=bool(asked) or family == chosen.family), st.container(gap="xxsmall"):
            for spec in found:
                if spec.family == family:
                    act_button(
                        spec.title,
                        key=f"losses.pick.{spec.key}",
                        type="secondary" if spec.key == chosen.key else "tertiary",
                        icon=":material/chevron_right:" if spec.key == chosen.key else None,
                        icon_position="right",
                        width="stretch",
                        on_click=st.session_state.__setitem__,
                        args=(PRESSED, spec.key),
                    )


def loss_paragraphs(spec: PartSpec) -> list[str]:
    """What a loss says of itself, without what is meant for callers."""
    blocks = [" ".join(block.split()) for block in spec.description.split("\n\n")]
    return [block for block in blocks if block and not block.startswith(("Shapes:", "Raises:"))]


def expectation_paragraph(spec: PartSpec) -> str:
    return next((b.removeprefix(EXPECT).strip() for b in loss_paragraphs(spec) if b.startswith(EXPECT)), "")


def reason_paragraphs(spec: PartSpec) -> list[str]:
    """The paragraphs after the first that are not the expectation."""
    return [block for block in loss_paragraphs(spec)[1:] if not block.startswith(EXPECT)]


def paper_line(spec: PartSpec) -> str:
    """The paper, its arXiv number as a link, and the loss's other names."""
    paper = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", spec.paper)
    names = f"Also known as {'; '.join(spec.aliases)}" if spec.aliases else ""
    return " &nbsp;·&nbsp; ".join(filter(None, [paper, names]))


def symbol_words(spec: PartSpec, values: Mapping[str, KnobValue]) -> str:
    """Each letter of the formula: first the knobs with their values, then what is measured."""
    knobs = [
        f"${param.knob.symbol}$ {param.title[0].lower()}{param.title[1:]} "
        f"= **{setting_text(param, values[param.name])}**"
        for param in spec.params
        if param.knob.symbol
    ]
    measured = [
        f"${'[x]_+' if symbol == ']_+' else symbol}$ {meaning}"
        for symbol, meaning in SYMBOLS.items()
        if symbol in spec.formula
    ]
    return " &nbsp;·&nbsp; ".join(knobs + measured)


def setting_text(param: Param, setting: KnobValue) -> str:
    """'0.5 rad (28.6 deg)', '0.35 (cosine)', '64'; the knob's own words for None."""
    if setting is None:
        return param.knob.none
    if not isinstance(setting, int | float) or isinstance(setting, bool):
        return escape_markdown(str(setting))
    if param.knob.unit == "rad":
        return f"{setting:g} rad ({math.degrees(setting):.1f} deg)"
    return f"{setting:g}" + (f" ({param.knob.unit})" if param.knob.unit else "")


def knob_values(spec: PartSpec) -> dict[str, KnobValue]:
    """The knobs as widgets; their values come from the link, else from before, and go back into the URL."""
    kept = st.session_state.setdefault(VALUES, {})
    read_linked_values(spec, kept)
    before = spec.defaults() | kept.get(spec.key, {})
    values = knob_widgets(spec, before, f"losses.knob.{spec.key}")
    kept[spec.key] = values
    write_url(spec, values)
    if values != spec.defaults():
        act_button(
            "Reset to defaults",
            key="losses.reset",
            icon=":material/undo:",
            type="tertiary",
            on_click=reset_values,
            args=(spec,),
        )
    return values


def read_linked_values(spec: PartSpec, kept: dict[str, dict[str, KnobValue]]) -> None:
    """A link's values count once: when they are not what this page wrote itself."""
    linked = {name: words for name, words in st.query_params.items() if name.startswith(KNOB)}
    if not went_back() and (not linked or linked == st.session_state.get(WRITTEN)):
        return
    try:
        values = spec.check({name.removeprefix(KNOB): parse_url_text(words) for name, words in linked.items()})
    except ValueError as error:
        st.toast(f"The link's values cannot be used: {escape_markdown(str(error), 300)}", icon=":material/link_off:")
        return
    reset_values(spec)
    kept[spec.key] = values


def write_url(spec: PartSpec, values: Mapping[str, KnobValue]) -> None:
    """What differs from the defaults stands in the URL."""
    usual = spec.defaults()
    wanted = {f"{KNOB}{name}": url_text(setting) for name, setting in values.items() if setting != usual[name]}
    sync_query_params(wanted, lambda name: name.startswith(KNOB))
    st.session_state[WRITTEN] = wanted


def reset_values(spec: PartSpec) -> None:
    """Back to the defaults."""
    st.session_state.get(VALUES, {}).pop(spec.key, None)


def take_to_the_lab(spec: PartSpec, values: Mapping[str, KnobValue]) -> None:
    """Put the loss and its values into the Lab's draft, with what follows from the loss; everything else stays."""
    draft = Draft()
    draft.choose("loss", spec.key)
    draft.settings.pop(f"@loss.{spec.key}", None)
    for name, setting in values.items():
        draft.set(f"loss.{name}", setting)
    view_run(None)
