"""Finding a widget on a page by the name of what it sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def widget(elements: Iterable[Any], name: str) -> Any:
    """The widget `name`. One whose value was changed by another hand has a new key: the name, a tilde, a number."""
    found = [element for element in elements if (element.key or "").split("~")[0] == name]
    assert len(found) == 1, f"{name}: {len(found)} widgets"
    return found[0]
