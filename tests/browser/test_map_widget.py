"""The live map in a real browser: what the person did survives every update, and Python hears only ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

DEMOS = Path(__file__).parent / "demos"
sys.path.insert(0, str(DEMOS))
from map_demo import demo_frame

pytestmark = pytest.mark.browser

CANVAS = ".over"


@pytest.fixture(scope="module")
def url(start_streamlit: Callable[..., Any]) -> str:
    return start_streamlit(DEMOS / "map_demo.py").url


@pytest.fixture
def open_map(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """`open_map(query, **context options)` gives a page whose map stands still; fails on any error of the page."""
    contexts, errors = [], []

    def opened(query: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "BidiComponent" in said.text else None)
        page.goto(f"{url}/?{query}")
        still(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def js(page: Page, code: str, *given: Any) -> Any:
    """Value of `code` in which `map` is the page's LiveMap and `a` the given arguments."""
    return page.locator(CANVAS).evaluate(f"(canvas, a) => {{ const map = canvas.labMap; return {code}; }}", list(given))


def still(page: Page, step: int | None = None) -> None:
    """Waits until the map shows `step` (when given) and nothing moves."""
    page.locator(CANVAS).wait_for()
    page.wait_for_function(
        """(step) => {
          for (const host of document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')) {
            const map = host.shadowRoot?.querySelector(".over")?.labMap;
            if (!map?.frame) continue;
            const arrived = step === null || map.frame.step === step;
            return arrived && map.glide.share >= 1 && !map.move && !map.asked;
          }
          return false;
        }""",
        arg=step,
    )


def next_step(page: Page) -> None:
    before = js(page, "map.frame.step")
    page.get_by_role("button", name="Next step").click()
    still(page, before + 30)


def screen(page: Page) -> np.ndarray:
    """Places of the points in CSS pixels from the canvas's top left, (N, 2)."""
    flat = js(page, "[...map.screenPlaces().slice(0, 3 * map.frame.ids.length)]")
    return np.array(flat).reshape(-1, 3)[:, :2]


def corner(page: Page) -> tuple[float, float]:
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    return box["x"], box["y"]


def drag(page: Page, corners: list[tuple[float, float]], key: str | None = None) -> None:
    left, top = corner(page)
    if key:
        page.keyboard.down(key)
    page.mouse.move(left + corners[0][0], top + corners[0][1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(left + x, top + y, steps=4)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


def click_point(page: Page, row: int) -> None:
    left, top = corner(page)
    x, y = screen(page)[row]
    page.mouse.click(left + x, top + y)


def hidden_centre(page: Page) -> tuple[list[tuple[float, float]], np.ndarray]:
    """A rectangle around the middle of the picture, and which points lie in it."""
    places = screen(page)
    x, y = np.median(places, axis=0)
    w, h = 60.0, 45.0
    inside = (abs(places[:, 0] - x) < w) & (abs(places[:, 1] - y) < h)
    return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h), (x - w, y - h)], inside


def far_point(page: Page) -> int:
    """A row with nothing else within 12 pixels, inside the canvas."""
    places = screen(page)
    away = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(away, np.inf)
    return int(away.min(axis=1).argmax())


