"""One real browser for the browser tests, and Streamlit servers that end with the test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-gpu-compositing",
]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium_path() -> str | None:
    """The browser on this machine, or None for the one that playwright brought."""
    usual = Path("/usr/bin/chromium")
    if usual.exists():
        return str(usual)
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """Headless Chromium with software GL, so that the same pictures come on every machine."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=LAUNCH_FLAGS)


class StreamlitServer:
    """A headless Streamlit on a free port of this machine; its output is kept in `log`."""

    def __init__(self, script: Path, log: Path, env: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        options = {
            "server.port": self.port,
            "server.address": "127.0.0.1",
            "server.headless": "true",
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": "false",
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        self._command = [sys.executable, "-m", "streamlit", "run", str(script), *flags]
        self._env = {**os.environ, **env}
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=out, stderr=subprocess.STDOUT
            )

    def restart(self) -> None:
        """Another server at the same address, as after an update or a crash."""
        self.stop()
        self._start()
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 30.0) -> None:
        """Polls the health address; raises RuntimeError with the server's output when it ends or stays silent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                self._pause()
        raise RuntimeError(f"Streamlit did not start within {seconds} s:\n{self.log.read_text(errors='replace')}")

    def _pause(self) -> None:
        try:
            self.process.wait(0.1)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="module")
def start_streamlit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StreamlitServer]]:
    """`start_streamlit(script, **env)` gives a running server; all are stopped after the file's tests."""
    servers: list[StreamlitServer] = []

    def start(script: Path, **env: str) -> StreamlitServer:
        server = StreamlitServer(script, tmp_path_factory.mktemp("streamlit") / "log.txt", env)
        servers.append(server)
        server.wait_until_ready()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when anything in it throws, when a traceback is shown, or when a message is lost."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "ForwardMsg MISS" in said.text else None)
    yield opened
    assert opened.get_by_test_id("stException").count() == 0
    context.close()
    assert errors == []
