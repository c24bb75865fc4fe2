"""The parts of the Losses page: finding a loss, what its formula's letters mean, its knobs, and its pictures."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import curves, loss_figures, pair_weights
from app.chart import chart
from app.controls import knob_widgets
from app.draft import WIDGET, Draft, text, value
from app.palette import class_colours
from app.panels import theme
from app.setup import suggest_what_follows
from app.url import mirror
from app.view import look_at
from app.words import plain
from mlcore.catalogue import parts
from mlcore.declare import Param, Spec

CHOSEN, PRESSED, VALUES, WRITTEN = "losses.chosen", "losses.pressed", "losses.values", "losses.written"
KNOB = "k."  # a knob's value in the URL: ?loss=...&k.margin=0.3
FAMILIES = {
    "proxy": "Proxies, one per class",
    "pair": "Pairs of a batch",
    "triplet": "Triplets of a batch",
    "list": "Lists: each sample's order of all others",
    "views": "Two views of each sample",
}
NOISE = frozenset({"and", "et", "al", "by", "of", "the", "loss", "losses", "paper", "arxiv"})  # words that tell nothing
NEAR = 0.75  # how alike two words are, at the least, for one to be the other misspelt
EXPECT = "What to expect:"
SAMPLES = ("A", "B", "C")
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


FIRST = "arcface"


def chosen_loss() -> Spec:
    """The loss that was pressed last, else that of the link, else the one looked at before; kept in the URL."""
    room = parts("losses")
    named = st.session_state.pop(PRESSED, None) or st.query_params.get("loss") or st.session_state.get(CHOSEN)
    if named is not None and named not in room:
        st.warning(f"The link names a loss that is not here: {plain(named, 60)}.", icon=":material/link_off:")
    key = named if named in room else FIRST
    st.session_state[CHOSEN] = key
    mirror({"loss": key}, "loss".__eq__)
    return room[key]


def loss_list(chosen: Spec) -> None:
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
    room = list(parts("losses").values())
    found, exact = search(room, asked)
    if not found:
        st.caption(
            f"No loss fits “{plain(asked, 40)}”. Ask for less: one name, one author or a year. An empty search lists "
            f"all {len(room)}."
        )
    elif not exact:
        st.caption(f"Nothing is called “{plain(asked, 40)}”. Nearest to it:")
    for family in dict.fromkeys(spec.family for spec in found):
        title = FAMILIES.get(family, family.replace("_", " ").capitalize())
        fitting, of_all = (sum(spec.family == family for spec in specs) for specs in (found, room))
        label = f"{title} ({fitting if fitting == of_all else f'{fitting} of {of_all}'})"
        with st.expander(label, expanded=bool(asked) or family == chosen.family), st.container(gap="xxsmall"):
            for spec in found:
                if spec.family == family:
                    st.button(
                        spec.title,
                        key=f"losses.pick.{spec.key}",
                        type="secondary" if spec.key == chosen.key else "tertiary",
                        icon=":material/chevron_right:" if spec.key == chosen.key else None,
                        icon_position="right",
                        width="stretch",
                        on_click=st.session_state.__setitem__,
                        args=(PRESSED, spec.key),
                    )


def search(room: list[Spec], asked: str) -> tuple[list[Spec], bool]:
    """The losses that fit a search, and whether they do to the letter; those with the nearest words where none does."""
    asked = re.sub(r"\S*?(\d{4}\.\d{4,5})\S*", r"\1", asked)  # of an address or "arXiv:...v2" the number
    words = [plain_letters(word.strip(".")) for word in re.split(r"[\s,;:&()]+", asked)]
    words = [word for word in words if word not in NOISE] or words
    found = [spec for spec in room if all(word in plain_letters(all_names(spec)) for word in words)]
    if found:
        return found, True
    likeness = {spec.key: min(likest(word, spec) for word in words) for spec in room}
    least = max(NEAR, max(likeness.values(), default=0.0) - 0.1)
    return [spec for spec in room if likeness[spec.key] >= least], False


def all_names(spec: Spec) -> str:
    """Everything that a loss may be looked for by: its names here and elsewhere, its class, family and paper."""
    return " ".join([spec.title, spec.key, spec.family, spec.target.rpartition(":")[2], spec.paper, *spec.names])


def likest(word: str, spec: Spec) -> float:
    """How like a word is to the likest of a loss's words, from 0 to 1; a word that stands in them is just that."""
    names = all_names(spec)
    if word in plain_letters(names):
        return 1.0
    known = {*re.split(r"[^\w.]+|_", names), *re.split(r"\s", names), spec.title, spec.key}
    close = difflib.SequenceMatcher(None, "", word, autojunk=False)
    best = 0.0
    for one in {plain_letters(one) for one in known}:
        close.set_seq1(one)
        if close.real_quick_ratio() > best and close.quick_ratio() > best:
            best = max(best, close.ratio())
    return best


