"""The pictures of the Losses page, each with what holds it still and a sentence on what to see."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from app.losses import curves, loss_figures, pair_weights
from app.shared.palette import class_colours
from app.shared.theme import current_theme
from app.widgets.chart import chart
from mlcore.catalogue import registry
from mlcore.declare import KnobValue, PartSpec

SAMPLES = ("A", "B", "C")
SHADED = " Shaded: the gap that the margin demands."
HATCHED = " Hatched: the right side, but the margin is not met."
VIEWS = ("One pair moves", "Both move", "Weight of every pair")
PAIR_ANGLES = {"positive": 40, "negative": 60}  # degrees at which one is held still, at first
CLASSES_APART = 50  # per cent, at first


def angle_slider(label: str, key: str, usual: int, *, help: str) -> float:
    """An angle in degrees that the pictures hold still; kept in the URL."""
    return float(
        st.slider(
            label, 5, 180, usual, step=5, key=key, help=help, format="%d°", bind="query-params", persist_state="session"
        )
    )


@st.cache_data(max_entries=256, show_spinner=False)
def cached_curve(key: str, values: dict[str, KnobValue], moving: curves.Moving, fixed: float) -> curves.Curve:
    spec = registry("losses")[key]
    if moving == "own":
        return curves.own_proxy_curve(spec, values, fixed)
    return curves.pair_curve(spec, values, moving, fixed)


@st.cache_data(max_entries=128, show_spinner=False)
def penalty_figure(
    key: str, values: dict[str, KnobValue], moving: curves.Moving, fixed: float, shade: str
) -> tuple[go.Figure, bool]:
    """The picture, and whether a band is shaded in it."""
    spec = registry("losses")[key]
    usual = None if values == spec.defaults() else cached_curve(key, spec.defaults(), moving, fixed)
    other = {"own": "other proxy", "positive": "negative", "negative": "positive"}[moving]
    margin = curves.margin_on_axis(spec, values, moving, fixed)
    figure = loss_figures.penalty_figure(cached_curve(key, values, moving, fixed), usual, margin, (fixed, other), shade)
    return figure, margin.band is not None


@st.cache_data(max_entries=128, show_spinner=False)
def circle_figure(
    key: str, values: dict[str, KnobValue], apart: float, label: int, shade: str
) -> tuple[go.Figure, bool]:
    """The picture, and whether anything is hatched in it."""
    found = curves.proxy_circle(registry("losses")[key], values, apart)
    figure = loss_figures.circle_figure(found, label, SAMPLES, class_colours(SAMPLES, shade), shade)
    return figure, bool(found.unmet.any())


@st.cache_data(max_entries=64, show_spinner=False)
def cached_plane(key: str, values: dict[str, KnobValue]) -> curves.Plane:
    return curves.pair_plane(registry("losses")[key], values)


@st.cache_data(max_entries=128, show_spinner=False)
def gradient_figure(
    key: str, values: dict[str, KnobValue], which: str, here: tuple[float, float], shade: str
) -> go.Figure:
    found = cached_plane(key, values)
    most = max(float(found.pull.max()), float(found.push.max())) or 1.0
    words = f"{which} (per rad)"
    return loss_figures.plane_figure(found.degrees, getattr(found, which), most, here, words, shade)


@st.cache_data(max_entries=128, show_spinner=False)
def gradient_share_figure(key: str, values: dict[str, KnobValue], shade: str) -> go.Figure:
    return loss_figures.shares_figure(curves.batch_shares(registry("losses")[key], values), shade)


def show(figure: go.Figure, key: str, alt: str, look: str) -> None:
    chart(figure, key=key, alt=alt)
    st.caption(look)


def proxy_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
    left, right = st.columns(2, gap="medium")
    shade = current_theme()
    with left:
        st.markdown("**Loss against the angle to the own proxy**")
        other = angle_slider(
            "Angle to the other proxy", "losses.other", 90, help="From the sample to a proxy of another class."
        )
        figure, shaded = penalty_figure(spec.key, values, "own", other, shade)
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
        figure, hatched = circle_figure(spec.key, values, apart, SAMPLES.index(name), shade)
        show(
            figure,
            "losses.circle",
            f"Which of three proxies wins in each direction, where the margin is not met, the loss of sample {name}",
            f"Colour: whose side a direction is on.{HATCHED if hatched else ''} Move A and B together: who loses?",
        )


def pair_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
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


def moving_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
    pictures: tuple[tuple[curves.Moving, curves.Moving, str], ...] = (
        ("positive", "negative", "Rising to the right: a far positive costs. Flat: it is left alone."),
        ("negative", "positive", "Falling to the right: a near negative costs. Flat: it teaches nothing."),
    )
    for column, (moving, other, look) in zip(st.columns(2, gap="medium"), pictures, strict=True):
        with column:
            st.markdown(f"**The {moving} moves**")
            figure, shaded = penalty_figure(spec.key, values, moving, still_slider(other), current_theme())
            show(
                figure,
                f"losses.penalty.{moving}",
                f"Loss and its gradient against the angle between the anchor and its {moving}",
                look + (SHADED if shaded else ""),
            )


def plane_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
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
    for column, (which, _, heading, _) in zip(columns, shown, strict=True):
        with column:
            st.markdown(f"**{heading}**")
            here.append(still_slider(which))
    for column, (_, force, title, look) in zip(columns, shown, strict=True):
        with column:
            show(
                gradient_figure(spec.key, values, force, (here[0], here[1]), current_theme()),
                f"losses.{force}",
                f"{title}, over the angles of positive and negative",
                f"{look} Dotted: the two angles set above.",
            )


def batch_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
    every, one = st.columns([3, 2], gap="medium")
    with every:
        weight_pictures(spec, values)
    with one:
        st.markdown("**Which pairs of an anchor get the gradient**")
        show(
            gradient_share_figure(spec.key, values, current_theme()),
            "losses.shares",
            "Each positive's share of the pull and each negative's share of the push",
            "One anchor with a positive and a negative every 10 degrees. A peak: the loss picks the hard ones; level: "
            "it treats all alike. Below zero: moved the other way.",
        )


@st.cache_data(max_entries=256, show_spinner=False)
def pair_weight_figure(
    key: str, values: dict[str, KnobValue], apart: float, shade: str
) -> tuple[go.Figure, str] | None:
    """The picture and its sentence; None for a loss that gives single pairs no weight."""
    found = pair_weights.pair_weights(registry("losses")[key], values, apart)
    return None if found is None else (loss_figures.weights_figure(found, shade), pair_weights.summary_sentence(found))


def weight_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
    """How hard the loss pulls on each pair of one batch."""
    shade = current_theme()
    if pair_weight_figure(spec.key, values, CLASSES_APART / 100, shade) is None:
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
    found = pair_weight_figure(spec.key, values, apart / 100, shade)
    if found is None:
        return
    figure, sentence = found
    show(
        figure,
        "losses.weights",
        "Each pair's share of all weight, against its angle",
        f"**{sentence}** Weight: the loss's gradient by a pair's cosine (general pair weighting). On one line: "
        "only the pair's own angle counts. A cloud: the other pairs of the batch count too.",
    )
