"""`streamlit run app/main.py` starts here: the server, which imports what the first page needs before anybody asks."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from starlette.middleware import Middleware  # noqa: E402

from app.assets import ROUTES, HeadInsert  # noqa: E402
from app.preload import import_page_modules  # noqa: E402


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """The browser fetches the page's files meanwhile, which takes about as long."""
    threading.Thread(target=import_page_modules, name="import-pages", daemon=True).start()
    yield


app = st.App(ROOT / "app" / "frame.py", lifespan=lifespan, routes=ROUTES, middleware=[Middleware(HeadInsert)])
