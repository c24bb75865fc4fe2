"""Search by typed words, for runs that were trained on texts: the nearest images, before training and now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from app.server import torch_is_ready
from app.shared.text import escape_markdown, metric_value
from app.widgets.tiles import Row, Strip, Tile, image_tiles
from mlcore.evaluation.metrics import METRICS, Family
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import FrozenHistory
from mlcore.runs.records import EvaluatedRecord

if TYPE_CHECKING:
    from mlcore.analysis.word_search import Hit, WordSearch

SHOWN = 12
TOLD = 6
CHECK_EVERY = 0.5  # seconds between checks whether torch is there


def words_panel(
    run: RunFolder, past: FrozenHistory, evaluation: EvaluatedRecord | None, atlas_key: str, side: str
) -> int | None:
    """A field for words and the images nearest to them; returns the image that was pressed."""
    st.subheader("Search by words", anchor=False)
    said = metrics_in_words(past.evaluations[0] if past.evaluations else None, evaluation)
    words = st.text_input(
        "Words",
        key="lab.words",
        placeholder="Type what to look for, such as: waving hand",
        max_chars=200,
        label_visibility="collapsed",
        help="Goes to the run's text side; the watched images nearest to it come back.",
    ).strip()
    if said:
        st.caption(said)
    if not torch_is_ready():
        if words:
            warming_up()
        return None
    if not words:
        return None
    state = f"{max(past.snapshots)} {run.state}"
    try:
        found = cached_hits(str(run.path), state, words, side)
    except ValueError as error:
        st.warning(escape_markdown(str(error), 400), icon=":material/search_off:")
        return None
    if found.unheard:
        st.caption(
            f"In no training text: {escape_markdown(', '.join(found.unheard), 200)}. What comes back may be chance."
        )
    row = Row("", "", (), tuple(hits_strip(title, hits, words) for title, hits in found.strips.items()))
    pressed = image_tiles([row], atlas_key=atlas_key, key="lab.words_found", size=40)
    moment, hits = list(found.strips.items())[-1]
    st.caption(f"{moment}: {nearest_texts(hits)}")
    return pressed


@st.fragment(run_every=CHECK_EVERY)
def warming_up() -> None:
    if torch_is_ready():
        st.rerun()
    st.caption(":material/hourglass_top: Warming up (a few seconds, once)")


class Findings(NamedTuple):
    """`strips`: hits by title, the latest last; `unheard`: the words that no training text has."""

    strips: dict[str, list[Hit]]
    unheard: list[str]


@st.cache_resource(max_entries=4, show_spinner=False)
def cached_word_search(path: str, state: str) -> WordSearch:
    """The run's search, as its newest checkpoint has it in this state."""
    from mlcore.analysis.word_search import WordSearch

    return WordSearch(RunFolder(Path(path)))


@st.cache_data(max_entries=64, show_spinner="Reading the words")
def cached_hits(path: str, state: str, words: str, side: str) -> Findings:
    search = cached_word_search(path, state)
    moments = {"Before training": search.before}
    if search.now is not None:
        moments[f"Step {search.now.step}"] = search.now
    strips = {
        title: search.find(words, count=SHOWN, side=side, moment=moment) for title, moment in moments.items() if moment
    }
    return Findings(strips, search.find_unknown_words(words))


def hits_strip(title: str, hits: list[Hit], words: str) -> Strip:
    """Hits as tiles; framed are those whose text, or class, has all the words."""
    asked = set(words.casefold().split())
    tiles = []
    for rank, hit in enumerate(hits, start=1):
        text = hit["text"] or hit["class_name"]
        has = asked <= set(text.casefold().replace(":", " ").split())
        label = f"rank {rank}: {text}, cosine {hit['similarity']:.2f}"
        tiles.append(Tile(hit["row"], hit["place"], "right" if has else "none", label))
    return Strip(title, tuple(tiles))


def nearest_texts(hits: list[Hit]) -> str:
    """The first few different texts of what was found, each with its best cosine."""
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(hit["text"] or hit["class_name"], hit["similarity"])
    told = [f"{escape_markdown(text, 60)} ({cosine:.2f})" for text, cosine in list(best.items())[:TOLD]]
    return " · ".join(told)


def metrics_in_words(first: EvaluatedRecord | None, now: EvaluatedRecord | None) -> str:
    """How well texts and images of held-out rows find each other, with the metrics of step 0."""
    if first is None or now is None:
        return ""
    parts = []
    for metric in METRICS.of(Family.TEXTS):
        before, value = (metric_value(metric, each["held_out"].get(metric.key)) for each in (first, now))
        if now["held_out"].get(metric.key) is not None:
            parts.append(f"{metric.title} {f'{before} → {value}' if now is not first else value}")
    return f"Held out: {'; '.join(parts)}." if parts else ""
