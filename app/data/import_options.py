"""How images are read by an import: what it sees at a path before anything is done, and a widget for what may be said
otherwise. The options are those that the source declares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from app.data.uploads import UploadedFiles
from app.shared.text import count, escape_markdown, look_up_words
from mlcore.data.import_preview import LookedAt, look_at_path
from mlcore.data.sources import SOURCES, fitting_sources
from mlcore.data.sources.safe_folder import allow_folder
from mlcore.data.sources.zip_files import AUTO, PackedFiles, is_archive
from mlcore.data.sources.zip_names import CODE_PAGES
from mlcore.declare import Param, PartSpec

LOOK_S = 1.5  # seconds that a listing may take while a page waits for it
NAMED = 12  # classes
WITH_A_TABLE = ("table", "zip_table")  # sources whose sides no sentence tells
WITHOUT_A_LOOK = ("vectors",)  # sources that read all of their file to say what is in it


def import_options(path: str | None, upload: UploadedFiles | None) -> list[str]:
    """The import's options as arguments, for a path on this computer or what somebody has sent."""
    if upload is None:
        return options_at(path, {})
    with allow_folder(upload.folder):
        return options_at(upload.path, upload.options)


def options_at(path: str | None, given: dict[str, str]) -> list[str]:
    """`given` are options of the source that are settled already."""
    keys = ["table"] if given else sources_at(path) if path else []
    spec, values = None, {}
    if path and keys:
        spec = SOURCES[chosen_source(keys)]
        values = source_widgets(spec, path, without=tuple(given))
        show_look(path, spec, {**values, **given})
    settled = ["--source", "table", *import_arguments(given)] if given else []
    return [*size_setting(), *source_arguments(spec, keys, values), *settled]


def sources_at(path: str) -> list[str]:
    """The sources that may read what is at a path, the likeliest first; none where nothing is there or fits."""
    try:
        return list(fitting_sources(Path(path).expanduser()))
    except (ValueError, OSError):
        return []


def chosen_source(keys: list[str]) -> str:
    if len(keys) == 1:
        return keys[0]
    return st.selectbox(
        "Read as",
        keys,
        format_func=lambda key: SOURCES[key].title,
        key=f"data.source.{'.'.join(keys)}",
        help="What is there can be read in several ways. The first is the likeliest.",
    )


def source_widgets(spec: PartSpec, path: str, *, without: tuple[str, ...]) -> dict[str, object]:
    """A widget for each option that a source declares, the rare ones folded away; their values."""
    params = [param for param in spec.params if param.name not in without]
    examples = names_by_code_page(path, file_stamp(path)) if any(p.name == "name_encoding" for p in params) else {}
    params = [param for param in params if param.name != "name_encoding" or examples]
    values = {}
    for param in params:
        if not param.knob.rare or param.name == "name_encoding":
            values[param.name] = option_widget(param, spec, examples)
    rare = [param for param in params if param.name not in values]
    if rare:
        with st.expander("More options"):
            values |= {param.name: option_widget(param, spec, examples) for param in rare}
    return values


def option_widget(param: Param, spec: PartSpec, examples: dict[str, str]) -> object:
    key, knob = f"data.option.{spec.key}.{param.name}", param.knob
    if param.name == "name_encoding":
        return st.selectbox(
            param.title,
            [AUTO, *examples],
            format_func=lambda page: "As seen below" if page == AUTO else f"{examples[page][:60]} ({CODE_PAGES[page]})",
            key=key,
            help="The archive does not say how its names are written. Choose the line that reads right.",
        )
    if knob.choices:
        return st.selectbox(param.title, knob.choices, key=key, help=knob.text)
    if param.kind == "bool":
        return st.toggle(param.title, param.default is True, key=key, help=knob.text)
    if param.kind == "int":
        low, high = (None if bound is None else int(bound) for bound in (knob.low, knob.high))
        start = param.default if isinstance(param.default, int) else None
        return st.number_input(param.title, low, high, start, key=key, help=knob.text)
    typed = st.text_input(param.title, key=key, help=knob.text, placeholder=knob.none, max_chars=1000)
    return typed.strip() or param.default


