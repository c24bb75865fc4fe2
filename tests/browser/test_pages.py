"""Every page in a real browser: nothing leaves the machine, no text from outside is markup, downloads arrive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd
import pytest
import yaml
from damage import copied, lines, records, trained_run
from image_files import image_bytes, picture
from page_driver import open_lab, press
from patience import until
from playwright.sync_api import Page, expect

from mlcore.data.importing import import_path
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.states import RunState

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
WAIT_MS = 30_000
ELSEWHERE = "elsewhere.invalid"
# Everything that Markdown, Streamlit, KaTeX, HTML and Plotly make something of.
HOSTILE = (
    f"[l](http://{ELSEWHERE}/l) ![i](http://{ELSEWHERE}/i.png) <img src=http://{ELSEWHERE}/h.png onerror=hacked()> "
    f"<b>zqb</b> <a href='http://{ELSEWHERE}'>a</a> $zqx^2$ :red[zqr] :material/zoom_in: **zqs** `zqc` "
    f"http://{ELSEWHERE} www.{ELSEWHERE} me@{ELSEWHERE}"
)
SHORT = f"![i](http://{ELSEWHERE}/i.png) <b>zqb</b> $zqx^2$ :material/zoom_in: **zqs** www.{ELSEWHERE}"
# Nodes that no page of the lab has but where a text was taken for markup; in shadow roots, too.
FOUND = """() => {
  const bad = [];
  const walk = (root) => {
    for (const node of root.querySelectorAll("*")) {
      const own = [...node.attributes].map((item) => item.value).join(" ");
      const text = node.textContent ?? "";
      if (["A", "IMG", "image", "use", "IFRAME", "OBJECT"].includes(node.tagName) && own.includes("elsewhere.invalid"))
        bad.push(node.outerHTML.slice(0, 300));
      if (node.hasAttribute("onerror")) bad.push(node.outerHTML.slice(0, 300));
      if (["B", "STRONG", "CODE", "EM"].includes(node.tagName) && ["zqb", "zqs", "zqc"].includes(text))
        bad.push(node.outerHTML.slice(0, 300));
      if (node.classList.contains("katex") && text.includes("zqx")) bad.push("LaTeX: " + text.slice(0, 100));
      if (node.getAttribute("aria-label") === "zoom in icon") bad.push("icon: " + node.parentElement.textContent);
      if (node.tagName === "SPAN" && text === "zqr") bad.push("colour: " + node.outerHTML.slice(0, 200));
      if (node.tagName === "tspan" && text === "zqb") bad.push("chart: " + node.outerHTML.slice(0, 200));
      if (node.shadowRoot) walk(node.shadowRoot);
    }
  };
  walk(document);
  return bad;
}"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("lab") / "runs")


@pytest.fixture(scope="module")
def good(runs) -> RunFolder:
    return trained_run(runs.root)


@pytest.fixture(scope="module")
def hostile_run(runs, good) -> RunFolder:
    """A run in which every text is hostile: names, note, classes, images, warnings, reasons, margin lines."""
    run = copied(good, runs.root)
    birth = json.loads((run.path / "spec.json").read_text())
    birth["spec"]["name"] = SHORT
    (run.path / "spec.json").write_text(json.dumps(birth | {"run_id": run.run_id}))
    run.set_label(name=SHORT, note=HOSTILE)
    names = json.loads((run.path / "watch.json").read_text())
    names["class_names"] = [f"{SHORT} {name}" for name in names["class_names"]]
    names["image_names"] = [f"{HOSTILE} {name}" for name in names["image_names"]]
    (run.path / "watch.json").write_text(json.dumps(names))
    events = run.path / "attempts/001/events-000.jsonl"
    told = records(events.read_bytes())
    for event in told:
        if event["kind"] == "started":
            event["input"] = HOSTILE
        if event["kind"] == "step":
            event["parts"] = {SHORT: 0.5, "other": 0.25}
            event["learning_rates"] = {SHORT: 0.5, "other": 0.25}
        for line in event.get("margin_lines", ()):
            line["text"] = SHORT
    events.write_bytes(lines([*told, {"kind": "warning", "step": 4, "text": HOSTILE}]))
    layouts = run.path / "attempts/001/layouts/manifest.jsonl"
    failed = {"method": "umap-2d", "step": 4, "failed": HOSTILE}
    layouts.write_bytes(layouts.read_bytes() + lines([failed]))
    return run


@pytest.fixture(scope="module")
def failed_run(runs, good) -> RunFolder:
    run = copied(good, runs.root)
    record = json.loads((run.path / "status.json").read_text())
    record |= {"state": RunState.FAILED, "reason_text": HOSTILE}
    (run.path / "status.json").write_text(json.dumps(record))
    (run.path / "attempts/001/worker.log").write_text(HOSTILE)
    run.set_label(name=SHORT)
    return run


