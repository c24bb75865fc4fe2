"""The pinned versions are what the requirements ask for, and can be installed anywhere."""

import importlib.metadata
import tomllib

import pytest
from constraints import CONSTRAINTS, REQUIREMENTS, ROOT, find_pins, is_needed_everywhere, read_requirements
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def by_name(requirements):
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


REQUIRED = by_name(read_requirements(REQUIREMENTS))
PINNED = by_name(read_requirements(CONSTRAINTS))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_THE_PACKAGE = by_name(
    Requirement(line)
    for lines in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in lines
)


def version_of(pin):
    (clause,) = pin.specifier
    return clause.version


@pytest.mark.parametrize("pin", PINNED.values(), ids=PINNED)
def test_a_pin_is_one_public_version_for_every_platform(pin):
    (clause,) = pin.specifier
    assert (clause.operator, pin.url, pin.marker, pin.extras) == ("==", None, None, set())
    assert str(Version(clause.version)) == Version(clause.version).public == clause.version


@pytest.mark.parametrize("requirement", REQUIRED.values(), ids=REQUIRED)
def test_what_is_required_is_pinned_within_its_range(requirement):
    assert requirement.specifier.contains(version_of(PINNED[canonicalize_name(requirement.name)]))


@pytest.mark.parametrize("requirement", OF_THE_PACKAGE.values(), ids=OF_THE_PACKAGE)
def test_the_package_asks_for_no_other_versions_than_the_requirements(requirement):
    required = REQUIRED[canonicalize_name(requirement.name)]
    assert set(requirement.specifier) <= set(required.specifier), f"{requirement} against {required}"


def test_nothing_is_pinned_twice():
    names = [canonicalize_name(requirement.name) for requirement in read_requirements(CONSTRAINTS)]
    assert names == sorted(set(names))


class Installed:
    def __init__(self, version, *requires):
        self.version, self.requires = version, list(requires)


def test_pins_are_public_versions_of_what_every_platform_needs(monkeypatch):
    installed = {
        "torch": Installed(
            "2.9.1+cu130", "NumPy>=2", "triton==3.5; platform_system == 'Linux'", "opt; extra == 'more'"
        ),
        "numpy": Installed("2.4.6", "torch"),
        "opt": Installed("1.0", "later; python_version > '3'", "never; python_version < '3'"),
        "later": Installed("7"),
    }
    monkeypatch.setattr(importlib.metadata, "distribution", installed.__getitem__)
    assert find_pins([Requirement("torch")]) == {"numpy": "2.4.6", "torch": "2.9.1"}
    assert find_pins([Requirement("torch"), Requirement("torch[more]")]) == {
        "later": "7",
        "numpy": "2.4.6",
        "opt": "1.0",
        "torch": "2.9.1",
    }


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("a", True),
        ("a; python_version >= '3.11'", True),
        ("a; sys_platform != 'no such'", False),
        ("a; extra == 'more'", False),
    ],
)
def test_needed_everywhere_asks_no_platform(line, needed):
    assert is_needed_everywhere(Requirement(line), ()) is needed
