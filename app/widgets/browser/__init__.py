"""What pages do in the browser beside Streamlit: its history, and what was typed."""

from app.widgets.browser.script import page_script

__all__ = ["page_script"]
