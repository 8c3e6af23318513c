"""`Page`: the page in a browser, in the terms of a person who uses it."""

from __future__ import annotations

import json
import re

SECONDS = 60_000

GRADIOS_OWN = "Method not implemented."
"""What the upload component of Gradio 6.31 writes to the console for every file."""


class Page:
    """What a person sees and does."""

    def __init__(self, page, url):
        self.page, self.complaints, self.hosts = page, [], set()
        page.set_default_timeout(SECONDS)
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.goto(url)
        page.wait_for_selector("#board .board")

    def _complain(self, kind, text):
        if kind in ("error", "warning") and text != GRADIOS_OWN:
            self.complaints.append(text)

    def example(self):
        self.page.click("#example")
        self.page.wait_for_selector("#board .board.open")
        return self

    def upload(self, path):
        before = self.token
        self.page.set_input_files("#upload input[type=file]", path)
        self._token_changes(before)
        return self

    @property
    def token(self):
        return self.page.locator("#board .board").get_attribute("data-token") or ""

    def _token_changes(self, before):
        self.page.wait_for_function(
            "before => (document.querySelector('#board .board').dataset.token || '') !== before", arg=before
        )

    def on_screen(self, point):
        """Return where a pixel of the image is on the screen."""
        svg = self.page.locator("#board svg").first
        svg.scroll_into_view_if_needed()
        box = svg.bounding_box()
        _, _, width, height = map(float, svg.get_attribute("viewBox").split())
        return box["x"] + point[0] * box["width"] / width, box["y"] + point[1] * box["height"] / height

    def choose(self, tool=None, kind="auto", color="auto"):
        if tool:
            self.page.click(f"#board [data-tool={tool}]")
        self.page.select_option("#board [data-choice=kind]", kind)
        self.page.select_option("#board [data-choice=color]", color)

    def draw(self, tool, *points, kind="auto", color="auto"):
        """Draw with the mouse, and wait until the region is there."""
        self.choose(tool, kind, color)
        count, mouse = self.count, self.page.mouse
        if tool in ("point", "segment"):
            mouse.click(*self.on_screen(points[0]))
        elif tool == "polygon":
            for point in points:
                mouse.click(*self.on_screen(point))
            self.page.click("#board [data-do=close]")
        else:
            mouse.move(*self.on_screen(points[0]))
            mouse.down()
            for point in points[1:]:
                mouse.move(*self.on_screen(point), steps=4)
            mouse.up()
        self.wait_for_regions(count + 1)
        return self

    @property
    def count(self):
        return int(self.page.locator("#board .board").get_attribute("data-count"))

    def wait_for_regions(self, count):
        self.page.wait_for_selector(f"#board .board[data-count='{count}']")

    @property
    def regions(self):
        return [text.strip() for text in self.page.locator("#board .regions .words").all_inner_texts()]

    def ask(self, question, *, vote=False):
        """Ask, and return the answer."""
        box = self.page.locator("#vote input")
        if box.is_checked() != vote:
            box.set_checked(vote)
        answers = self.page.locator("#chat [data-testid=bot]").count()
        self.page.fill("#question textarea", question)
        self.page.click("#ask")
        self.page.wait_for_function(
            "count => document.querySelectorAll('#chat [data-testid=bot]').length > count"
            " && document.querySelector('#status').innerText.trim() === 'Answered.'",
            arg=answers,
        )
        return self.answers[-1]

    @property
    def answers(self):
        return [text.strip() for text in self.page.locator("#chat [data-testid=bot]").all_inner_texts()]

    @property
    def status(self):
        return self.page.locator("#status").inner_text().strip()

    def wait_for_status(self, pattern):
        self.page.wait_for_function(
            "pattern => new RegExp(pattern).test(document.querySelector('#status').innerText)", arg=pattern
        )

    def tab(self, name):
        """Open a tab; where there is no room for all, it is in the menu."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():
            self.page.locator(".overflow-menu > button").first.click()
            self.page.locator(".overflow-dropdown button", has_text=re.compile(f"^\\s*{name}\\s*$")).click()
        else:
            tab.click()
        return self

    def copied(self):
        """Press the copy button of the Python code, and return what the clipboard has."""
        self.tab("Copy as Python")
        self.page.locator("#python button[aria-label*=opy], #python button[title*=opy]").first.click()
        return self.page.evaluate("navigator.clipboard.readText()")

    def board(self):
        return json.loads(self.page.evaluate("JSON.stringify(document.querySelector('#board .board').dataset)"))
