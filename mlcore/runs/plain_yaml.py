"""Settings files from outside: YAML or JSON that holds plain values and nothing else."""

from __future__ import annotations

from typing import Any

import yaml

CONFIG_LIMIT = 256 * 1024


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases: they are how a small file becomes an endless record."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise ValueError("a settings file may not use YAML aliases (*name); write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"a settings file names {', '.join(sorted(twice))} twice; keep one of them")
        return super().construct_mapping(node, deep)


def plain_yaml(text: str) -> dict[str, Any]:
    """The record in a YAML or JSON text from outside; ValueError for anything but plain values."""
    if len(text.encode()) > CONFIG_LIMIT:
        raise ValueError(f"a settings file may have at most {CONFIG_LIMIT // 1024} KiB; got {len(text) // 1024} KiB")
    try:
        record = yaml.load(text, Loader=PlainLoader)
    except RecursionError:
        raise ValueError("the settings file is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"the settings file is not valid YAML or JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("a settings file holds one record, such as 'loss: arcface' on a line")
    return record
