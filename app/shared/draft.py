"""The run that a person is about to start: dotted settings, kept in the session and mirrored in the URL."""

from __future__ import annotations

import functools
from typing import Any

import streamlit as st

from app.shared.datasets import image_sets, section_registry
from app.shared.lessons import find_lesson
from app.shared.text import escape_markdown
from app.shared.url import sync_query_params, went_back
from mlcore.catalogue import registry
from mlcore.declare import KnobValue, Param, PartSpec
from mlcore.spec.defaults import PART_ROOMS, Settings, follow
from mlcore.spec.run_spec import RunSpec

KEY = "lab.draft"
CHECKED = "lab.draft.checked"  # the settings that were checked last, and their spec
LINKED = "lab.draft.linked"  # the URL's parameters, and the settings that they stand for
WIDGET = "lab.set."
LESSON, LESSON_NAME = "@lesson", "lesson"  # in the draft, in the URL
OTHERS, OTHERS_NAME = "@others", "compare"
CHOSEN_FIRST = ("dataset", "backbone", "loss", "method")  # others follow from them


@functools.lru_cache(maxsize=1)
def default_spec() -> RunSpec:
    """The run of a lab that nobody has touched."""
    return RunSpec.read({})


def default_settings() -> dict[str, object]:
    return default_spec().settings()


class Draft:
    """The draft of this session. Knobs of parts that are not chosen now are kept, and come back with their part.

    Names that begin with @ are no settings of the run: what is kept for parts that are not chosen, the lesson, and the
    other losses that are to run beside.
    """

    def __init__(self) -> None:
        if KEY not in st.session_state:
            st.session_state[KEY] = draft_from_url()
        self.settings: dict[str, Any] = st.session_state[KEY]

    def follow(self) -> None:
        """Be what the URL says again, when the person has gone back to it."""
        if went_back():
            wanted = draft_from_url()
            self.settings.clear()
            self.settings.update(wanted)

    def get(self, name: str) -> Any:
        return self.settings.get(name)

    def set(self, name: str, value: object) -> None:
        """Change one setting, and what follows from it."""
        if self.settings.get(name) != value:
            self.change({name: value})

    def change(self, change: Settings) -> None:
        """Change settings, and what follows from them."""
        everything = {**follow(self.settings, change), **change}
        for name in sorted(everything, key=lambda name: "." in name):
            value = everything[name]
            if name in PART_ROOMS:
                assert value is None or isinstance(value, str)
                self._exchange(name, value)
            else:
                self.settings[name] = value

    def knobs(self, section: str) -> dict[str, KnobValue]:
        """The knob values of the chosen part of a section, with its defaults where nothing was set."""
        kept = self.settings.get(f"@{section}.{self.settings[section]}", {})
        values = {}
        for param in self.params(section):
            name = f"{section}.{param.name}"
            values[param.name] = kept.get(
                param.name, self.settings.get(name, param.default) if not kept else param.default
            )
        return values

    def choose(self, section: str, key: str | None) -> None:
        """Take another part, with what follows from it, or None to leave it out."""
        if key != self.settings[section]:
            self.change({section: key, **self._remembered(section, key)})

    def _remembered(self, section: str, key: str | None) -> dict[str, KnobValue]:
        """The knobs of a part that is not chosen now, as they were left, or at their defaults."""
        kept = self.settings.get(f"@{section}.{key}", {})
        return {
            f"{section}.{param.name}": kept.get(param.name, param.default) for param in self._params_of(section, key)
        }

    def _exchange(self, section: str, key: str | None) -> None:
        """Put another part in its place; the present one's knobs are remembered under its name."""
        before = self.settings[section]
        if key == before:
            return
        for param in self.params(section):
            kept = self.settings.setdefault(f"@{section}.{before}", {})
            kept[param.name] = self.settings.pop(f"{section}.{param.name}", param.default)
        self.settings[section] = key
        if key is None:
            for name in [name for name in self.settings if name.startswith(f"{section}.")]:
                del self.settings[name]
        self.settings |= self._remembered(section, key)

    def part(self, section: str) -> PartSpec | None:
        """The chosen part of a section; None where it is left out, or a set of images that is not here."""
        return self._part_of(section, self.settings.get(section))

    def params(self, section: str) -> tuple[Param, ...]:
        return self._params_of(section, self.settings.get(section))

    @staticmethod
    def _part_of(section: str, key: str | None) -> PartSpec | None:
        return (
            None if key is None else image_sets().get(key) if section == "dataset" else section_registry(section)[key]
        )

    def _params_of(self, section: str, key: str | None) -> tuple[Param, ...]:
        part = self._part_of(section, key)
        return () if part is None else part.params

    def replace(self, settings: Settings) -> None:
        """Take over a lesson's or a run's settings; everything it does not name is as usual."""
        fresh = default_spec().changed(settings).settings()
        self.settings.clear()
        self.settings.update(fresh)

    def spec(self) -> RunSpec:
        """The draft as a spec, checked once for the same settings; ValueError with one sentence a fault."""
        settings = {name: value for name, value in self.settings.items() if not name.startswith("@")}
        known = st.session_state.get(CHECKED)
        if known is None or known[0] != settings:
            known = st.session_state[CHECKED] = (settings, default_spec().changed(settings))
        return known[1]

    def write_url(self) -> None:
        """What differs from the usual stands in the URL; of a lesson as it comes only its name.

        A URL that stands for these settings already, in whatever words, is left as it is.
        """
        linked = settings_in_link(self.settings)
        if st.session_state.get(LINKED) == (draft_query(), linked):
            return
        wanted, chosen, others = self.differences(self.settings), find_lesson(self.get(LESSON)), self.get(OTHERS)
        if chosen and wanted == self.differences(default_spec().settings_with(chosen.settings)):
            wanted = {}
        wanted |= {LESSON_NAME: chosen.key} if chosen else {}
        wanted |= {OTHERS_NAME: ",".join(others)} if others else {}
        sync_query_params(wanted, is_of_draft)
        st.session_state[LINKED] = (wanted, linked)

    def differences(self, settings: Settings) -> dict[str, str]:
        """How the URL says that settings differ from the usual ones, and from what follows from those it says."""
        settings = {name: value for name, value in settings.items() if not name.startswith("@") and name != "name"}
        at_first = default_settings()
        named = {name: settings[name] for name in CHOSEN_FIRST if settings[name] != at_first[name]}
        named = needed_settings(settings, named)
        return {f"s.{name}": url_text(value) for name, value in named.items() if not self.is_default(name, value)}

    def is_default(self, name: str, value: object) -> bool:
        """Whether a knob has the value that its part declares."""
        section, _, knob = name.partition(".")
        if section not in PART_ROOMS or not knob:
            return False
        params = {param.name: param for param in self.params(section)}
        return knob in params and params[knob].default == value


