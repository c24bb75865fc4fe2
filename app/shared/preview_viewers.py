"""Who looks at which preview, so that one person's change of mind does not stop what another waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FORGOTTEN_S = 120.0  # a session that has not looked for so long has gone; as long as Streamlit keeps one


class PreviewViewers:
    """The sessions of one server that look at each preview, with the time of their last look. For all threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()

    def add(self, session: str, run_id: str) -> None:
        with self._lock:
            self._looks.setdefault(run_id, {})[session] = self._clock()

    def remove(self, session: str, run_id: str) -> bool:
        """This session looks at something else; whether nobody looks any more."""
        with self._lock:
            since = self._clock() - FORGOTTEN_S
            looks = self._looks.pop(run_id, {})
            others = {name: at for name, at in looks.items() if name != session and at > since}
            if others:
                self._looks[run_id] = others
            return not others