def plain_letters(words: str) -> str:
    """Small letters without accents, spaces and hyphens."""
    bare = (letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter))
    return re.sub(r"[\s_-]", "", "".join(bare)).casefold()


def paragraphs(spec: Spec) -> list[str]:
    """What a loss says of itself, without what is meant for callers."""
    blocks = [" ".join(block.split()) for block in spec.text.split("\n\n")]
    return [block for block in blocks if block and not block.startswith(("Shapes:", "Raises:"))]


def expectation(spec: Spec) -> str:
    return next((b.removeprefix(EXPECT).strip() for b in paragraphs(spec) if b.startswith(EXPECT)), "")


def reasons(spec: Spec) -> list[str]:
    """The paragraphs after the first that are not the expectation."""
    return [block for block in paragraphs(spec)[1:] if not block.startswith(EXPECT)]


def byline(spec: Spec) -> str:
    """The paper, its arXiv number as a link, and the loss's other names."""
    paper = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", spec.paper)
    names = f"Also known as {'; '.join(spec.names)}" if spec.names else ""
    return " &nbsp;·&nbsp; ".join(filter(None, [paper, names]))


def symbol_words(spec: Spec, values: dict[str, Any]) -> str:
    """Each letter of the formula: first the knobs with their values, then what is measured."""
    knobs = [
        f"${param.knob.symbol}$ {param.title[0].lower()}{param.title[1:]} = **{amount(param, values[param.name])}**"
        for param in spec.params
        if param.knob.symbol
    ]
    measured = [
        f"${'[x]_+' if symbol == ']_+' else symbol}$ {meaning}"
        for symbol, meaning in SYMBOLS.items()
        if symbol in spec.formula
    ]
    return " &nbsp;·&nbsp; ".join(knobs + measured)


def amount(param: Param, setting: Any) -> str:
    """'0.5 rad (28.6 deg)', '0.35 (cosine)', '64'; the knob's own words for None."""
    if setting is None:
        return param.knob.none
    if not isinstance(setting, int | float) or isinstance(setting, bool):
        return str(setting)
    if param.knob.unit == "rad":
        return f"{setting:g} rad ({math.degrees(setting):.1f} deg)"
    return f"{setting:g}" + (f" ({param.knob.unit})" if param.knob.unit else "")


def knob_values(spec: Spec) -> dict[str, Any]:
    """The knobs as widgets; their values come from the link, else from before, and go back into the URL."""
    kept = st.session_state.setdefault(VALUES, {})
    take_linked(spec, kept)
    before = spec.defaults() | kept.get(spec.key, {})
    values = knob_widgets(spec, before, f"losses.knob.{spec.key}")
    kept[spec.key] = values
    write_url(spec, values)
    if values != spec.defaults():
        st.button(
            "Reset to defaults",
            key="losses.reset",
            icon=":material/undo:",
            type="tertiary",
            on_click=forget,
            args=(spec,),
        )
    return values


def take_linked(spec: Spec, kept: dict[str, Any]) -> None:
    """A link's values count once: when they are not what this page wrote itself."""
    linked = {name: words for name, words in st.query_params.items() if name.startswith(KNOB)}
    if not linked or linked == st.session_state.get(WRITTEN):
        return
    try:
        values = spec.check({name.removeprefix(KNOB): value(words) for name, words in linked.items()})
    except ValueError as error:
        st.toast(f"The link's values cannot be used: {plain(str(error), 300)}", icon=":material/link_off:")
        return
    forget(spec)
    kept[spec.key] = values


def write_url(spec: Spec, values: dict[str, Any]) -> None:
    """What differs from the defaults stands in the URL."""
    usual = spec.defaults()
    wanted = {f"{KNOB}{name}": text(setting) for name, setting in values.items() if setting != usual[name]}
    mirror(wanted, lambda name: name.startswith(KNOB))
    st.session_state[WRITTEN] = wanted


def knob_key(spec: Spec, param: Param) -> str:
    return f"losses.knob.{spec.key}.{param.name}"


def forget(spec: Spec) -> None:
    """Back to the defaults: what was set and the widgets that held it."""
    st.session_state.get(VALUES, {}).pop(spec.key, None)
    for param in spec.params:
        st.session_state.pop(knob_key(spec, param), None)
        st.session_state.pop(f"{knob_key(spec, param)}.on", None)


