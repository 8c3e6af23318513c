"""The screenshots of docs/guides/studio.md: `make screenshots`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from playwright.sync_api import sync_playwright

from langchain_vipllava import Workspace
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.studio.page import Studio
from langchain_vipllava.apps.studio.python_code import BackendCode
from langchain_vipllava.apps.studio.server import Address, launch
from langchain_vipllava.apps.studio.telling import TellingVision
from langchain_vipllava.backends.local import LocalBackend
from tests.studio.browser import Page


def main(folder: Path) -> None:
    """Write a screenshot for a laptop, in light, and one for a phone, in dark."""
    vision = TellingVision(LocalBackend.load(model="bundled"))
    workspace = Workspace(model=vision, detector=detect_shapes)
    text = "The small bundled checkpoint answers: it knows plain colored shapes, not photographs."
    page, url = launch(
        Studio(workspace, vision, BackendCode.local({"model": "bundled"}), text, detects=True), Address(), block=False
    )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, scheme, width, height in (("light", "light", 1280, 1000), ("phone", "dark", 390, 844)):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
            shown = Page(context.new_page(), url).example()
            shown.draw("box", (206, 30), (426, 250)).draw("stroke", (515, 165), (545, 140), (575, 190), (605, 165))
            shown.draw("point", (110, 425))
            shown.ask("What is the object {r1}?")
            shown.ask("What color is it?")
            shown.ask("What is r2?")
            shown.page.evaluate("window.scrollTo(0, 0)")
            shown.page.screenshot(path=folder / f"studio-{name}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
