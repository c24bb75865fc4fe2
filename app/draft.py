"""The run that a person is about to start: dotted settings, kept in the session and mirrored in the URL."""

from __future__ import annotations

import contextlib
from typing import Any

import streamlit as st

from app.datasets import image_sets, room_of
from app.lessons import lesson
from app.url import mirror, went_back
from app.words import plain
from mlcore.catalogue import parts
from mlcore.declare import Param, Spec
from mlcore.runs.fitting import PART_ROOMS
from mlcore.runs.settings import usual_with_backbone
from mlcore.runs.spec import RunSpec

KEY = "lab.draft"
WIDGET = "lab.set."
LESSON, LESSON_NAME = "@lesson", "lesson"  # in the draft, in the URL
OTHERS, OTHERS_NAME = "@others", "compare"
CHOSEN_FIRST = ("dataset", "backbone", "loss", "method")  # others follow from them
NOT_SETTINGS = ("dataset.fingerprint", "teacher.sha256")


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """Every setting of a spec under its dotted name; a part's own name is its key."""
    flat: dict[str, Any] = {}
    for section, choice in spec.model_dump(mode="json").items():
        if not isinstance(choice, dict):  # a plain value, or None for a part that is left out
            flat[section] = choice
            continue
        if section in PART_ROOMS:
            flat[section] = choice["key"]
        flat |= {f"{section}.{name}": value for name, value in choice.items() if name not in ("key", "params")}
        flat |= {f"{section}.{name}": value for name, value in choice.get("params", {}).items()}
    return {name: value for name, value in flat.items() if name not in NOT_SETTINGS}


def usual() -> dict[str, Any]:
    """The settings of a lab that nobody has touched."""
    return settings_of(RunSpec.read({}))


class Draft:
    """The draft of this session. Knobs of parts that are not chosen now are kept, and come back with their part.

    Names that begin with @ are no settings of the run: what is kept for parts that are not chosen, the lesson, and the
    other losses that are to run beside.
    """

    def __init__(self) -> None:
        if KEY not in st.session_state:
            st.session_state[KEY] = from_url()
        self.settings: dict[str, Any] = st.session_state[KEY]

    def follow(self) -> None:
        """Be what the URL says again, when the person has gone back to it."""
        if went_back():
            wanted = from_url()
            self.settings.clear()
            self.settings.update(wanted)

    def get(self, name: str) -> Any:
        return self.settings.get(name)

    def set(self, name: str, value: Any) -> None:
        self.settings[name] = value

    def knobs(self, section: str) -> dict[str, Any]:
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
        """Take another part, or None to leave it out; the present one's knobs are remembered under its name."""
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
        kept = self.settings.get(f"@{section}.{key}", {})
        for param in self.params(section):
            self.settings[f"{section}.{param.name}"] = kept.get(param.name, param.default)

    def backbone(self) -> tuple[str, bool | None]:
        """The backbone's key, and whether it is pretrained, None for one that cannot be."""
        return self.settings["backbone"], self.settings.get("backbone.pretrained")

    def follow_backbone(self, before: tuple[str, bool | None]) -> None:
        """Take what is usual with the backbone as it is now, where the draft has what was usual with the one before."""
        now = self.backbone()
        if now == before:
            return
        was, usual_now = (usual_with_backbone(key, {"pretrained": pretrained}) for key, pretrained in (before, now))
        self.settings |= {name: value for name, value in usual_now.items() if self.settings.get(name) == was[name]}

    def part(self, section: str) -> Spec | None:
        """The chosen part of a section; None where it is left out, or a set of images that is not here."""
        key = self.settings.get(section)
        return None if key is None else image_sets().get(key) if section == "dataset" else room_of(section)[key]

    def params(self, section: str) -> tuple[Param, ...]:
        part = self.part(section)
        return () if part is None else part.params

    def replace(self, settings: dict[str, Any]) -> None:
        """Take over a lesson's or a run's settings; everything it does not name is as usual."""
        fresh = settings_of(RunSpec.read({}).changed(settings))
        self.settings.clear()
        self.settings.update(fresh)

    def spec(self) -> RunSpec:
        """The draft as a spec; ValueError with one sentence a fault."""
        settings = {name: value for name, value in self.settings.items() if not name.startswith("@")}
        return RunSpec.read({}).changed(settings)

    def write_url(self) -> None:
        """What differs from the usual stands in the URL; of a lesson as it comes only its name.

        A URL that says the same in other words is left as it is.
        """
        with contextlib.suppress(ValueError):
            if in_link(read_url()) == in_link(self.settings):
                return
        wanted, chosen, others = self.differences(self.settings), lesson(self.get(LESSON)), self.get(OTHERS)
        if chosen and wanted == self.differences(settings_of(RunSpec.read({}).changed(chosen.settings))):
            wanted = {}
        wanted |= {LESSON_NAME: chosen.key} if chosen else {}
        wanted |= {OTHERS_NAME: ",".join(others)} if others else {}
        mirror(wanted, lambda name: name.startswith("s.") or name in (LESSON_NAME, OTHERS_NAME))

    def differences(self, settings: dict[str, Any]) -> dict[str, str]:
        """How the URL says that settings differ from the usual ones, and from what follows from those it says."""
        settings = {name: value for name, value in settings.items() if not name.startswith("@") and name != "name"}
        at_first = usual()
        named = {name: settings[name] for name in CHOSEN_FIRST if settings[name] != at_first[name]}
        try:
            named = needed_settings(settings, named)
        except ValueError:  # no spec yet: all that differs
            named |= {name: value for name, value in settings.items() if value != at_first.get(name)}
        return {f"s.{name}": text(value) for name, value in named.items() if not self.is_default(name, value)}

    def is_default(self, name: str, value: Any) -> bool:
        """Whether a knob has the value that its part declares."""
        section, _, knob = name.partition(".")
        if section not in PART_ROOMS or not knob:
            return False
        params = {param.name: param for param in self.params(section)}
        return knob in params and params[knob].default == value


