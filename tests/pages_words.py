"""What a page says, for tests that open it."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

KINDS = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success", "text")


def words(test: AppTest) -> str:
    """All that a page says in words."""
    return "\n".join(str(item.value) for kind in KINDS for item in getattr(test, kind))


def shows_results(test: AppTest) -> bool:
    """Whether the Lab shows what a search returns."""
    return any(group.label == "Below the map" for group in test.button_group)
