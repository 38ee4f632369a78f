"""The pictures of docs/dashboard.md: light, dark, and a phone's. `make dashboard-pictures`, after a change of the page."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.browser import scenes
from tests.browser.chromium import find
from tests.browser.served import served
from tests.control_plane import programs
from tests.control_plane.plane import only_api

DOCS = Path(__file__).parents[2] / "docs"
DESK, PHONE = (1280, 800), (390, 844)
PICTURES = {  # name -> size, colours, where
    "dashboard": (DESK, "light", ""),
    "dashboard-dark": (DESK, "dark", "#/payments/fraud"),
    "dashboard-phone": (PHONE, "light", "#/payments/fraud"),
}


def main(folder: Path) -> None:
    programs.build_missing(programs.API_ONLY)
    chromium = find()
    with only_api() as plane, tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        scenes.play(plane.client)
        kubeconfig = plane.client.kubeconfig(Path(home) / "kubeconfig", "payments")
        browser = playwright.chromium.launch(
            executable_path=chromium.program, args=chromium.flags, env=chromium.environment
        )
        with served("-A", kubeconfig=kubeconfig) as dashboard:
            for name, ((width, height), colours, where) in PICTURES.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)  # type: ignore[arg-type]
                page.goto(dashboard.address)
                page.locator(".card").first.wait_for()
                page.goto(dashboard.address.partition("#")[0] + (where or "#/"))
                page.locator("#detail h1" if where else ".card").first.wait_for()
                page.wait_for_timeout(700)  # transitions
                page.screenshot(path=folder / f"{name}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else DOCS)
