"""Opening a page of the app in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from mlcore.engines.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def expanders_open(monkeypatch):
    """The contents of every expander are made, as when a person has opened it."""
    monkeypatch.setattr("app.shared.controls.is_open", lambda box: True)
    monkeypatch.setattr("app.lab.draft_form.is_open", lambda box: True)


@pytest.fixture
def open_page(runs, monkeypatch):
    """`open_page(name, **query)` gives the page after its first run; no background process is started."""
    monkeypatch.setenv("LAB_RUNS", str(runs.root))
    monkeypatch.setattr(Supervisor, "start", lambda self, after_s=0.0: None)
    st.cache_resource.clear()
    st.cache_data.clear()

    def opened(name: str, **query: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app" / "frame.py"), default_timeout=PATIENCE_S)
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        if name != "lab":
            test.switch_page(f"../pages/{name}.py").run()
        assert not test.exception
        return test

    yield opened
    st.cache_resource.clear()
    st.cache_data.clear()