def test_the_browser_reads_what_python_packed(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    sent = demo_frame(60, 2000, 10, 2, "umap", "light")
    got = np.array(js(page, "[...map.frame.positions]")).reshape(-1, 3)[:, :2]
    np.testing.assert_allclose(got, sent.positions, atol=float(np.ptp(sent.positions)) / 60_000)
    assert js(page, "[...map.frame.ids]") == sent.ids.tolist()
    assert js(page, "[...map.frame.labels]") == sent.labels.tolist()
    assert js(page, "[...map.frame.heldOut]") == sent.held_out.astype(int).tolist()


def test_wedges_lie_around_their_stars_where_the_circle_is_flat(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60&method=head&classes=4")
    painted = """a.map((away) => {
      const { camera, frame } = map, canvas = map.chrome.under, ratio = canvas.width / camera.width;
      const turn = Math.atan2(frame.proxies[1], frame.proxies[0]) + away;
      const [x, y] = camera.project([0.7 * Math.cos(turn), 0.7 * Math.sin(turn), 0], [0, 0, 0]);
      return canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data[3] > 20;
    })"""
    assert js(page, painted, -0.08, -0.03, 0.03, 0.08, 0.13) == [False, True, True, True, False]
    js(page, "map.setHidden([0])")
    still(page)
    assert js(page, painted, -0.03, 0.03) == [False, False]


def test_zoom_and_lasso_live_through_ten_updates_on_one_canvas(open_map: Callable[..., Page]) -> None:
    page = open_map("step=30")
    left, top = corner(page)
    page.mouse.move(left + 400, top + 250)
    page.mouse.wheel(0, -300)
    corners, _ = hidden_centre(page)
    drag(page, corners, key="Shift")
    page.locator(CANVAS).evaluate("canvas => canvas.dataset.first = 'yes'")
    camera, lasso, places = js(page, "map.camera.pose()"), js(page, "map.shared.lasso.value"), screen(page)
    assert len(lasso) > 5
    for _ in range(10):
        next_step(page)
        assert js(page, "map.camera.pose()") == camera
        assert js(page, "map.shared.lasso.value") == lasso
    assert page.locator(CANVAS).get_attribute("data-first") == "yes"
    assert np.abs(screen(page) - places).max() > 20
    expect(page.get_by_text(f"lasso {len(lasso)} ")).to_be_visible()


def test_the_camera_follows_until_the_person_zooms(open_map: Callable[..., Page]) -> None:
    page = open_map("step=0")
    start = js(page, "map.camera.scale")
    next_step(page)
    followed = js(page, "map.camera.scale")
    assert followed != pytest.approx(start, rel=1e-3)
    page.locator(CANVAS).press("+")
    still(page)
    expect(page.get_by_text("follow False")).to_be_visible()
    zoomed = js(page, "map.camera.scale")
    assert zoomed == pytest.approx(1.5 * followed, rel=1e-6)
    next_step(page)
    assert js(page, "map.camera.scale") == zoomed
    page.get_by_role("button", name="Follow: keep everything in view").click()
    expect(page.get_by_text("follow True")).to_be_visible()
    still(page)
    assert js(page, "map.camera.scale") != pytest.approx(zoomed, rel=1e-3)


def test_a_lasso_takes_exactly_the_points_inside_it(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    corners, inside = hidden_centre(page)
    page.get_by_role("button", name="Lasso (L, or shift-drag)").click()
    drag(page, corners)
    ids = np.arange(2000)[inside] * 3 + 5
    assert js(page, "map.shared.lasso.value") == ids.tolist()
    expect(page.get_by_text(f"lasso {len(ids)} ")).to_be_visible()
    page.locator(CANVAS).press("Escape")
    expect(page.get_by_text("lasso 0 ")).to_be_visible()


def test_a_click_picks_the_nearest_point_and_its_neighbours_light_up(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    row = far_point(page)
    click_point(page, row)
    expect(page.get_by_text(f"picked {row * 3 + 5} ")).to_be_visible()
    expect(page.locator(".said")).to_contain_text(f"number {row * 3 + 5}")
    places = screen(page)
    page.locator(CANVAS).evaluate(
        "canvas => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    neighbours = js(page, "map.neighbours()")
    nearest = np.argsort(np.linalg.norm(places - places[row], axis=1))[1:9]
    assert sorted(neighbours) == sorted((nearest * 3 + 5).tolist())
    assert js(page, "map.look.colours[4 * a[0] + 3]", int(nearest[0])) == 255
    others = set(range(2000)) - {row, *nearest.tolist()}
    assert js(page, "map.look.colours[4 * a[0] + 3]", others.pop()) < 128
    page.locator(CANVAS).press("Escape")
    expect(page.get_by_text("picked None")).to_be_visible()


def test_the_tooltip_and_the_legend_show_names_as_text(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    places, left_top = screen(page), corner(page)
    row = int(np.flatnonzero(np.arange(2000) % 10 == 0)[0])
    page.mouse.move(left_top[0] + places[row, 0], left_top[1] + places[row, 1])
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    shown = js(page, "map.frame.names[map.frame.labels[map.hovered]]")
    expect(tip).to_contain_text(shown)
    expect(page.locator(".legend").get_by_text("<b>bold</b>")).to_be_visible()
    assert page.locator(".map b").count() == 0


def test_the_legend_hides_a_class_from_eye_and_hand(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    entry = page.locator('.entry[data-label="7"]')
    entry.locator(".swatch").click()
    expect(entry).to_have_attribute("aria-label", "class 7, hidden")
    expect(page.get_by_text("hidden (7,)")).to_be_visible()
    assert js(page, "[...map.look.order].some((row) => map.frame.labels[row] === 7)") is False
    next_step(page)
    assert js(page, "[...map.look.order].some((row) => map.frame.labels[row] === 7)") is False
    corners, inside = hidden_centre(page)
    drag(page, corners, key="Shift")
    lassoed = set(js(page, "map.shared.lasso.value"))
    assert lassoed == {3 * row + 5 for row in np.flatnonzero(inside) if row % 10 != 7}
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_text("hidden ()")).to_be_visible()


def test_a_name_in_the_legend_selects_its_class_and_keys_walk_through_it(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    page.locator('.entry[data-label="7"] .name').click()
    lassoed = js(page, "map.shared.lasso.value")
    assert lassoed == sorted(3 * row + 5 for row in range(2000) if row % 10 == 7)
    assert js(page, "map.shared.hidden.value") == []
    page.keyboard.press("ArrowDown")
    page.keyboard.press("h")
    assert js(page, "map.shared.hidden.value") == [
        js(page, "Number(map.chrome.root.getRootNode().activeElement.dataset.label)")
    ]
    assert page.locator('.entry[tabindex="0"]').count() == 1  # one stop of the Tab key
    page.locator('.entry[data-label="7"] .name').click()
    assert js(page, "map.shared.lasso.value") == []  # again: the selection is let go


def test_hovering_the_legend_lights_one_class(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    page.locator('.entry[data-label="8"]').hover()
    alphas = np.array(js(page, "[...map.look.colours].filter((_, i) => i % 4 === 3)"))[:2000]
    assert (alphas[np.arange(2000) % 10 == 8] == 255).all()
    assert (alphas[np.arange(2000) % 10 != 8] < 128).all()


def test_a_long_legend_can_be_searched(open_map: Callable[..., Page]) -> None:
    page = open_map("classes=62")
    page.locator('[data-tool="legend"]').click()
    page.get_by_role("searchbox", name="Find a class").fill("class 6")
    assert page.locator(".entry:visible .name").all_text_contents() == ["class 60", "class 61", "class 6"]


def test_keys_move_the_camera_and_never_reach_streamlit(open_map: Callable[..., Page]) -> None:
    page = open_map("classes=62")
    page.locator('[data-tool="legend"]').click()
    canvas = page.locator(CANVAS)
    fitted = js(page, "map.camera.pose()")
    canvas.press("ArrowRight")
    canvas.press("ArrowUp")
    still(page)
    x, y, _ = js(page, "map.camera.target")
    assert x == pytest.approx(fitted["target"][0] + 48 / fitted["scale"], rel=1e-6)
    assert y == pytest.approx(fitted["target"][1] + 48 / fitted["scale"], rel=1e-6)
    canvas.press("-")
    still(page)
    assert js(page, "map.camera.scale") == pytest.approx(fitted["scale"] / 1.5)
    canvas.press("0")
    still(page)
    assert js(page, "map.camera.scale") == pytest.approx(fitted["scale"])
    canvas.press("l")
    assert js(page, "map.lassoMode") is True
    for key in ("r", "c"):
        canvas.press(key)
        page.get_by_role("searchbox", name="Find a class").press(key)
    next_step(page)
    expect(page.get_by_text("scripts 2")).to_be_visible()  # the first run and the step's, none for "r"
    assert page.get_by_role("dialog").count() == 0


def test_letters_reach_the_map_from_anywhere_on_the_page_but_a_text_field(open_map: Callable[..., Page]) -> None:
    page = open_map("classes=62")
    started = js(page, "map.camera.pose()")
    page.keyboard.press("l")  # nobody has touched the page
    assert js(page, "map.lassoMode")
    box = page.get_by_role("checkbox", name="3-D", include_hidden=True)
    box.focus()
    for key in ("Escape", "+"):
        page.keyboard.press(key)
    still(page)
    assert not js(page, "map.lassoMode")
    assert js(page, "map.camera.pose()")["scale"] > started["scale"]
    page.keyboard.press("0")
    still(page)
    page.locator('[data-tool="legend"]').click()
    for field in (page.get_by_role("combobox", name="Method"), page.get_by_role("searchbox", name="Find a class")):
        field.focus()
        page.keyboard.press("l")
        assert not js(page, "map.lassoMode")
        field.blur()


def test_the_wheel_keeps_what_is_under_it(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    left, top = corner(page)
    before = js(page, "map.camera.place(300, 200)")
    page.mouse.move(left + 300, top + 200)
    page.mouse.wheel(0, -240)
    still(page)
    assert js(page, "map.camera.place(300, 200)") == pytest.approx(before, abs=1e-9)
    page.mouse.dblclick(left + 300, top + 200)
    still(page)
    assert js(page, "map.camera.place(300, 200)") == pytest.approx(before, abs=1e-9)


def test_points_glide_from_where_they_are_seen(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    seen, started = js(
        page,
        """(() => {
          const positions = map.frame.positions.map((value) => 40 - 7 * value);
          const next = { ...map.frame, method: "pca", space: "another", positions };
          const before = [...map.screenPlaces()];
          map.take(next);
          return [before, [...map.screenPlaces()]];
        })()""",
    )
    assert np.abs(np.array(seen) - np.array(started)).reshape(-1, 3)[:2000, :2].max() < 0.05
    still(page)
    assert np.abs(np.array(seen).reshape(-1, 3)[:2000, :2] - screen(page)).max() > 50


def test_a_point_keeps_its_identity_when_others_come_and_go(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    moved, fresh = js(
        page,
        """(() => {
          const old = map.frame, kept = 1000, last = old.ids.length - kept;
          const next = { ...old, ids: old.ids.map((id, i) => (i < kept ? old.ids[last + i] : 900000 + i)) };
          const before = map.presentPlaces().slice(3 * last, 3 * last + 3 * kept);
          map.take(next);
          const after = map.presentPlaces().slice(0, 3 * kept);
          const moved = Math.max(...before.map((value, i) => Math.abs(value - after[i])));
          return [moved, [...map.view.fresh.slice(0, 2000)]];
        })()""",
    )
    assert moved == 0
    assert fresh == [0] * 1000 + [1] * 1000


def test_reduced_motion_means_no_glide(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60", reduced_motion="reduce")
    mirrored = "{ ...map.frame, positions: map.frame.positions.map((value) => -value) }"
    assert js(page, f"(map.take({mirrored}), [map.glide.share, map.move])") == [1, None]


def painted(page: Page) -> int:
    """How many pixels of the points' layer are not empty, drawn afresh."""
    return js(
        page,
        """(() => {
          map.drawAll();
          const copy = document.createElement("canvas");
          [copy.width, copy.height] = [map.chrome.points.width, map.chrome.points.height];
          const pen = copy.getContext("2d");
          pen.drawImage(map.chrome.points, 0, 0);
          const bytes = pen.getImageData(0, 0, copy.width, copy.height).data;
          let count = 0;
          for (let i = 3; i < bytes.length; i += 4) if (bytes[i] > 40) count++;
          return count;
        })()""",
    )


def test_without_webgl2_the_same_picture_is_drawn_and_said(open_map: Callable[..., Page]) -> None:
    with_gl, without = open_map("step=60"), open_map("step=60&nogl")
    assert js(with_gl, "map.painter.kind") == "webgl2"
    assert js(without, "map.painter.kind") == "canvas"
    assert painted(without) == pytest.approx(painted(with_gl), rel=0.15)
    expect(without.locator(".facts")).to_contain_text("drawn without WebGL2")


def test_a_lost_context_is_said_and_comes_back(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    before = painted(page)
    js(page, "(map.loss = map.painter.gl.getExtension('WEBGL_lose_context')).loseContext()")
    expect(page.locator(".facts")).to_contain_text("graphics card went away")
    js(page, "map.loss.restoreContext()")
    expect(page.locator(".facts")).not_to_contain_text("graphics card went away")
    assert painted(page) == before


def test_the_line_of_facts_tells_the_truth(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    facts = page.locator(".facts")
    for words in ("showing 2,000 of 2,232", "UMAP", "step 60", "kNN kept 62 %", "trustworthiness .91"):
        expect(facts).to_contain_text(words)
    label = page.locator(CANVAS).get_attribute("aria-label")
    assert label is not None
    assert "2000 of 2232 samples by UMAP, step 60: 1000 held-out, 1000 training" in label


def test_three_dimensions_turn_and_keep_their_turn(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60&dims=3&method=head")
    drag(page, [(300, 300), (400, 260)])
    yaw, pitch = js(page, "[map.camera.yaw, map.camera.pitch]")
    assert yaw == pytest.approx(0.5 - 0.8, abs=0.1)
    assert pitch == pytest.approx(0.35 - 0.32, abs=0.1)
    next_step(page)
    assert js(page, "[map.camera.yaw, map.camera.pitch]") == [yaw, pitch]


def test_the_picture_is_saved_as_png(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as PNG").click()
    saved = waiting.value
    assert saved.suggested_filename == "umap-step-60.png"
    assert Path(saved.path()).read_bytes().startswith(b"\x89PNG")
    assert Path(saved.path()).stat().st_size > 20_000


def test_on_a_phone_the_legend_folds_below_and_the_page_still_scrolls(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60", viewport={"width": 380, "height": 800}, has_touch=True, is_mobile=True)
    stage, legend = page.locator(".stage").bounding_box(), page.locator(".legend").bounding_box()
    assert stage is not None
    assert legend is not None
    assert legend["y"] >= stage["y"] + stage["height"]
    assert stage["height"] <= 0.62 * 800 + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    touch = page.locator(CANVAS).evaluate("canvas => canvas.style.touchAction")
    assert touch == "pan-y"  # while everything is in view one finger scrolls the page
    row = far_point(page)
    left, top = corner(page)
    x, y = screen(page)[row]
    page.touchscreen.tap(left + x, top + y)
    expect(page.get_by_text(f"picked {row * 3 + 5} ")).to_be_visible()


def test_one_finger_never_pushes_a_flat_map_away(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60", viewport={"width": 380, "height": 800}, has_touch=True, is_mobile=True)
    js(page, "map.zoomAt(2, 100, 100)")
    assert page.locator(CANVAS).evaluate("canvas => canvas.style.touchAction") == "pan-y"  # also when it is held
    before = js(page, "map.camera.pose()")
    box = page.locator(CANVAS).bounding_box()
    finger = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x + 12 * step, "y": y}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert js(page, "map.camera.pose()") == before


def test_a_map_that_goes_cleans_up_and_comes_back_with_the_view_it_had(open_map: Callable[..., Page]) -> None:
    page = open_map("step=60")
    page.locator(CANVAS).focus()
    page.keyboard.press("+")
    still(page)
    pose = js(page, "map.camera.pose()")
    gone = page.locator(CANVAS).evaluate_handle("canvas => canvas.labMap")
    page.get_by_text("Map", exact=True).click()
    expect(page.locator(CANVAS)).to_have_count(0)
    assert gone.evaluate("map => [map.frame, map.painter.gl.isContextLost()]") == [None, True]
    page.get_by_text("Map", exact=True).click()
    still(page)
    assert painted(page) > 5000
    assert js(page, "map.camera.pose()") == pose
    next_step(page)
    assert js(page, "[map.follow, map.camera.pose()]") == [False, pose]
    page.reload()
    still(page)
    assert js(page, "[map.follow, map.camera.pose()]") == [False, pose]


def test_an_update_sends_less_than_30_kb(open_map: Callable[..., Page], url: str) -> None:
    page = open_map("step=0")
    sizes: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: sizes.append(len(data))))
    page.goto(f"{url}/?step=0")
    still(page)
    next_step(page)
    sizes.clear()
    next_step(page)
    assert 10_000 < sum(sizes) <= 30_000