@pytest.fixture(scope="module")
def hostile_set(runs, tmp_path_factory) -> str:
    """A set whose title, classes, parents and files are hostile, and some of whose files cannot be read."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = ["file,label,parent"]
    for label in range(3):
        for number in range(4):
            name = f"{label} ![i](http:,,{ELSEWHERE}) {number}.png".replace(",", "")
            (folder / name).write_bytes(image_bytes(picture(label * 10 + number)))
            rows.append(f'"{name}","{label} {SHORT}","{SHORT}"')
    (folder / "broken <b>zqb<b> $zqx^2$.png").write_bytes(b"no image")
    rows.append(f'"broken <b>zqb<b> $zqx^2$.png","0 {SHORT}","{SHORT}"')
    (folder / "labels.csv").write_text("\n".join(rows))
    return import_path(folder / "labels.csv", root=runs.root.parent / "data", title=SHORT).name


@pytest.fixture(scope="module")
def server(start_streamlit: Callable[..., Any], runs: Runs, hostile_run, failed_run, hostile_set) -> Any:
    return start_streamlit(APP, LAB_RUNS=str(runs.root), LAB_DATA=str(runs.root.parent / "data"))


@pytest.fixture
def watched(page: Page, server) -> Page:
    """A page that notes every request which is not to the server itself."""
    outside = []
    ours = urlsplit(server.url).netloc

    def note(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc != ours:
            outside.append(request.url)

    page.on("request", note)
    yield page
    assert outside == []


def rest(page: Page) -> None:
    """Until the page has been drawn."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=WAIT_MS)
    page.wait_for_timeout(700)
    assert page.evaluate(FOUND) == []


