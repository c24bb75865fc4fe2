"""The scrubber in a real browser: it snaps, plays, takes keys, and keeps the person's place while data come."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.browser
DEMO = Path(__file__).parent / "demos" / "scrubber_demo.py"


@pytest.fixture(scope="module")
def address(start_streamlit: Callable) -> str:
    return start_streamlit(DEMO).url


@pytest.fixture
def open_demo(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """`open_demo(query, **context)` gives the page once the scrubber is there; a page error fails the test."""
    contexts, errors = [], []

    def opened(query: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 600}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/?{query}")
        page.locator(".scrubber").wait_for(state="attached")
        page.get_by_text(re.compile("^snapshots")).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def track(page: Page) -> Locator:
    return page.get_by_role("slider", name="Snapshot shown")


def point(page: Page, step: float, total: int = 300) -> tuple[float, float]:
    """Where `step` lies on the page."""
    box = page.locator(".axis").bounding_box()
    return box["x"] + box["width"] * step / total, box["y"] + 30


def press(page: Page, step: float) -> None:
    page.mouse.click(*point(page, step))


def add_snapshot(page: Page, count: int) -> None:
    page.get_by_role("button", name="New snapshot").click()
    expect(page.get_by_text(f"snapshots {count}")).to_be_visible()


def expect_place(page: Page, words: str) -> None:
    expect(page.get_by_text(words)).to_be_visible(timeout=15_000)


def heard(page: Page) -> list[int]:
    return ast.literal_eval(page.get_by_text(re.compile("^heard")).inner_text().removeprefix("heard "))


def keep_labels(page: Page) -> None:
    """From now on every label that is shown stays in `window.labels`, however soon the next one comes."""
    page.locator(".label").evaluate(
        """(label) => {
          window.labels = [];
          const keep = () => window.labels.push(label.textContent);
          new MutationObserver(keep).observe(label, { childList: true, characterData: true, subtree: true });
        }"""
    )


def was_shown(page: Page, label: str) -> None:
    page.wait_for_function("(label) => window.labels.includes(label)", arg=label, timeout=15_000)


def test_a_click_snaps_to_the_nearest_snapshot_and_leaves_live(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    expect(page.locator(".label")).to_have_text("step 100")
    expect(page.locator(".dot")).to_have_count(6)
    press(page, 47)
    expect(page.locator(".label")).to_have_text("step 40")
    expect_place(page, "step 40 live False playing False")
    expect_place(page, "changed ['live', 'step']")
    expect(page.get_by_role("button", name="Newest")).to_have_attribute("aria-pressed", "false")


def test_the_handle_moves_at_once_and_the_last_step_of_a_fast_drag_is_sent(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    places = [point(page, step) for step in (20, 60, 0)]
    shown = page.locator(".track").evaluate(
        """(track, [first, second, last]) => {
          track.setPointerCapture = () => {};
          const act = (kind, [clientX, clientY]) => {
            track.dispatchEvent(new PointerEvent(kind, { clientX, clientY, pointerId: 1 }));
            return track.getAttribute("aria-valuenow");
          };
          const moves = [["down", first], ["move", second], ["move", last], ["up", last]];
          return moves.map(([kind, at]) => act(`pointer${kind}`, at));
        }""",
        places,
    )
    assert shown == ["20", "60", "0", "0"]
    expect_place(page, "step 0 live False")


def test_a_drag_past_a_hundred_snapshots_sends_about_twelve_a_second(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=101&total=2000")
    places = [point(page, step, 2000) for step in [*range(0, 2000, 20), 1500]]
    milliseconds = page.locator(".track").evaluate(
        """async (track, places) => {
          const send = WebSocket.prototype.send;
          window.sent = 0;
          WebSocket.prototype.send = function (...data) {
            window.sent += 1;
            return send.apply(this, data);
          };
          track.setPointerCapture = () => {};
          const act = (kind, [clientX, clientY]) =>
            track.dispatchEvent(new PointerEvent(kind, { clientX, clientY, pointerId: 1 }));
          const begun = performance.now();
          act("pointerdown", places[0]);
          for (const place of places) {
            act("pointermove", place);
            await new Promise((go) => setTimeout(go));
          }
          act("pointerup", places.at(-1));
          return performance.now() - begun;
        }""",
        places,
    )
    expect_place(page, "step 1500 live False")
    assert page.evaluate("window.sent") <= 2 + 12.5 * milliseconds / 1000
    expect(page.get_by_text(re.compile(r"^heard .*\b1500\]$"))).to_be_visible(timeout=15_000)


def test_new_snapshots_leave_the_place_and_are_counted_until_live(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    page.locator(".scrubber").evaluate("(root) => { root.dataset.first = 'yes'; }")
    press(page, 60)
    expect_place(page, "step 60 live False")
    before = page.locator(".handle").bounding_box()
    track_before = track(page).bounding_box()
    for count in (7, 8, 9):
        add_snapshot(page, count)
    expect(page.locator(".dot")).to_have_count(9)
    expect(page.locator(".live")).to_have_text("Newest· 3 new")
    after = page.locator(".handle").bounding_box()
    assert after["x"] == pytest.approx(before["x"], abs=0.5)
    assert track(page).bounding_box()["width"] == track_before["width"]
    page.locator(".live").click()
    expect_place(page, "step 160 live True")
    expect_place(page, "changed ['live']")
    expect(page.locator(".label")).to_have_text("step 160")
    add_snapshot(page, 10)
    expect(page.locator(".label")).to_have_text("step 180")
    expect(page.locator(".live")).to_have_text("Newest")
    assert page.locator(".scrubber").get_attribute("data-first") == "yes"


def test_pressing_live_again_stays_at_this_step(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    page.locator(".live").click()
    expect_place(page, "step 100 live False")
    add_snapshot(page, 7)
    expect(page.locator(".live")).to_have_text("Newest· 1 new")
    expect(page.locator(".label")).to_have_text("step 100")


def test_a_page_that_only_repeats_itself_does_not_pull_the_person_back(open_demo: Callable[..., Page]) -> None:
    page = open_demo("deaf")
    press(page, 40)
    expect_place(page, "step 40 live False")
    add_snapshot(page, 7)
    expect(page.locator(".dot")).to_have_count(7)
    expect(page.locator(".label")).to_have_text("step 40")
    expect_place(page, "step 40 live False")


def test_the_page_can_move_the_person(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    press(page, 80)
    expect_place(page, "step 80 live False")
    page.get_by_role("button", name="Page goes to step 40").click()
    expect(page.locator(".label")).to_have_text("step 40")
    expect_place(page, "step 40 live False")


def test_keys_move_between_snapshots(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=12&shown=120")
    track(page).focus()
    for key, step in [
        ("ArrowLeft", 100),
        ("ArrowRight", 120),
        ("PageUp", 220),
        ("PageDown", 120),
        ("Home", 0),
        ("End", 220),
    ]:
        page.keyboard.press(key)
        expect(track(page)).to_have_attribute("aria-valuenow", str(step))
    expect(track(page)).to_have_attribute("aria-valuetext", "step 220, snapshot 12 of 12")
    expect(track(page)).to_have_attribute("aria-valuemax", "220")
    expect_place(page, "step 220 live False")
    page.keyboard.press("Home")
    expect(track(page)).to_have_attribute("aria-valuetext", "before training, snapshot 1 of 12")
    expect_place(page, "step 0 live False")
    ring = page.locator(".handle").evaluate("(handle) => getComputedStyle(handle).outlineStyle")
    assert ring == "solid"


def test_keys_stay_inside_the_widget(open_demo: Callable[..., Page]) -> None:
    page = open_demo()
    page.evaluate("() => { window.keys = []; document.addEventListener('keydown', (e) => window.keys.push(e.key)); }")
    track(page).focus()
    for key in ("r", "c", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("window.keys") == []


def test_play_starts_from_before_at_the_end_and_stops_at_the_end(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=4")
    keep_labels(page)
    page.get_by_role("button", name="Play").click()
    was_shown(page, "step 0 · before")
    expect_place(page, "step 60 live False playing False")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    steps = heard(page)
    assert list(dict.fromkeys(steps)) == sorted(set(steps))
    assert {0, 60} <= set(steps)


def test_space_plays_and_pauses(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=200&shown=20")
    keep_labels(page)
    track(page).focus()
    page.keyboard.press(" ")
    expect_place(page, "live False playing True")
    was_shown(page, "step 60")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press(" ")
    expect_place(page, "live False playing False")
    held = int(track(page).get_attribute("aria-valuenow"))
    expect_place(page, f"step {held} live False playing False")
    assert 60 <= held < 3980


def test_dragging_stops_play(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=200&shown=20")
    keep_labels(page)
    page.get_by_role("button", name="Play").click()
    was_shown(page, "step 60")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    press(page, 200)
    expect_place(page, "playing False")
    held = int(track(page).get_attribute("aria-valuenow"))
    expect_place(page, f"step {held} live False playing False")


def test_the_page_can_start_play(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=3")
    keep_labels(page)
    page.get_by_role("button", name="Page starts it").click()
    was_shown(page, "step 20")
    expect_place(page, "step 40 live False playing False")


def test_reduced_motion_plays_without_animation(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=3", reduced_motion="reduce")
    glide = page.locator(".handle").evaluate("(handle) => getComputedStyle(handle).transitionDuration")
    assert glide == "0s"
    page.get_by_role("button", name="Play").click()
    expect_place(page, "step 40 live False playing False")


def test_a_finished_run_offers_the_newest(open_demo: Callable[..., Page]) -> None:
    page = open_demo("done&shown=20")
    expect(page.locator(".live")).to_have_text("Newest")
    page.locator(".live").click()
    expect_place(page, "step 100 live True")
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "true")


def test_one_snapshot_says_that_more_will_come(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=1")
    expect(page.locator(".words")).to_have_text("Step 0; more will come as training goes on")
    expect(track(page)).to_have_attribute("aria-disabled", "true")
    expect(page.locator(".play")).to_be_disabled()
    press(page, 200)
    add_snapshot(page, 2)
    expect(page.locator(".label")).to_have_text("step 20")
    expect(page.locator(".words")).to_be_empty()
    expect(page.locator(".play")).to_be_enabled()
    expect_place(page, "step 20 live True")


def test_the_row_keeps_its_height_from_no_snapshot_on(open_demo: Callable[..., Page]) -> None:
    page = open_demo("count=0")
    row = page.locator(".scrubber")
    assert row.bounding_box()["height"] == 44
    expect(page.locator(".play")).to_be_hidden()
    for count in (1, 2):
        add_snapshot(page, count)
        assert row.bounding_box()["height"] == 44
    expect(page.locator(".play")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_into_340_pixels(open_demo: Callable[..., Page], scheme: str) -> None:
    page = open_demo("count=1", viewport={"width": 372, "height": 700}, color_scheme=scheme)
    row = page.locator(".scrubber")
    assert row.bounding_box()["width"] == 340
    fits = "(words) => words.scrollWidth <= words.clientWidth && words.scrollHeight <= words.clientHeight"
    assert page.locator(".words").evaluate(fits)
    for count in range(2, 6):
        add_snapshot(page, count)
    page.locator(".live").click()
    expect_place(page, "step 80 live False")
    add_snapshot(page, 6)
    expect(page.locator(".live")).to_contain_text("· 1")
    assert page.locator(".live").evaluate("(button) => button.scrollWidth <= button.clientWidth")
    assert row.evaluate("(row) => row.scrollWidth <= row.clientWidth")
    edges = page.locator(".edge, .label").evaluate_all(
        """(all) => all.filter((one) => getComputedStyle(one).visibility === "visible")
          .map((one) => one.getBoundingClientRect()).map((box) => [box.left, box.right]).sort((a, b) => a[0] - b[0])"""
    )
    assert all(left[1] <= right[0] for left, right in pairwise(edges))


def test_a_finger_drags_without_scrolling_the_page(open_demo: Callable[..., Page]) -> None:
    page = open_demo(viewport={"width": 390, "height": 500}, has_touch=True, is_mobile=True)
    assert track(page).evaluate("(track) => getComputedStyle(track).touchAction") == "none"
    touch = page.context.new_cdp_session(page)
    x, y = point(page, 80)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    x, y = point(page, 22)
    touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + 15}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".label")).to_have_text("step 20")
    expect_place(page, "step 20 live False")
