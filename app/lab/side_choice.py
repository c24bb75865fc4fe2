"""Which of the watched images are searched: those held out, or those trained on."""

from __future__ import annotations

from app.shared.stored_widgets import stored_segments
from app.shared.text import look_up_words
from app.shared.view import SIDE_WORDS, Side, View


def side_choice(view: View) -> Side:
    return stored_segments(
        "lab.side",
        "Of",
        list(SIDE_WORDS),
        view.side,
        words=look_up_words(SIDE_WORDS),
        label_visibility="collapsed",
        help="Each image is searched among the watched images of its own side.",
    )
