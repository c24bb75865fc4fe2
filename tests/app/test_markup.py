"""No text from outside reaches what reads Markdown but by `escape_markdown`: a walk over the calls of every page."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READ_MARKDOWN = {
    *("badge", "button", "caption", "checkbox", "download_button", "error", "expander", "header", "info", "markdown"),
    *("metric", "page_link", "pills", "popover", "progress", "radio", "segmented_control", "subheader", "success"),
    *("setting_note", "tabs", "title", "toast", "toggle", "warning"),
}
LABELS = {"label", "help", "text", "body", "delta", "format_func"}
FROM_OUTSIDE = {
    *("class_names", "dataset", "error", "fault", "file", "image_names", "licence", "name", "note", "notes", "origin"),
    *("parent_names", "path", "query_params", "reason_text", "text", "title"),
}
MADE_PLAIN = {"escape_markdown", "fault_words", "nearest_texts", "count"}  # a count is a number
OURS = {  # of parts, lessons and forms: written in their declarations
    "FORMS[key].title",
    "FORMS[kind].words",
    "chosen.title",
    "knob.text",
    "lesson.look",
    "lesson.text",
    "find_lesson(key).title",
    "method.description",
    "metric.title",
    "augment.description",
    "param.title",
    "part.description",
    "room[chosen].description",
    "room[key].title",
    "sets[key].description",
    "spec.title",
}


def call_name(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def bare(node: ast.AST) -> Iterator[str]:
    """What stands in an expression that may come from outside, and is not made plain there."""
    if call_name(node) in MADE_PLAIN or ast.unparse(node) in OURS:
        return
    key = node.slice.value if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) else None
    loaded = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) else None
    if FROM_OUTSIDE & {key, loaded, getattr(node, "attr", None)}:
        yield ast.unparse(node)
        return
    for child in ast.iter_child_nodes(node):
        yield from bare(child)


def texts_of(call: ast.Call) -> list[ast.expr]:
    return [*call.args[:2], *(item.value for item in call.keywords if item.arg in LABELS)]


def found_in(source: str) -> list[tuple[int, str]]:
    calls = [node for node in ast.walk(ast.parse(source)) if call_name(node) in READ_MARKDOWN]
    return [(call.lineno, text) for call in calls for part in texts_of(call) for text in bare(part)]


def test_the_walk_finds_what_is_not_made_plain():
    bad = ["st.error(str(error))", "st.toast(f'no: {error}')", "st.button(facts.title)", "st.caption(f'{run.note}')"]
    bad += ["st.markdown(table.class_names[3])", "x.info('a', help=job.title)", "st.info(st.query_params['run'])"]
    for line in bad:
        assert found_in(line), line
    for line in (
        "st.error(escape_markdown(str(error)))",
        "st.caption(f'{escape_markdown(run.note)} {count(3)}')",
        "st.text(run.title())",
    ):
        assert not found_in(line), line


def test_every_text_from_outside_is_made_plain_where_markdown_is_read():
    found = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("pages/*.py")])
        for line, text in found_in(path.read_text())
    }
    assert found == {}