def needed_settings(settings: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """`named`, and what else has to be said for a lab that nobody has touched to come to `settings`.

    Raises: ValueError if what is said on the way is no spec.
    """
    while True:
        reached = settings_of(RunSpec.read({}).changed(named))
        missing = {name: value for name, value in settings.items() if reached.get(name) != value}
        if missing.keys() <= named.keys():
            return named
        named = named | missing


def from_url() -> dict[str, Any]:
    """The draft that the URL describes; where its settings make no spec, the usual ones, with a word about it."""
    try:
        return read_url()
    except ValueError as error:
        st.toast(f"The link's settings cannot be used: {plain(str(error), 600)}", icon=":material/link_off:")
        return usual()


def read_url() -> dict[str, Any]:
    """The draft that the URL describes; ValueError with a sentence if its settings make no spec."""
    url = st.query_params
    chosen = lesson(url.get(LESSON_NAME))
    found = {name[2:]: text for name, text in url.items() if name.startswith("s.")}
    words = {name for name, start in usual().items() if isinstance(start, str)}  # where "none" is one of them
    found = {name: text if name in words and text == "none" else value(text) for name, text in found.items()}
    settings = settings_of(RunSpec.read({}).changed(found or (chosen.settings if chosen else {})))
    others = [key for key in url.get(OTHERS_NAME, "").split(",") if key in parts("losses")]
    return settings | ({LESSON: chosen.key} if chosen else {}) | ({OTHERS: others} if others else {})


def in_link(settings: dict[str, Any]) -> dict[str, Any]:
    """What a link says of a draft: not what is kept for parts that are not chosen, nor that something is left out."""
    linked = {name: value for name, value in settings.items() if not name.startswith("@") or name in (LESSON, OTHERS)}
    return {name: value for name, value in linked.items() if value not in (None, [])}


def text(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "none"}[value] if value is None or isinstance(value, bool) else f"{value}"
    )


def value(text: str) -> Any:
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
