"""Numbers and states in a person's words."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from mlcore.evaluation.metrics import Metric
from mlcore.runs.states import RunState

UNTRAINED, BACKBONE_ALONE = "the untrained embedding", "the backbone's own features"  # the two that a run begins with
BadgeColour = Literal["gray", "blue", "orange", "green", "red"]
STATE_WORDS: dict[RunState, tuple[str, BadgeColour, str]] = {
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


def format_duration(seconds: float) -> str:
    """'0:18', '12:05', '1:02:03'."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_share(value: float | None) -> str:
    """'.583'; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def format_change(value: float | None, before: float | None) -> str:
    """'+.190' against the value before training, UNCHANGED where that rounds to nothing; "" where there is none."""
    if value is None or before is None:
        return ""
    difference = round(value - before, 3)
    sign = "+" if difference > 0 else "−"
    return f"{sign}{format_share(abs(difference))}" if difference else UNCHANGED


Option = TypeVar("Option")
UNCHANGED = "±.000"


def metric_value(metric: Metric, value: float | None) -> str:
    """'.583' for a share, '41.2' for a metric of another scale; a dash where there is none."""
    return format_share(value) if value is None or metric.is_share else f"{value:,.4g}"


def metric_change(metric: Metric, value: float | None, before: float | None) -> str:
    """'+.190', or '+3.25' for a metric of another scale, against the value before training; see `format_change`."""
    if value is None or before is None or metric.is_share:
        return format_change(value, before)
    difference = float(f"{value - before:.4g}")
    return f"{difference:+,.4g}".replace("-", "−") if difference else UNCHANGED


def count(number: int, noun: str, plural: str | None = None) -> str:
    """'1 image', '2,232 images'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_bytes(bytes: int) -> str:
    """'12 KB', '2.1 MB', '1,204.0 MB'."""
    return f"{bytes / 2**20:,.1f} MB" if bytes >= 2**20 / 10 else f"{-(-bytes // 2**10):,} KB"


def one_line(text: str, most: int = 120) -> str:
    """A text from outside for a place that reads no Markdown: on one line, without control characters, not endless."""
    line = " ".join("".join(letter for letter in word if shows(letter)) for word in text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def escape_markdown(text: str, most: int = 120) -> str:
    """A text from outside for a place that reads Markdown: it looks as it was written, and none of it is markup.

    It comes on one line, without control characters; what is longer than `most` letters is cut, with an ellipsis.
    """
    cut = one_line(text, most)
    return JOINED.sub(rf"\g<0>{JOINER}", "".join(f"\\{letter}" if letter in MARKUP else letter for letter in cut))


def look_up_words(texts: Mapping[Option, str]) -> Callable[[object], str]:
    """What gives an option its words, for a widget's `format_func`; one that is not there is said as it is."""
    words = dict[object, str](texts.items())
    return lambda option: words.get(option, str(option))


def shows(letter: str) -> bool:
    return letter.isprintable() and letter not in BIDI


BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
MARKUP = frozenset("\\`*_{}[]()<>#+-.!|$:~^&")
JOINER = "\u2060"  # has no width and keeps its neighbours on one line
# What Streamlit looks for once Markdown has been read, when a backslash before it is gone: addresses (http://, www.,
# @), icons (:material/...:, :streamlit:), arrows and dashes (->, --, >=).
JOINED = re.compile(r":(?=[A-Za-z/])|[wW]{3}(?=\\\.)|@|[<>~-](?=\\?[>=-])")


def fault_words(error: ValueError | OSError) -> str:
    """What went wrong and what to do, for a place that reads Markdown; a disk's own words say less."""
    if not isinstance(error, OSError) or error.errno is None:
        return escape_markdown(str(error), 600)
    number = error.errno
    place = f" ({error.filename})" if error.filename else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return escape_markdown(f"The disk is full{place}. Free some space, then try again.", 600)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return escape_markdown(f"Nothing can be written there{place}: {error.strerror}. Allow it, then try again.", 600)
    return escape_markdown(f"{error.strerror}{place}", 600)
