"""Writes constraints.txt from the packages of the environment that this runs in: `make constraints`.

What only some platforms need (CUDA libraries, say) is left out: whoever needs it pins it exactly, and a line for
it could not be met elsewhere.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
REQUIREMENTS = ROOT / "requirements-dev.txt"
PLATFORM = ("sys_platform", "platform_", "os_name")
HEAD = """\
# The versions that all tests were green with. Made by `make constraints`, after the tests; never edited by hand.
# `make app` and `make test` install by it: pip install -c constraints.txt -r requirements.txt. `make latest` does not.
# Left out: what only some platforms need (CUDA libraries, triton, ...), which the packages that need it pin themselves.
"""


def read_requirements(path: Path) -> Iterator[Requirement]:
    """Every requirement of a file and of those it names with -r."""
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.partition(" #")[0].strip()
        if line.startswith("-r "):
            yield from read_requirements(path.parent / line[3:].strip())
        elif line and not line.startswith("#"):
            yield Requirement(line)


def find_pins(requirements: Iterable[Requirement]) -> dict[str, str]:
    """The installed version of everything that is needed on every platform, by name.

    Raises: importlib.metadata.PackageNotFoundError if something needed is not installed.
    """
    pins: dict[str, str] = {}
    visited: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        visit = (name, frozenset(requirement.extras))
        if visit in visited:
            continue
        visited.add(visit)
        distribution = importlib.metadata.distribution(name)
        pins[name] = Version(distribution.version).public
        needed = (Requirement(line) for line in distribution.requires or ())
        waiting += (other for other in needed if is_needed_everywhere(other, requirement.extras))
    return dict(sorted(pins.items()))


def is_needed_everywhere(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether a package's requirement holds on every platform, for the extras that were asked of that package."""
    marker = requirement.marker
    if marker is None:
        return True
    if any(variable in str(marker) for variable in PLATFORM):
        return False
    return any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def main() -> None:
    pins = find_pins(read_requirements(REQUIREMENTS))
    lines = "".join(f"{name}=={version}\n" for name, version in pins.items())
    CONSTRAINTS.write_text(HEAD + lines, encoding="utf-8")
    print(f"{CONSTRAINTS.name}: {len(pins)} packages.")


if __name__ == "__main__":
    main()
