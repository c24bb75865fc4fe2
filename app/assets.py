"""Files that browsers fetch beside Streamlit's own, and the styles that are there before a page is drawn."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

APP = Path(__file__).resolve().parent
PLOTLY_PATH = f"/lab-assets/plotly-{version('plotly')}.min.js"  # another version has another address
A_YEAR = "public, max-age=31536000, immutable"
STYLES = (APP / "first_paint.css", APP / "page.css", APP / "lab" / "workbench.css")
SCRIPT = APP / "first_paint.js"
ABOUT_COPIES = (b"accept-encoding", b"if-none-match", b"if-modified-since")


async def send_plotly(request: Request) -> FileResponse:
    package = find_spec("plotly")  # not imported: that takes longer than to find it
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "package_data" / "plotly.min.js"
    return FileResponse(file, media_type="text/javascript", headers={"cache-control": A_YEAR})


ROUTES = [Route(PLOTLY_PATH, send_plotly)]


class HeadInsert:
    """Puts our styles at the end of Streamlit's HTML file: an element of a page would bring them after what they style.

    Not into its head, where Streamlit adds its own styles, which would win. The file is asked for whole and as it is
    now: Streamlit would compress it, or say that the browser has it already, which knows nothing of our styles.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        styles = "\n".join(path.read_text(encoding="utf-8") for path in STYLES)
        script = SCRIPT.read_text(encoding="utf-8")
        self.insert = f"<style>{styles}</style><script>{script}</script></body>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not wants_html(scope):
            await self.app(scope, receive, send)
            return
        asked = [(name, value) for name, value in scope["headers"] if name not in ABOUT_COPIES]
        held: Message | None = None  # the start of an HTML file, until the whole file is there
        body = b""

        async def send_with_insert(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start" and is_plain_html(message):
                held = message
                return
            if held is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(b"</body>", self.insert, 1)
            headers = MutableHeaders(raw=list(held["headers"]))
            headers["content-length"] = str(len(body))
            for name in ("etag", "last-modified"):
                del headers[name]
            await send({**held, "headers": headers.raw})
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": asked}, receive, send_with_insert)


def wants_html(scope: Scope) -> bool:
    """Whether a browser asks for a page, not for one of the files in it."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def is_plain_html(start: Message) -> bool:
    headers = MutableHeaders(raw=start["headers"])
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers
