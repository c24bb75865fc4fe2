"""The frame round every page: page settings, background processes, navigation. It runs at every visit and every act."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.server import freeze_imported_modules, lab_server
from app.shared.error_guard import report_unexpected_errors
from app.shared.reconnect import announce_new_session, refresh_by_clock
from app.shared.text import escape_markdown, fault_words
from app.shared.url import single_history_entry
from app.shared.view import record_page
from app.widgets.browser import page_script
from app.widgets.bundle import carry_bundles
from app.widgets.chart.widget import CHART
from app.widgets.map.widget import MAP
from app.widgets.scrubber.widget import SCRUBBER
from app.widgets.tiles.widget import TILES

ROOT = Path(__file__).resolve().parents[1]

st.set_page_config(page_title="Metric Learning Lab", page_icon=ROOT / "app" / "icon.png", layout="wide")

PAGES = ROOT / "pages"
page = st.navigation(
    [
        st.Page(PAGES / "lab.py", title="Lab", icon=":material/bubble_chart:", default=True),
        st.Page(PAGES / "runs.py", title="Runs", icon=":material/table_rows:", url_path="runs"),
        st.Page(PAGES / "losses.py", title="Losses", icon=":material/functions:", url_path="losses"),
        st.Page(PAGES / "data.py", title="Data", icon=":material/photo_library:", url_path="data"),
    ],
    position="top",
)

try:
    stage = lab_server()
except ValueError as error:
    st.error(fault_words(error), icon=":material/error:")
    st.stop()
page_script()
with carry_bundles([MAP, TILES, SCRUBBER], [CHART]):
    if fault := stage.runs.write_fault():
        st.warning(
            f"{escape_markdown(fault, 400)} Until then runs can be looked at, and nothing can be started or changed."
        )
    elif stage.supervisor.fault:
        st.error(escape_markdown(stage.supervisor.fault, 400), icon=":material/error:")
    record_page(page.title)
    announce_new_session()
    with report_unexpected_errors(), single_history_entry():
        page.run()
    refresh_by_clock()
freeze_imported_modules()
