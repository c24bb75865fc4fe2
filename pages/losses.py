"""Losses: what each one does to embeddings, before training anything. Every part is read from its declaration."""

from __future__ import annotations

import streamlit as st

from app.losses import loss_page, loss_pictures
from app.losses.curves import compares_with
from app.losses.pair_weights import weighs_pairs
from app.server import torch_is_ready
from app.shared.text import escape_markdown
from mlcore.declare import KnobValue, PartSpec

CHECK_EVERY = 0.5  # seconds between looks whether torch is there


@st.fragment(run_every=CHECK_EVERY)
def wait() -> None:
    if torch_is_ready():
        st.rerun()
    st.caption("Loading the losses (a few seconds, once)")
    for column in st.columns(2, gap="medium"):
        with column:
            st.skeleton(height=480)


def show_pictures(spec: PartSpec, values: dict[str, KnobValue]) -> None:
    draw = {"proxies": loss_pictures.proxy_pictures, "pairs": loss_pictures.pair_pictures}.get(compares_with(spec))
    if draw is None:
        whole = weighs_pairs(spec)
        st.info(f"There is no picture of {'one anchor and its pairs' if whole else 'this loss'}. {spec.unpictured}")
        if not whole:
            return
        draw = loss_pictures.weight_pictures
    if not torch_is_ready():
        wait()
        return
    try:
        draw(spec, values)
    except ValueError as error:
        st.error(escape_markdown(str(error), 600), icon=":material/error:")


chosen = loss_page.chosen_loss()
with st.sidebar:
    loss_page.loss_list(chosen)

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.markdown(f"### {chosen.title}")
    go = st.button("Try it in the Lab", type="primary", icon=":material/play_arrow:", key="losses.try")
st.caption(loss_page.paper_line(chosen))
st.markdown(loss_page.loss_paragraphs(chosen)[0])
st.latex(chosen.formula)
legend = st.empty()

side, main = st.columns([1, 3], gap="medium")
with side:
    with st.container(border=True):
        values = loss_page.knob_values(chosen)
    if expected := loss_page.expectation_paragraph(chosen):
        st.markdown("**What to expect**")
        st.markdown(expected)
    if reasons := loss_page.reason_paragraphs(chosen):
        with st.expander("Why it is shaped so"):
            st.markdown("\n\n".join(reasons))
legend.caption(loss_page.symbol_words(chosen, values), text_alignment="center")
with main:
    show_pictures(chosen, values)
if go:
    loss_page.take_to_the_lab(chosen, values)
    st.switch_page("../pages/lab.py")
