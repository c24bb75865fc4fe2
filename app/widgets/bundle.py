"""Widgets whose code is sent to the browser once.

Streamlit sends a component's JavaScript with every message of that component. So a widget here is only the small
`bundle.js`; its own code is brought by an invisible carrier whose message never changes: Streamlit keeps messages over
10 kB in the browser and sends their hash from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

STUB = Path(__file__).parent / "bundle.js"
PADDING = 12_000  # bytes, so that a small widget's carrier is large enough to be kept by the browser
CARRIED = "lab.carried"  # names of the widgets that the frame brings; missing where there is no frame
FRAMED = "lab.framed"  # whether the whole page is being run, not only a fragment of it
ENTRY = "export default function (message)"


class BundledComponent:
    """One kind of widget: `files` are plain scripts that share one scope, the last one exports the entry function.

    The entry is called with each message (data, parentElement, setStateValue ...) and returns a clean-up function;
    `css` is put beside what it draws, in a shadow root of its own unless `isolate` is False.
    """

    def __init__(self, name: str, files: Sequence[Path], css: Path, *, isolate: bool = True) -> None:
        code = "\n".join(path.read_text(encoding="utf-8") for path in files)
        self.name = name
        if code.count(ENTRY) != 1:
            raise ValueError(f"{name}: its scripts must hold '{ENTRY}' once")
        self.code = code.replace(ENTRY, "function show(message)")
        self.css = css.read_text(encoding="utf-8")
        self.version = hashlib.sha256((self.code + self.css).encode("utf-8")).hexdigest()[:16]
        self._carrier = st.components.v2.component(f"{name}_code", js=self._carrier_code())
        stub = STUB.read_text(encoding="utf-8").replace("VERSION", self.version)
        self._widget = st.components.v2.component(name, js=stub, isolate_styles=isolate)

    def carry(self, key: str) -> None:
        """Bring the code to the browser."""
        self._carrier(key=key)

    def __call__(self, *, key: str, data: Any, **on_changes: Any) -> Any:
        """Mount the widget `key`, or hand it new data; returns Streamlit's result, a mapping of its states."""
        carried = st.session_state.get(CARRIED)
        if carried is None:
            self.carry(f"{key}-code")
        elif self.name not in carried:
            carried.add(self.name)
            if not st.session_state.get(FRAMED):
                st.rerun()
        sent = data if isinstance(data, bytes) else (data,)  # of a bare dict every value is looked at by pandas
        return self._widget(key=key, data=sent, **on_changes)

    def _carrier_code(self) -> str:
        return f"""{self.code}
(globalThis.__labCode ??= {{}})[{json.dumps(self.version)}] ??= {{ show, css: {json.dumps(self.css)} }};
globalThis.dispatchEvent(new Event("lab-code"));
export default function ({{ parentElement }}) {{
  const box = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (box) box.style.display = "none";
}}
//{"·" * max(0, (PADDING - len(self.code) - len(self.css)) // 2)}
"""


@contextlib.contextmanager
def carry_bundles(at_once: Sequence[BundledComponent], when_used: Sequence[BundledComponent]) -> Iterator[None]:
    """Bring the widgets' code once for the whole page that is run within; of a large one only when the page uses it.

    Inside a fragment that runs every half second Streamlit would send it each time.
    """
    carried = st.session_state.setdefault(CARRIED, {kind.name for kind in at_once})
    st.session_state[FRAMED] = True
    for kind in at_once:
        kind.carry(f"lab.code.{kind.name}")
    last = st.container()
    try:
        yield
    finally:
        st.session_state[FRAMED] = False
    with last:
        for kind in when_used:
            if kind.name in carried:
                kind.carry(f"lab.code.{kind.name}")
