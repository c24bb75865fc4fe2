"""Driving the real app: what tests and the screenshot script both do with its pages."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

WAIT_MS = 120_000
MAPS = (
    "[...document.querySelectorAll('[data-testid=\"stBidiComponentIsolated\"]')]"
    '.map((host) => host.shadowRoot?.querySelector(".over")?.labMap)'
)


def open_lab(page: Page, url: str, query: str = "") -> None:
    """The Lab with a map on it."""
    page.goto(f"{url}/?{query}")
    wait_for_map(page)


def wait_for_map(page: Page, step: int = 0) -> None:
    """Until the map shows `step` or a later one."""
    page.wait_for_function(
        f"(step) => {MAPS}.some((map) => map?.frame && map.frame.step >= step)", arg=step, timeout=WAIT_MS
    )


def map_value(page: Page, code: str) -> Any:
    """Value of `code` in which `map` is the page's live map."""
    return page.evaluate(f"() => {{ const map = {MAPS}.find((map) => map?.frame); return {code}; }}")


def shown_step(page: Page) -> int:
    return map_value(page, "map.frame.step")


def places(page: Page) -> list[float]:
    """Where the first hundred points are on the screen, in CSS pixels."""
    return map_value(page, "[...map.screenPlaces().slice(0, 300)]")


def wait_until_drawn(page: Page) -> None:
    """Until the page is drawn to its end; what is pressed before may move away under the hand."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT_MS)


def start_button(page: Page) -> Locator:
    """Start with the settings, or below the page while those are folded away."""
    return page.locator(".st-key-lab-start button, .st-key-lab-start-narrow button").locator("visible=true").last


def press_start(page: Page) -> str:
    """Start the draft; returns the run's id once the page shows it."""
    start_button(page).click()
    page.wait_for_url("**run=*", timeout=WAIT_MS)
    return page.url.split("run=")[1].split("&")[0]


def press(page: Page, key: str) -> None:
    """Press the button with this key."""
    page.locator(f".st-key-{key.replace('.', '-')}").get_by_role("button").click(timeout=WAIT_MS)
