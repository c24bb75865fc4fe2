"""Finding a setting by what it is called, by what others call it, or by what it does.

While settings are searched, the widgets of app/shared/stored_widgets.py whose words do not match are not drawn, and
keep their value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import streamlit as st

OTHER_WORDS = {
    "amp": "precision",
    "balanced": "sampler",
    "bn": "batch norm",
    "clipping": "clip",
    "decay": "weight decay",
    "dim": "embedding size",
    "dimension": "embedding size",
    "distillation": "teacher",
    "epochs": "length",
    "finetune": "freeze",
    "frozen": "freeze",
    "fp16": "precision",
    "grad": "gradient",
    "hard": "miner",
    "iterations": "length",
    "lr": "learning rate",
    "memory": "memory",
    "optimizer": "optimiser",
    "projection": "head",
    "queue": "memory",
    "regularizer": "regulariser",
    "scheduler": "schedule",
    "temperature": "scale",
    "test": "held out",
    "validation": "held out",
    "warmup": "warm-up",
    "wd": "weight decay",
    "xbm": "memory",
}


@dataclass
class SettingSearch:
    """What is looked for, and the labels of the settings that were found."""

    words: tuple[str, ...]
    found: list[str] = field(default_factory=list)

    def matches(self, label: str, texts: Iterable[str]) -> bool:
        """Whether each word, or what it is called here, begins a word that is said of a setting; then it is found."""
        text = " ".join([label, *texts]).lower().replace("_", " ")
        wanted = [{word, OTHER_WORDS.get(word, word)} for word in self.words]
        if not all(any(re.search(rf"\b{re.escape(name)}", text) for name in names) for names in wanted):
            return False
        self.found.append(label)
        return True


_search: ContextVar[SettingSearch | None] = ContextVar("setting_search", default=None)


@contextmanager
def search_settings(words: str) -> Iterator[SettingSearch]:
    """Within it only settings are drawn that match all these words."""
    search = SettingSearch(tuple(words.lower().split()))
    before = _search.set(search)
    try:
        yield search
    finally:
        _search.reset(before)


def is_searching() -> bool:
    return _search.get() is not None


def is_wanted(label: str, *texts: str | None) -> bool:
    """Whether this setting is to be drawn: always, but where another one is looked for."""
    search = _search.get()
    return search is None or search.matches(label, filter(None, texts))


def setting_note(words: str) -> None:
    """A line between settings, left out where one of them is looked for."""
    if not is_searching():
        st.caption(words)
