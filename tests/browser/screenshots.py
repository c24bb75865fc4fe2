"""Pictures of every page, light and dark, wide and on a phone, with a run in progress: `make screenshots`.

They go to `screenshots/`; the four that the README shows are also written to `app/pictures/` with `--readme`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from conftest import ROOT, StreamlitServer, launch
from page_driver import open_lab, press_start, wait_for_map
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = {"wide": (1400, 900), "phone": (390, 844)}
LAB = "s.dataset=glyphs&s.loss.scale=32&s.budget.steps=300&s.optimizer.schedule=cosine&s.watch.evaluate_every=15"
SETTLE_MS = 2500
README = {"lab-running-light", "lab-running-dark", "losses-light", "data-light"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="also renew the README's pictures")
    options = parser.parse_args()
    target = ROOT / "screenshots"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        environment = {"LAB_RUNS": str(Path(folder) / "runs")}
        server = StreamlitServer(ROOT / "app" / "main.py", Path(folder) / "log.txt", environment)
        try:
            server.wait_until_ready()
            browser = launch(playwright)
            for shade in ("light", "dark"):
                shoot_all(browser, server.url, shade, target, options.readme)
            browser.close()
        finally:
            server.stop()
    print(f"pictures in {target}")
    return 0


def shoot_all(browser: Browser, url: str, shade: str, target: Path, readme: bool) -> None:
    wide = dict(zip(("width", "height"), SIZES["wide"], strict=True))
    context = browser.new_context(viewport=wide, color_scheme=shade)
    page = context.new_page()

    def shoot(name: str) -> None:
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(SETTLE_MS)
            path = target / f"{name}-{shade}-{size}.png"
            page.screenshot(path=path)
            if readme and size == "wide" and f"{name}-{shade}" in README:
                kept = ROOT / "app" / "pictures" / f"{name}-{shade}.png"
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(path.read_bytes())
            print(path.name, flush=True)
        page.set_viewport_size(wide)

    open_lab(page, url, LAB)
    wait_for_umap(page)
    shoot("lab-before")
    run_id = press_start(page)
    wait_for_map(page, 150)
    shoot("lab-running")
    wait_for_map(page, 300)
    page.get_by_text("Unseen classes: MAP@R").wait_for(timeout=120_000)
    shoot("lab-done")
    page.goto(f"{url}/?run={run_id}&step=0")
    wait_for_map(page, 0)
    shoot("lab-scrubbed")
    for path, sign in (("runs", "Runs"), ("losses?loss=arcface", "ArcFace"), ("data?set=emoji", "Origin and licence")):
        page.goto(f"{url}/{path}")
        page.get_by_text(sign).first.wait_for(timeout=60_000)
        page.wait_for_timeout(4 * SETTLE_MS)
        shoot(path.split("?")[0])
    context.close()


def wait_for_umap(page: Page, seconds: float = 60.0) -> None:
    """UMAP's first map takes a while on a fresh server; the pictures are fairer with it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and page.get_by_text("trustworthiness").count() == 0:
        page.wait_for_timeout(500)


if __name__ == "__main__":
    raise SystemExit(main())
