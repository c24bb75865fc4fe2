"""Words from outside in a CSV file that a spreadsheet may open."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula


def escape_word(word: str) -> str:
    """The word with an apostrophe in front, where a spreadsheet would run it as a formula."""
    return f"'{word}" if word.removeprefix("'").startswith(FORMULA) else word


def unescape_word(word: str) -> str:
    """The word that `escape_word` was given."""
    return word[1:] if word.startswith("'") and word[1:].removeprefix("'").startswith(FORMULA) else word