def show_look(path: str, spec: PartSpec, values: Mapping[str, object]) -> None:
    """What the import would read, before it does."""
    if spec.key in WITHOUT_A_LOOK:
        return
    try:
        seen = cached_preview(path, file_stamp(path), spec.key, tuple(sorted(values.items())))
    except (ValueError, OSError) as error:
        st.warning(escape_markdown(str(error), 600), icon=":material/error:")
        return
    with st.container(border=True):
        if not seen.complete and not seen.images:
            st.markdown("There is too much to look at beforehand. Is this the folder that you mean?")
            return
        at_least = "" if seen.complete else "At least "
        st.markdown(f"{at_least}{count(seen.images, 'image')} in {count(len(seen.classes), 'class', 'classes')}")
        st.caption("By their names: none is opened yet. What cannot be read is left out by the import, which names it.")
        for reading in seen.readings:
            st.caption(f":material/info: {escape_markdown(reading.text, 600)}")
        if seen.sides and seen.source in WITH_A_TABLE:
            st.caption("Sides: " + ", ".join(f"{side} {number:,}" for side, number in seen.sides.items()))
        if seen.classes:
            names = ", ".join(
                f"{escape_markdown(name, 40)} ({number:,})" for name, number in list(seen.classes.items())[:NAMED]
            )
            more = f" and {len(seen.classes) - NAMED:,} more" if len(seen.classes) > NAMED else ""
            st.caption(f"Classes: {names}{more}")
        for reason, number in list(seen.left_out.items())[:NAMED]:
            st.caption(f"Left out {number:,}: {escape_markdown(reason, 300)}")


@st.cache_data(max_entries=32, ttl=20, show_spinner="Looking at what is there …")
def cached_preview(path: str, stamp: str, source: str, values: tuple[tuple[str, object], ...]) -> LookedAt:
    return look_at_path(path, source, dict(values), seconds=LOOK_S)


@st.cache_data(max_entries=16, show_spinner=False)
def names_by_code_page(path: str, stamp: str) -> dict[str, str]:
    """An example of an archive's names in each way they may be written; none where the archive says it."""
    try:
        return PackedFiles(path).names_by_code_page() if is_archive(path) else {}
    except (ValueError, OSError):
        return {}


def file_stamp(path: str) -> str:
    """Changes when a file does, or a folder's list."""
    try:
        facts = os.stat(Path(path).expanduser())
    except (OSError, ValueError):
        return ""
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def size_setting() -> list[str]:
    side = st.selectbox(
        "Stored size",
        [None, 32, 64, 96, 128, 160, 224, 256],
        format_func=lambda px: f"{px} px" if px else "160 px, or less where all are smaller",
        key="data.side",
        help="Images are made square and kept at this size; a backbone scales them to its own.",
    )
    fit = st.segmented_control(
        "Images that are not square",
        ["crop", "pad"],
        format_func=look_up_words({"crop": "Cut", "pad": "Keep all"}),
        default="crop",
        required=True,
        key="data.fit",
        help="Cut: the middle is kept. Keep all: the rest of the square is filled.",
    )
    return ["--fit", fit or "crop", *(["--side", str(side)] if side else [])]


def source_arguments(spec: PartSpec | None, keys: list[str], values: Mapping[str, object]) -> list[str]:
    """What differs from what the import would do by itself."""
    if spec is None:
        return []
    usual = spec.defaults()
    changed = {name: value for name, value in values.items() if value != usual[name]}
    return [*(["--source", spec.key] if spec.key != keys[0] else []), *import_arguments(changed)]


def import_arguments(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in ("--option", f"{name}={in_yaml(value)}")]


def in_yaml(value: object) -> str:
    """A value as the command line reads it: words in quotes, so that 'null' and '1' stay words."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()
