"""Settings from outside: YAML or JSON that holds plain values and nothing else."""

from __future__ import annotations

from typing import Any

import yaml

CONFIG_LIMIT = 256 * 1024
DEPTH_LIMIT = 32
PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
DATE = "tag:yaml.org,2002:timestamp"


class PlainLoader(yaml.SafeLoader):
    """YAML of plain values: no tags but those of PLAIN, no dates (they are words), little depth, and no aliases, which
    are how a small file becomes an endless record."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise ValueError("a settings file may not use YAML aliases (*name); write the values out")
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise ValueError(f"it is nested more than {DEPTH_LIMIT} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"a settings file names {', '.join(sorted(twice))} twice; keep one of them")
        return super().construct_mapping(node, deep)


PlainLoader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in PLAIN
}
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != DATE]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def plain_value(text: str) -> Any:
    """What a YAML or JSON text says, of plain values only. Raises: ValueError that says what is wrong."""
    if len(text.encode(errors="replace")) > CONFIG_LIMIT:
        raise ValueError(f"a settings file may have at most {CONFIG_LIMIT // 1024} KiB; got {len(text) // 1024} KiB")
    try:
        return yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not valid YAML or JSON of plain values: {' '.join(str(error).split())}") from None
    except (KeyError, TypeError, AttributeError, OverflowError) as error:  # a tag such as !!bool with no bool behind it
        raise ValueError(f"a value does not fit its tag: {error}") from None


def plain_yaml(text: str) -> dict[str, Any]:
    """The record in a YAML or JSON text from outside; ValueError for anything but plain values."""
    try:
        record = plain_value(text)
    except ValueError as error:
        raise ValueError(f"the settings file cannot be read: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("a settings file holds one record, such as 'loss: arcface' on a line")
    return record
