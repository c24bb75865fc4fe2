"""Numbers and states in a person's words."""

from __future__ import annotations

from mlcore.runs.states import RunState

STATE_WORDS = {
    RunState.DRAFT: ("draft", "gray", ":material/edit:"),
    RunState.QUEUED: ("waiting", "gray", ":material/hourglass_empty:"),
    RunState.STARTING: ("starting", "blue", ":material/hourglass_top:"),
    RunState.RUNNING: ("running", "blue", ":material/play_arrow:"),
    RunState.CANCELLING: ("stopping", "orange", ":material/stop:"),
    RunState.DONE: ("done", "green", ":material/check:"),
    RunState.CANCELLED: ("stopped", "orange", ":material/stop_circle:"),
    RunState.FAILED: ("failed", "red", ":material/error:"),
    RunState.LOST: ("lost", "red", ":material/help:"),
}


def clock(seconds: float) -> str:
    """'0:18', '12:05', '1:02:03'."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def share(value: float | None) -> str:
    """'.583'; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def change(value: float | None, before: float | None) -> str:
    """'+.190' against the value before training; "" where there is none."""
    if value is None or before is None:
        return ""
    difference = value - before
    sign = "+" if difference >= 0 else "−"
    return f"{sign}{share(abs(difference))}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """'1 image', '2,232 images'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def plain(text: str, most: int = 120) -> str:
    """A name from outside for a page that reads Markdown: no markup, no control characters, not endless."""
    kept = "".join(letter for letter in text if letter.isprintable() and letter not in BIDI)[:most]
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in kept)


BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
MARKUP = frozenset("\\`*_{}[]()<>#+-.!|$:~^&")
