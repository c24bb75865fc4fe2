"""The last net: what a page did not expect becomes a sentence on the page and a traceback in the server's log."""

from __future__ import annotations

import contextlib
import functools
import logging
import uuid
from collections.abc import Callable, Iterator

import streamlit as st

from app.shared.text import fault_words

LOG = logging.getLogger("lab.pages")


@contextlib.contextmanager
def report_unexpected_errors() -> Iterator[None]:
    """Draw on after a fault of what is drawn within."""
    try:
        yield
    except Exception:
        number = uuid.uuid4().hex[:8]
        LOG.exception("fault %s", number)
        st.error(
            f"This part of the page cannot be shown: the lab met a fault that it does not know. Reload the page; if it "
            f"comes again, the server's log tells more under “fault {number}”.",
            icon=":material/error:",
        )


def guard_errors(draw: Callable[..., None]) -> Callable[..., None]:
    """A page's part that is drawn by itself, again and again, with the net under it."""

    @functools.wraps(draw)
    def drawn(*arguments: object, **named: object) -> None:
        with report_unexpected_errors():
            draw(*arguments, **named)

    return drawn


def report_errors(act: Callable[..., object]) -> Callable[..., None]:
    """What a button does, as its callback: if it cannot be done, that is said in words and nothing else happens."""

    @functools.wraps(act)
    def done(*arguments: object, **named: object) -> None:
        try:
            act(*arguments, **named)
        except (ValueError, OSError) as error:
            st.toast(fault_words(error), icon=":material/error:", duration="long")

    return done
