"""What a page says of the queue while nobody touches the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_driver import WAIT_MS, start_button
from playwright.sync_api import Page, expect

from mlcore.disk.process import take_lock
from mlcore.runs.folder import Runs

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"


def test_the_runs_that_wait_before_yours_are_counted_as_they_come_and_go(
    page: Page, start_streamlit: Callable[..., Any], runs: Runs, quick_spec
):
    with take_lock(runs.lock_path()):  # another server has charge of the queue, so that nothing begins
        server = start_streamlit(APP, LAB_RUNS=str(runs.root))
        page.goto(server.url)
        words = page.get_by_text("in the queue")
        expect(start_button(page)).to_be_visible(timeout=WAIT_MS)
        expect(words).to_have_count(0)
        first, second = runs.create(quick_spec), runs.create(quick_spec)
        expect(page.get_by_text("2 runs in the queue")).to_be_visible(timeout=WAIT_MS)
        first.stop()
        second.stop()
    expect(words).to_have_count(0, timeout=WAIT_MS)