def needed_settings(settings: Settings, named: dict[str, object]) -> dict[str, object]:
    """`named`, and what else has to be said for a lab that nobody has touched to come to `settings`."""
    while True:
        reached = default_spec().settings_with(named)
        missing = {name: value for name, value in settings.items() if reached.get(name) != value}
        if missing.keys() <= named.keys():
            return named
        named = named | missing


def is_of_draft(name: str) -> bool:
    """Whether a parameter of the URL describes the draft."""
    return name.startswith("s.") or name in (LESSON_NAME, OTHERS_NAME)


def draft_query() -> dict[str, str]:
    """The URL's parameters that describe the draft."""
    return {name: text for name, text in st.query_params.items() if is_of_draft(name)}


def draft_from_url() -> dict[str, object]:
    """The draft that the URL describes; where its settings make no spec, the usual ones, with a word about it."""
    try:
        settings = read_url()
    except ValueError as error:
        st.toast(f"The link's settings cannot be used: {escape_markdown(str(error), 600)}", icon=":material/link_off:")
        return default_settings()
    st.session_state[LINKED] = (draft_query(), settings_in_link(settings))
    return settings


def read_url() -> dict[str, object]:
    """The draft that the URL describes; ValueError with a sentence if its settings make no spec."""
    url = st.query_params
    chosen = find_lesson(url.get(LESSON_NAME))
    texts = {name[2:]: text for name, text in url.items() if name.startswith("s.")}
    words = {
        name for name, start in default_settings().items() if isinstance(start, str)
    }  # where "none" is one of them
    found = {name: text if name in words and text == "none" else parse_url_text(text) for name, text in texts.items()}
    settings = default_spec().changed(found or (chosen.settings if chosen else {})).settings()
    others = [key for key in url.get(OTHERS_NAME, "").split(",") if key in registry("losses")]
    return settings | ({LESSON: chosen.key} if chosen else {}) | ({OTHERS: others} if others else {})


def settings_in_link(settings: Settings) -> dict[str, object]:
    """What a link says of a draft: not what is kept for parts that are not chosen, nor that something is left out."""
    linked = {name: value for name, value in settings.items() if not name.startswith("@") or name in (LESSON, OTHERS)}
    return {name: value for name, value in linked.items() if value not in (None, [])}


def url_text(value: object) -> str:
    return (
        {True: "true", False: "false", None: "none"}[value] if value is None or isinstance(value, bool) else f"{value}"
    )


def parse_url_text(text: str) -> KnobValue:
    """The plain value that a URL's text stands for."""
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
