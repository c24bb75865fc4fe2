"""The README tells of what is there, and its example of a loss is one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from readme_table import BEGIN, END, README, renewed

ROOT = Path(__file__).resolve().parents[1]
SUITES = (
    "tests/mlcore/losses/test_every_loss.py",
    "tests/mlcore/losses/test_every_reducer.py",
    "tests/mlcore/test_regularizers.py",
    "tests/app/losses",
)


def test_the_table_of_parts_is_that_of_the_declarations():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert renewed(text) == text, "run: python tests/readme_table.py"


def test_the_commands_for_people_without_make_are_those_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(\w+) \?= (.*)$", makefile, re.MULTILINE))
    recipes = re.findall(r"^\t\$\(BIN\)/(.*)$", makefile, re.MULTILINE)
    plain = [re.sub(r"\$\((\w+)\)", lambda name: given[name[1]], line).replace("python -m ", "") for line in recipes]
    rows = re.findall(r"^\| `make (?:app|test)` \| `(.*)` then `(.*)` \|.*\|$", README.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 2
    for row in rows:
        for command in row:
            assert command in plain


def readme_loss() -> str:
    (example,) = re.findall(r"```python\n(# mlcore/losses/my_loss\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    return example


@pytest.mark.slow
def test_the_example_of_a_loss_passes_what_every_loss_must(tmp_path):
    (tmp_path / "my_loss.py").write_text(readme_loss(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *SUITES, "-p", "my_loss", "-k", "my_loss", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_contributing_names_every_class_attribute_that_the_suites_read_of_a_loss():
    told = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    suites = "".join(path.read_text("utf-8") for path in (ROOT / "tests/mlcore/losses").glob("*.py"))
    read = set(re.findall(r"""(?:excused\(spec|getattr\(spec\.load\(\)), "(\w+)\"""", suites))
    assert {"depends_on_order", "without_anchors"} <= read
    assert [name for name in sorted(read | {"fitting_distances", "compares_views"}) if f"`{name}`" not in told] == []