def take_to_the_lab(spec: Spec, values: dict[str, Any]) -> None:
    """Put the loss and its values into the Lab's draft, with what follows from the loss; everything else stays."""
    draft = Draft()
    before = draft.get("loss")
    draft.choose("loss", spec.key)
    if spec.key != before:
        suggest_what_follows(draft, "loss", before)
    draft.settings.pop(f"@loss.{spec.key}", None)
    for name, setting in values.items():
        draft.set(f"loss.{name}", setting)
    for key in [
        key for key in st.session_state if str(key) == f"{WIDGET}loss" or str(key).startswith(f"{WIDGET}loss.")
    ]:
        del st.session_state[key]
    look_at(None)


def angle_slider(label: str, key: str, usual: int, *, help: str) -> float:
    """An angle in degrees that the pictures hold still; kept in the URL."""
    return float(
        st.slider(
            label, 5, 180, usual, step=5, key=key, help=help, format="%d°", bind="query-params", persist_state="session"
        )
    )


@st.cache_data(max_entries=256, show_spinner=False)
def curve(key: str, values: dict[str, Any], moving: curves.Moving, fixed: float) -> curves.Curve:
    spec = parts("losses")[key]
    if moving == "own":
        return curves.own_proxy_curve(spec, values, fixed)
    return curves.pair_curve(spec, values, moving, fixed)


@st.cache_data(max_entries=128, show_spinner=False)
def penalty(
    key: str, values: dict[str, Any], moving: curves.Moving, fixed: float, shade: str
) -> tuple[go.Figure, bool]:
    """The picture, and whether a band is shaded in it."""
    spec = parts("losses")[key]
    usual = None if values == spec.defaults() else curve(key, spec.defaults(), moving, fixed)
    other = {"own": "other proxy", "positive": "negative", "negative": "positive"}[moving]
    margin = curves.margin(spec, values, moving, fixed)
    figure = loss_figures.penalty_figure(curve(key, values, moving, fixed), usual, margin, (fixed, other), shade)
    return figure, margin.band is not None


@st.cache_data(max_entries=128, show_spinner=False)
def sides(key: str, values: dict[str, Any], apart: float, label: int, shade: str) -> tuple[go.Figure, bool]:
    """The picture, and whether anything is hatched in it."""
    found = curves.circle(parts("losses")[key], values, apart)
    figure = loss_figures.circle_figure(found, label, SAMPLES, class_colours(SAMPLES, shade), shade)
    return figure, bool(found.unmet.any())


@st.cache_data(max_entries=64, show_spinner=False)
def plane(key: str, values: dict[str, Any]) -> curves.Plane:
    return curves.pair_plane(parts("losses")[key], values)


@st.cache_data(max_entries=128, show_spinner=False)
def pushes(key: str, values: dict[str, Any], which: str, here: tuple[float, float], shade: str) -> go.Figure:
    found = plane(key, values)
    most = max(float(found.pull.max()), float(found.push.max())) or 1.0
    words = f"{which} (per rad)"
    return loss_figures.plane_figure(found.degrees, getattr(found, which), most, here, words, shade)


@st.cache_data(max_entries=128, show_spinner=False)
def shares(key: str, values: dict[str, Any], shade: str) -> go.Figure:
    return loss_figures.shares_figure(curves.batch_shares(parts("losses")[key], values), shade)


def show(figure: go.Figure, key: str, alt: str, look: str) -> None:
    chart(figure, key=key, alt=alt)
    st.caption(look)


SHADED = " Shaded: the gap that the margin demands."
HATCHED = " Hatched: the right side, but the margin is not met."


def proxy_pictures(spec: Spec, values: dict[str, Any]) -> None:
    left, right = st.columns(2, gap="medium")
    shade = theme()
    with left:
        st.markdown("**Loss against the angle to the own proxy**")
        other = angle_slider(
            "Angle to the other proxy", "losses.other", 90, help="From the sample to a proxy of another class."
        )
        figure, shaded = penalty(spec.key, values, "own", other, shade)
        show(
            figure,
            "losses.penalty",
            "Loss and its gradient against the angle between a sample and its own proxy",
            f"Look where the loss goes flat: there the sample is left alone.{SHADED if shaded else ''} One sample in "
            "its batch, one other proxy.",
        )
    with right:
        st.markdown("**Three proxies on a circle**")
        wide, narrow = st.columns([5, 3], gap="small")
        with wide:
            apart = angle_slider("Angle from A to B", "losses.apart", 120, help="C stands opposite their middle.")
        with narrow:
            name = st.segmented_control(
                "Sample of",
                SAMPLES,
                default=SAMPLES[0],
                required=True,
                key="losses.sample",
                help="Whose loss the ring shows.",
                bind="query-params",
                persist_state="session",
            )
        figure, hatched = sides(spec.key, values, apart, SAMPLES.index(name), shade)
        show(
            figure,
            "losses.circle",
            f"Which of three proxies wins in each direction, where the margin is not met, the loss of sample {name}",
            f"Colour: whose side a direction is on.{HATCHED if hatched else ''} Move A and B together: who loses?",
        )


