"""Names and values as they are written on a command line."""

from __future__ import annotations

from mlcore.disk import plain_yaml


def section_option(section: str) -> str:
    return "--" + section.replace("_", "-")


def split_assignment(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{option} takes NAME=VALUE, such as level=2; got '{text}'.")
    return name.strip(), value


def plain_value(path: str, text: str, option: str = "--set") -> object:
    """A number, a word, true, false or null, as YAML has them."""
    try:
        return plain_yaml.plain_value(text)
    except ValueError as error:
        raise ValueError(
            f"{option} {path}: '{text[:60]}' cannot be read as a number, a word, true, false or null: {error}"
        ) from None
