"""A person's own images, from the upload to what a search returns, in a real browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import archive, image_bytes
from page_driver import press_start, wait_for_map, wait_until_drawn
from patience import until
from PIL import Image
from playwright.sync_api import Page, expect

from mlcore.data.store import all_sets, read_index
from mlcore.runs.folder import Runs
from mlcore.runs.states import RunState

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
WAIT_MS = 60_000
CLASSES, EACH = 6, 8


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("lab") / "runs")


@pytest.fixture(scope="module")
def server(start_streamlit: Callable[..., Any], runs: Runs) -> Any:
    return start_streamlit(APP, LAB_RUNS=str(runs.root))


def drawing(label: int, number: int) -> Image.Image:
    """One of a class: its own pattern of stripes, in noise of its own."""
    random = np.random.default_rng([label, number])
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    angle = np.pi * label / CLASSES
    waves = np.sin((np.cos(angle) * across + np.sin(angle) * down) * 0.6 + random.uniform(0, 6))
    return Image.fromarray((127 + 70 * waves + random.normal(0, 25, (32, 32))).clip(0, 255).astype(np.uint8))


def photographs(path: Path) -> Path:
    """A zip of six classes, with one image that is there twice and one that is none."""
    files = {
        f"shop/kind {label}/{number}.png": image_bytes(drawing(label, number))
        for label in range(CLASSES)
        for number in range(EACH)
    }
    files["shop/kind 0/again.png"] = files["shop/kind 0/0.png"]
    files["shop/kind 1/broken.png"] = files["shop/kind 1/0.png"][:60]
    return archive(path, files)


def own_sets(runs: Runs) -> list[Any]:
    return all_sets(runs.root.parent / "data")


def add_images(page: Page, url: str, path: Path) -> None:
    page.goto(f"{url}/data")
    page.get_by_text("Add your own images").click(timeout=WAIT_MS)
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_enabled(timeout=WAIT_MS)
    wait_until_drawn(page)
    page.get_by_role("button", name="Import", exact=True).click()


def test_upload_clean_split_train_retrieve(page, server, runs, tmp_path):
    add_images(page, server.url, photographs(tmp_path / "shop.zip"))
    expect(page.get_by_role("heading", name="shop")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("1 file left out")).to_be_visible()
    (imported,) = own_sets(runs)
    assert imported.counts["images"] == CLASSES * EACH + 1
    assert not list((runs.root.parent / "data" / ".uploads").iterdir())

    page.get_by_text("Prepare", exact=True).click()
    page.wait_for_url("**view=prepare*", timeout=WAIT_MS)
    page.go_back()
    expect(page.get_by_label("Find a class")).to_be_visible(timeout=WAIT_MS)
    page.go_forward()
    expect(page.get_by_text("1 pair; 1 image would go.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="again.png: goes").click()
    expect(page.get_by_role("button", name="again.png: kept by you")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="again.png: kept by you").click()
    expect(page.get_by_role("button", name="again.png: goes")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("1 of 49 images dropped; 48 images in 6 classes stay")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_text("None yet.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Redo").click()
    expect(page.get_by_text("1 of 49 images dropped; 48 images in 6 classes stay")).to_be_visible(timeout=WAIT_MS)

    page.get_by_text("Split", exact=True).last.click()
    expect(page.get_by_text("train 24 images in 3 classes")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("Split: test 24, train 24")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Save 48 images as a new set").click()
    expect(page.get_by_role("heading", name="shop, prepared")).to_be_visible(timeout=WAIT_MS)
    prepared = next(facts for facts in own_sets(runs) if facts.id != imported.id)
    assert read_index(prepared.folder)["split"].value_counts().to_dict() == {"train": 24, "test": 24}

    page.get_by_role("button", name="Train on it").click()
    wait_for_map(page)
    run = runs.open(press_start(page))
    wait_for_map(page, run.spec.budget.steps)
    assert (run.spec.dataset.key, run.spec.dataset.split) == (prepared.id, "official")
    expect(page.get_by_text("Unseen classes: MAP@R")).to_be_visible(timeout=WAIT_MS)
    assert run.state == RunState.DONE
    expect(page.get_by_role("radio", name="Search")).to_be_visible()
    expect(page.get_by_role("button", name="kind").first).to_be_visible(timeout=WAIT_MS)


def test_two_losses_are_started_at_once_and_stand_side_by_side(page, server, runs):
    page.goto(f"{server.url}/?s.dataset=digits&s.dataset.split=sample&s.backbone=mlp&s.budget.steps=60")
    wait_for_map(page)
    page.get_by_role("combobox", name="Compare with").click()
    page.keyboard.type("Triplet margin")
    page.get_by_role("option", name="Triplet margin", exact=True).click(timeout=WAIT_MS)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Start 2 runs").click(timeout=WAIT_MS)
    page.get_by_role("link", name="2 losses side by side").click(timeout=WAIT_MS)
    page.wait_for_url("**/runs*", timeout=WAIT_MS)
    states = page.locator(".st-key-runs-states").get_by_role("button").filter(has_text=re.compile(r"\w"))
    expect(states).to_have_text(["done 2"], timeout=WAIT_MS)
    pair = [run for run in runs.all() if run.label().note.startswith("2 losses")]
    assert sorted(run.spec.loss.key for run in pair) == ["arcface", "triplet_margin"]
    assert len({run.spec.seed for run in pair}) == 1


def test_what_was_sent_and_not_imported_goes_when_the_person_leaves(browser, server, runs, tmp_path):
    uploads, context = runs.root.parent / "data" / ".uploads", browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/data")
    page.get_by_text("Add your own images").click(timeout=WAIT_MS)
    page.locator("input[type=file]").set_input_files(photographs(tmp_path / "left.zip"))
    expect(page.get_by_text("none is opened yet")).to_be_visible(timeout=WAIT_MS)
    assert len(list(uploads.iterdir())) == 1
    context.close()
    until(lambda: not list(uploads.iterdir()))


def test_a_hostile_upload_is_told_in_a_sentence_and_nothing_comes_of_it(page, server, runs, tmp_path):
    before = sorted(os.listdir(tmp_path)), len(own_sets(runs))
    hostile = archive(tmp_path / "hostile.zip", {"../../out.png": image_bytes(drawing(0, 0))})
    add_images(page, server.url, hostile)
    expect(page.get_by_text("is refused, because of its entry")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("is refused, because of its entry")).to_have_count(0, timeout=WAIT_MS)
    assert (sorted(set(os.listdir(tmp_path)) - {"hostile.zip"}), len(own_sets(runs))) == before