VIEWS = ("One pair moves", "Both move", "Weight of every pair")
PAIR_ANGLES = {"positive": 40, "negative": 60}  # degrees at which one is held still, at first
CLASSES_APART = 50  # per cent, at first


def pair_pictures(spec: Spec, values: dict[str, Any]) -> None:
    """One of three screens: an anchor with one pair that moves, with both, or a whole batch."""
    view = st.segmented_control(
        "Pictures",
        VIEWS,
        default=VIEWS[0],
        required=True,
        key="losses.view",
        label_visibility="collapsed",
        bind="query-params",
        persist_state="session",
    )
    {VIEWS[0]: moving_pictures, VIEWS[1]: plane_pictures, VIEWS[2]: batch_pictures}[view](spec, values)


def still_slider(which: str) -> float:
    return angle_slider(
        f"Angle to the {which}", f"losses.{which}", PAIR_ANGLES[which], help=f"From the anchor to its {which}."
    )


def moving_pictures(spec: Spec, values: dict[str, Any]) -> None:
    for column, (moving, other, look) in zip(
        st.columns(2, gap="medium"),
        (
            ("positive", "negative", "Rising to the right: a far positive costs. Flat: it is left alone."),
            ("negative", "positive", "Falling to the right: a near negative costs. Flat: it teaches nothing."),
        ),
        strict=True,
    ):
        with column:
            st.markdown(f"**The {moving} moves**")
            figure, shaded = penalty(spec.key, values, moving, still_slider(other), theme())
            show(
                figure,
                f"losses.penalty.{moving}",
                f"Loss and its gradient against the angle between the anchor and its {moving}",
                look + (SHADED if shaded else ""),
            )


def plane_pictures(spec: Spec, values: dict[str, Any]) -> None:
    columns = st.columns(2, gap="medium")
    shown = (
        (
            "positive",
            "pull",
            "How hard the positive is pulled in",
            "One colour from bottom to top: the negative has no say in it.",
        ),
        (
            "negative",
            "push",
            "How hard the negative is pushed away",
            "Strongest at the bottom: near negatives are hard.",
        ),
    )
    here = []
    for column, (which, _, title, _) in zip(columns, shown, strict=True):
        with column:
            st.markdown(f"**{title}**")
            here.append(still_slider(which))
    for column, (_, force, title, look) in zip(columns, shown, strict=True):
        with column:
            show(
                pushes(spec.key, values, force, (here[0], here[1]), theme()),
                f"losses.{force}",
                f"{title}, over the angles of positive and negative",
                f"{look} Dotted: the two angles set above.",
            )


def batch_pictures(spec: Spec, values: dict[str, Any]) -> None:
    every, one = st.columns([3, 2], gap="medium")
    with every:
        weight_pictures(spec, values)
    with one:
        st.markdown("**Who gets one anchor's attention**")
        show(
            shares(spec.key, values, theme()),
            "losses.shares",
            "Each positive's share of the pull and each negative's share of the push",
            "One anchor with a positive and a negative every 10 degrees. A peak: the loss picks the hard ones; level: "
            "it treats all alike. Below zero: moved the other way.",
        )


@st.cache_data(max_entries=256, show_spinner=False)
def weights(key: str, values: dict[str, Any], apart: float, shade: str) -> tuple[go.Figure, str] | None:
    """The picture and its sentence; None for a loss that gives single pairs no weight."""
    found = pair_weights.pair_weights(parts("losses")[key], values, apart)
    return None if found is None else (loss_figures.weights_figure(found, shade), pair_weights.summary(found))


def weight_pictures(spec: Spec, values: dict[str, Any]) -> None:
    """How hard the loss pulls on each pair of one batch."""
    shade = theme()
    if weights(spec.key, values, CLASSES_APART / 100, shade) is None:
        st.caption("It gives single pairs no weight: it looks at more than how similar two embeddings are.")
        return
    st.markdown("**How hard each pair of a batch is pulled on**")
    apart = st.slider(
        "Classes apart",
        0,
        90,
        CLASSES_APART,
        step=10,
        key="losses.classes",
        help=f"A batch of {pair_weights.CLASSES} classes with {pair_weights.MATES} samples each. 0 %: they lie mixed, "
        "as before training. 90 %: each class is a heap of its own.",
        format="%d %%",
        bind="query-params",
        persist_state="session",
    )
    figure, sentence = weights(spec.key, values, apart / 100, shade)
    show(
        figure,
        "losses.weights",
        "Each pair's share of all weight, against its angle",
        f"**{sentence}** Weight: the loss's gradient by a pair's cosine (general pair weighting). On one line: the "
        "pair's own angle decides; a cloud: the others of the batch have a say.",
    )