def press_row(page: Page, number: int) -> None:
    """Select a row of the table of runs, at its left edge."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 35 * (number + 1) + 17)


def test_no_text_of_a_run_is_markup_and_nothing_leaves_the_machine(watched, server, hostile_run, failed_run):
    page = watched
    open_lab(page, server.url, f"run={hostile_run.run_id}&picked=0")
    expect(page.get_by_role("heading", name="zqb").first).to_be_visible(timeout=WAIT_MS)
    rest(page)
    page.locator(".st-key-lab-curve-first [role=combobox], .st-key-lab-curve-first input").first.click()
    page.get_by_role("option", name="Learning rates").click(timeout=WAIT_MS)
    page.wait_for_timeout(1500)
    rest(page)
    page.mouse.move(700, 420)
    page.get_by_test_id("stPopover").get_by_role("button", name="More").click()
    rest(page)
    for kind in ("Command line", "Python"):
        page.get_by_role("radio", name=kind).click()
        rest(page)
    page.goto(f"{server.url}/?run={failed_run.run_id}")
    page.get_by_text("The end of the worker's log").click(timeout=WAIT_MS)
    rest(page)


def test_no_text_in_the_list_of_runs_is_markup(watched, server, hostile_run):
    page = watched
    page.goto(f"{server.url}/runs?runs.filter={quote(SHORT)}")
    expect(page.get_by_test_id("stDataFrame")).to_be_visible(timeout=WAIT_MS)
    rest(page)
    press_row(page, 0)
    for name in ("Download", "Delete"):
        page.get_by_role("button", name=name, exact=True).click(timeout=WAIT_MS)
        expect(page.get_by_role("dialog")).to_be_visible(timeout=WAIT_MS)
        rest(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    press_row(page, 0)
    page.get_by_role("button", name="Delete", exact=True)


def test_no_text_of_a_set_is_markup(watched, server, hostile_set):
    page = watched
    page.goto(f"{server.url}/data?set={hostile_set}")
    page.get_by_text("Origin and licence").click(timeout=WAIT_MS)
    rest(page)
    page.get_by_text("left out").first.click()
    page.get_by_role("button", name="Delete").first.click()
    rest(page)
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Prepare").click()
    page.get_by_text("Steps").first.wait_for(timeout=WAIT_MS)
    rest(page)
    page.goto(f"{server.url}/?s.dataset={hostile_set}")
    page.get_by_text("Held out").first.wait_for(timeout=WAIT_MS)
    rest(page)


LINKS = [
    *(
        f"?{name}={quote(HOSTILE)}"
        for name in ("run", "s.loss", "s.dataset", "lesson", "s.name", "s.teacher.run", "map")
    ),
    f"?s.backbone=timm&s.backbone.model={quote(SHORT)}",
    f"?s.loss.margin={quote(HOSTILE)}",
    f"losses?loss={quote(HOSTILE)}",
    f"losses?loss=arcface&k.margin={quote(HOSTILE)}",
    f"losses?loss=arcface&k.{quote(HOSTILE)}=1",
    f"data?set={quote(HOSTILE)}",
    f"runs?runs.filter={quote(HOSTILE)}",
]


def test_no_text_of_a_link_is_markup(watched, server):
    for link in LINKS:
        watched.goto(f"{server.url}/{link}")
        watched.get_by_test_id("stMainBlockContainer").wait_for(timeout=WAIT_MS)
        watched.wait_for_timeout(1200)
        rest(watched)


def test_a_run_is_downloaded_whole(page, server, runs, good):
    page.goto(f"{server.url}/runs?runs.filter=a good run")
    press_row_when_there(page)
    press(page, "runs.download")
    page.get_by_role("button", name="Save the zip").wait_for(timeout=WAIT_MS)
    page.wait_for_timeout(5000)  # the table behind it is drawn anew every two seconds
    with page.expect_download() as arriving:
        press(page, "runs.save")
    data = Path(arriving.value.path()).read_bytes()
    run = runs.open(arriving.value.suggested_filename.removesuffix(".zip"))  # other tests copy the good run
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        there = {f"{run.run_id}/{path.relative_to(run.path)}" for path in run.path.rglob("*") if path.is_file()}
        assert set(archive.namelist()) == {name for name in there if not Path(name).name.startswith(".")}
        assert archive.read(f"{run.run_id}/spec.json") == (run.path / "spec.json").read_bytes()


@pytest.mark.parametrize("field", ["Name", "Note"])
def test_what_was_typed_is_kept_when_escape_closes_its_window(page, server, runs, good, field):
    run = copied(good, runs.root)
    open_lab(page, server.url, f"run={run.run_id}")
    more = page.get_by_test_id("stPopover").get_by_role("button", name="More")
    typed = page.get_by_role("textbox", name=field)
    more.click()
    typed.fill("typed and left")
    typed.press("Escape")
    expect(typed).to_have_count(0, timeout=WAIT_MS)
    more.click()
    expect(typed).to_have_value("typed and left", timeout=WAIT_MS)
    until(lambda: getattr(run.label(), field.lower()) == "typed and left")


def test_a_sets_table_and_steps_are_downloaded(page, server, hostile_set):
    page.goto(f"{server.url}/data?set={hostile_set}")
    page.get_by_role("radio", name="Prepare").click(timeout=WAIT_MS)
    page.get_by_role("radio", name="Images per class").click(timeout=WAIT_MS)
    page.get_by_label("At most, of a class").fill("2")
    page.get_by_label("At most, of a class").press("Tab")
    press(page, "data.apply")
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_enabled(timeout=WAIT_MS)
    press(page, "data.table")
    with page.expect_download() as table:
        press(page, "data.table.save")
    rows = pd.read_csv(table.value.path())
    assert len(rows) == 6
    assert all(SHORT in label for label in rows["label"])
    page.get_by_role("radio", name="Parquet").click(timeout=WAIT_MS)
    expect(page.get_by_role("button", name=f"Save {hostile_set}.parquet")).to_be_visible(timeout=WAIT_MS)
    with page.expect_download() as packed:
        press(page, "data.table.save")
    assert pd.read_parquet(packed.value.path())["label"].tolist() == rows["label"].tolist()
    page.keyboard.press("Escape")
    with page.expect_download() as plan:
        press(page, "data.plan")
    assert yaml.safe_load(Path(plan.value.path()).read_text())["steps"][0]["step"] == "counts"


def test_failures_are_shown_large_saved_and_picked(watched, server, hostile_run):
    watched.set_viewport_size({"width": 390, "height": 844})
    open_lab(watched, server.url, f"run={hostile_run.run_id}")
    watched.get_by_role("radio", name="Failures").click(timeout=WAIT_MS)
    tiles = watched.locator(".st-key-lab-failures-tiles-0 .tile")
    for name in ("Confused pairs", "Likely wrong labels", "Worst classes", "Hardest images"):
        watched.get_by_role("radio", name=name).click(timeout=WAIT_MS)
        rest(watched)
    first, second = (tiles.nth(place).bounding_box() for place in (1, 2))
    assert first["y"] == second["y"]  # two beside each other on a phone
    assert second["x"] + second["width"] <= 390
    assert 130 < first["width"] <= 166
    painted = "(tile) => tile.firstChild.style.backgroundImage.startsWith('url(\"blob:')"
    expect(tiles.first).to_be_visible()
    until(lambda: tiles.first.evaluate(painted))
    stored = watched.evaluate("Object.values(globalThis.__labAtlases).map((atlas) => atlas.count)")
    assert 40 in stored  # the run's own pictures stay: of all those lists only the last two keep theirs
    assert len(stored) <= 4
    with watched.expect_download() as arriving:
        press(watched, "lab.failures.save")
    rows = pd.read_csv(arriving.value.path())
    assert set(rows["list"]) == {"Hardest images"}
    assert rows["value"].is_monotonic_increasing
    assert str(rows["image id"][0]) == tiles.first.get_attribute("data-id")
    tiles.nth(1).click()
    watched.wait_for_url(f"**picked={tiles.nth(1).get_attribute('data-id')}**", timeout=WAIT_MS)


def press_row_when_there(page: Page) -> None:
    expect(page.get_by_test_id("stDataFrame")).to_be_visible(timeout=WAIT_MS)
    rest(page)
    press_row(page, 0)


def test_charts_follow_when_the_system_turns_dark(page, server):
    text_colour = """() => {
      const text = document.querySelector(".lab-chart .xtick text");
      return text && getComputedStyle(text).fill;
    }"""
    page.goto(f"{server.url}/losses?loss=arcface")
    page.wait_for_function(f"({text_colour})()", timeout=120_000)
    light = page.evaluate(text_colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        f"(light) => ![undefined, null, light].includes(({text_colour})())", arg=light, timeout=120_000
    )
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"(light) => ({text_colour})() === light", arg=light, timeout=120_000)
