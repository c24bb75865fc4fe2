"""What the lab's server hands out beside Streamlit's own files."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from app.assets import PLOTLY_PATH, ROUTES, HeadInsert


def answer(app, path: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of what an ASGI app answers to a GET; in a thread, since the browser tests' own loop may run."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, respond(app, path)).result()


async def respond(app, path: str) -> tuple[dict[str, str], bytes]:
    sent = []

    async def receive():
        await asyncio.Event().wait()  # a GET without a body, whose browser stays

    async def send(message):
        sent.append(message)

    headers = [(b"accept", b"text/html,*/*"), (b"accept-encoding", b"gzip"), (b"if-none-match", b"1")]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return headers, b"".join(message.get("body", b"") for message in sent[1:])


def html_app(body: bytes, kind: bytes = b"text/html; charset=utf-8"):
    async def app(scope, receive, send):
        asked = {name for name, _ in scope["headers"]}
        if kind.startswith(b"text/html") and asked & {b"accept-encoding", b"if-none-match"}:
            await send({"type": "http.response.start", "status": 304, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"etag", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": body[half:]})

    return app


def test_the_styles_are_there_before_anything_is_drawn():
    page = b"<html><head><title>x</title></head><body>x</body></html>"
    headers, body = answer(HeadInsert(html_app(page)), "/data")
    assert body.index(b"<style>") < body.index(b"st-key-lab-bench") < body.index(b"</body>")
    assert b"labShell" in body
    assert "etag" not in headers  # the browser's copy of Streamlit's own file is another one
    assert int(headers["content-length"]) == len(body)


def test_files_that_are_not_html_are_left_alone():
    text = b"const end = '</body>';"
    headers, body = answer(HeadInsert(html_app(text, b"text/javascript")), "/x.js")
    assert body == text
    assert int(headers["content-length"]) == len(text)


def test_plotly_is_fetched_once_and_kept_by_the_browser():
    (route,) = ROUTES
    headers, body = answer(route.app, PLOTLY_PATH)
    assert "immutable" in headers["cache-control"]
    assert headers["content-type"].startswith("text/javascript")
    assert len(body) > 1_000_000
    assert b"plotly.js v" in body[:200]
