"""What is imported before the first page is asked for is all that the first page needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRST_PAGE = """
import sys
from streamlit.testing.v1 import AppTest
import app.lab.launch as launch
from app.preload import import_page_modules
from mlcore.engines.supervisor import Supervisor

Supervisor.start = lambda self, after_s=0.0: None
import_page_modules()
launch.torch_is_ready = lambda: False  # else a thread imports torch and the losses, for which no page waits
before = set(sys.modules)
assert not AppTest.from_file("app/frame.py", default_timeout=120).run().exception
late = sorted(name for name in set(sys.modules) - before if name.split(".")[0] in ("app", "mlcore", "pandas"))
print("LATE", *late)
"""


@pytest.mark.slow
def test_the_first_page_imports_nothing_of_ours_that_was_not_imported_before_and_no_pandas(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PAGE],
        cwd=ROOT,
        env={**os.environ, "LAB_RUNS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("LATE")] == ["LATE"]
