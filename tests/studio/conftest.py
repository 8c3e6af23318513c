"""The page on loopback, with the bundled checkpoint, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing, contextmanager
from threading import Event

import pytest

from langchain_vipllava import Workspace
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.protocol.logprobs import AnswerPiece
from tests.studio.browser import Page
from tests.studio.segmenter import segment_by_color

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


@pytest.fixture(scope="session")
def backend():
    loaded = LocalBackend.load(model="bundled")
    assert loaded.runner.model
    return loaded


@pytest.fixture
def workspace(backend):
    from langchain_vipllava.apps.studio.telling import TellingVision

    return Workspace(model=TellingVision(backend), detector=detect_shapes, segmenter=segment_by_color)


@pytest.fixture(scope="session")
def site(backend):
    """The URL of the page, and its workspace."""
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `studio`")
    from langchain_vipllava.apps.studio.page import Studio
    from langchain_vipllava.apps.studio.python_code import BackendCode
    from langchain_vipllava.apps.studio.server import Address, launch
    from langchain_vipllava.apps.studio.telling import TellingVision

    vision = TellingVision(backend)
    shared = Workspace(model=vision, detector=detect_shapes, segmenter=segment_by_color)
    shared.ask(shared.add_image(_blank()), "What is it?")  # the first answer warms the model
    studio = Studio(
        shared, vision, BackendCode.local({"model": "bundled"}), "The bundled checkpoint answers.", True, True
    )
    page, url = launch(studio, Address(port=0), block=False)
    yield url.rstrip("/"), shared
    page.close()


def _blank():
    from PIL import Image

    return Image.new("RGB", (64, 64), "gray")


@pytest.fixture(scope="package")  # not longer: while Playwright is there, no other test can run an event loop
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site):
    """Open the page as another person, in another browser; what it complains about fails the test."""
    opened = []

    def open_page(**options):
        context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        page = Page(context.new_page(), site[0])
        opened.append((context, page))
        return page

    yield open_page
    complaints = [line for _, page in opened for line in page.complaints]
    for context, _ in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def slowly(backend, monkeypatch):
    """Within it, an answer does not end after its first piece: a large model writes for seconds, ours does not."""

    @contextmanager
    def slow():
        stream, released = type(backend).stream, Event()

        def write_on(self, request, **options):
            with closing(stream(self, request, **options)) as pieces:
                yield next(pieces)
                while not released.wait(0.1):
                    yield AnswerPiece("", ())
                yield from pieces

        with monkeypatch.context() as patched:
            patched.setattr(type(backend), "stream", write_on)
            yield
        released.set()

    return slow
