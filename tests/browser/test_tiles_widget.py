"""Image tiles in a real browser: the right piece of the atlas, right and wrong told by shape, ids back to Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

DEMO = Path(__file__).parent / "demos" / "tiles_demo.py"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(start_streamlit: Callable[..., Any]) -> str:
    return start_streamlit(DEMO).url


@pytest.fixture
def open_tiles(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    contexts, errors = [], []

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_function("() => globalThis.__labAtlases?.demo")
        expect(page.locator(".tile")).to_have_count(122)  # 1 + 8 + 8, 1 + 4, 100
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def middle_colour(page: Page, tile: Locator) -> tuple[int, int, int]:
    """The colour in the middle of a tile as the eye sees it, read from the atlas by the tile's own background place."""
    return tuple(
        tile.evaluate(
            """async (button) => {
              const css = getComputedStyle(button.querySelector(".image"));
              const image = new Image();
              image.src = css.backgroundImage.slice(5, -2);
              await image.decode();
              const side = parseFloat(css.width);
              const [wide, high] = css.backgroundSize.split(" ").map((share) => (parseFloat(share) / 100) * side);
              const [right, down] = css.backgroundPosition.split(" ").map((share) => parseFloat(share) / 100);
              const [x, y] = [right * (side - wide), down * (side - high)];
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [image.width, image.height];
              const pen = canvas.getContext("2d");
              pen.drawImage(image, 0, 0);
              const shrink = image.width / wide, half = side / 2;
              return [...pen.getImageData(shrink * (half - x), shrink * (half - y), 1, 1).data.slice(0, 3)];
            }"""
        )
    )


def test_each_tile_shows_its_own_image(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    for tile in (5, 13, 37):
        found = page.locator(f'.row:has-text("Query 5") .tile[data-tile="{tile}"]')
        assert middle_colour(page, found) == (2 * tile, 255 - 2 * tile, 90)
    assert middle_colour(page, page.locator('.tile[data-tile="99"]')) == (198, 57, 90)


def test_the_atlas_may_come_after_those_who_show_it_and_comes_once(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    # the demo sends it last; a picture made from it shows that those before heard of its arrival
    expect(page.locator(".tile .image").first).to_have_attribute("style", re.compile("blob:"))
    before = page.evaluate("globalThis.__labAtlases.demo.url")
    page.locator('.tile[data-tile="5"]').first.click()
    expect(page.get_by_text("pressed 5")).to_be_visible()
    assert page.evaluate("globalThis.__labAtlases.demo.url") == before


def test_right_and_wrong_differ_in_shape_and_words(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    right = page.get_by_role("button", name="class r, rank 1, right").first
    wrong = page.get_by_role("button", name="class w, rank 2, wrong").first
    assert right.evaluate("tile => getComputedStyle(tile).borderStyle") == "solid"
    assert wrong.evaluate("tile => getComputedStyle(tile).borderStyle") == "dashed"
    assert (right.locator(".mark").inner_text(), wrong.locator(".mark").inner_text()) == ("✓", "✕")


def test_a_query_stands_apart(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    row = page.locator('.row:has-text("One strip") .tile')
    boxes = [row.nth(i).bounding_box() for i in range(3)]
    starts = [box["x"] for box in boxes if box]
    assert (starts[1] - starts[0]) - (starts[2] - starts[1]) > 8


def test_labels_are_text(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    assert page.get_by_role("button", name="<i>five</i>, query").count() == 1
    assert page.locator(".tiles i").count() == 0


def test_pressing_a_tile_tells_python_its_id_and_keys_walk_the_strip(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    first = page.locator('.tile[data-id="30"]').first
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_text("pressed 31")).to_be_visible()
    assert first.get_attribute("tabindex") == "-1"


def test_the_selected_tile_is_marked(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    marked = page.locator('.tile[aria-pressed="true"]')
    assert {tile.get_attribute("data-id") for tile in marked.all()} == {"31"}


def test_empty_rows_say_what_to_do(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    expect(page.get_by_text("Draw a lasso to see its images.")).to_be_visible()
    expect(page.locator('.row:has-text("Empty row") .empty')).to_have_text("Nothing to show yet.")


def test_small_tiles_stay_crisp_when_enlarged(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    rendering = "image => getComputedStyle(image).imageRendering"
    large = page.locator('.row:has-text("Query 5") .image').first
    small = page.locator('.row:has-text("Mosaic") .image').first
    assert (large.evaluate(rendering), small.evaluate(rendering)) == ("pixelated", "auto")


@pytest.mark.parametrize(("width", "stacked"), [(1200, False), (390, True)])
def test_the_two_strips_stand_side_by_side_or_stack(open_tiles: Callable[..., Page], width: int, stacked: bool) -> None:
    page = open_tiles(viewport={"width": width, "height": 900})
    before = page.get_by_text("Before training").bounding_box()
    now = page.get_by_text("Now", exact=True).bounding_box()
    assert before is not None
    assert now is not None
    assert (now["y"] > before["y"] + 40) is stacked
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_map_hovers_with_the_image_of_its_point(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    canvas = page.locator(".over")
    canvas.scroll_into_view_if_needed()
    # rows and tiles agree: row 42 of the demo's frame is tile 42 of the atlas
    x, y = canvas.evaluate("canvas => [...canvas.labMap.screenPlaces().slice(126, 128)]")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(page.locator(".tip .thumb")).to_be_visible()
    row = canvas.evaluate("canvas => canvas.labMap.hovered")
    place = page.locator(".tip .thumb").evaluate("thumb => thumb.style.backgroundPosition")
    assert place == f"{-(row % 10) * 88}px {-(row // 10) * 88}px".replace("-0px", "0px")
    expect(page.locator(".tip")).to_contain_text(f"#{row * 3 + 5}")


def test_the_carriers_take_no_room(open_tiles: Callable[..., Page]) -> None:
    page = open_tiles()
    hidden = page.locator('[data-testid="stElementContainer"]:has([data-testid="stBidiComponentIsolated"])')
    shown = [one.is_visible() for one in hidden.all()]
    assert (len(shown), sum(shown)) == (9, 4)  # three grids and the map are seen, their code and the atlas are not
