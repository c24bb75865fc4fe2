"""The frame: path, page settings, background processes, navigation. `streamlit run app/main.py` starts here."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from app.server import freeze_imported_modules, lab_server  # noqa: E402
from app.shared.error_guard import report_unexpected_errors  # noqa: E402
from app.shared.reconnect import announce_new_session, refresh_by_clock  # noqa: E402
from app.shared.text import escape_markdown, fault_words  # noqa: E402
from app.shared.url import single_history_entry  # noqa: E402
from app.shared.view import record_page  # noqa: E402
from app.widgets.browser import page_script  # noqa: E402
from app.widgets.bundle import carry_bundles  # noqa: E402
from app.widgets.chart.widget import CHART  # noqa: E402
from app.widgets.map.widget import MAP  # noqa: E402
from app.widgets.scrubber.widget import SCRUBBER  # noqa: E402
from app.widgets.tiles.widget import TILES  # noqa: E402

st.set_page_config(page_title="Metric Learning Lab", page_icon=ROOT / "app" / "icon.png", layout="wide")

st.html(ROOT / "app" / "page.css")

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
