"""Notebook helpers, and the notebooks in `examples/`, run from top to bottom."""

from __future__ import annotations

import base64
import io
import itertools
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from nbclient import NotebookClient
from PIL import Image

from langchain_vipllava import GenerationError, ImageStore, Region, keep_images, load_image, mark
from langchain_vipllava.apps.notebook import ConversationView, pick_regions, picked, watch

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def plain_outputs(notebook) -> list[list[str]]:
    """Return the plain-text outputs of each cell, without standard error and widgets."""
    outputs_by_cell = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
        displayed = [
            output.data["text/plain"]
            for output in outputs
            if "data" in output and "application/vnd.jupyter.widget-view+json" not in output.data
        ]
        outputs_by_cell.append([printed, *displayed])
    return outputs_by_cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_print_their_saved_outputs(path):
    saved = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    NotebookClient(run, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    assert plain_outputs(run) == plain_outputs(saved)
    assert any(any(outputs) for outputs in plain_outputs(run))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_and_contain_images(path):
    assert path.stat().st_size < 400_000
    assert "data:image/png;base64," in path.read_text()
    assert "/tmp" not in path.read_text() and "Traceback" not in path.read_text()  # noqa: PT018


def images_in(html: str) -> list[Image.Image]:
    return [load_image(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'base64,([^"]+)"', html)]


def test_a_marked_image_is_displayed_with_its_markers(photo):
    regions = [
        Region(box=(10, 10, 60, 50), id="dog", label="<b>dog</b>", score=0.987),
        Region(box=(70, 20, 73, 23)),
    ]
    marked = mark(photo, regions)
    html = marked._repr_html_()
    (displayed,) = images_in(html)
    assert np.array_equal(displayed, marked.image)
    assert "within the red rectangle" in html and "{dog}" in html and "0.99" in html  # noqa: PT018
    assert "&lt;b&gt;dog" in html and "<b>dog" not in html  # noqa: PT018
    assert "rgb(255, 0, 0)" in html and "(tiny)" in html and "10, 10, 60, 50" in html  # noqa: PT018
    assert html.count("<tr>") == 3


def test_large_images_are_displayed_scaled_down():
    marked = mark(Image.new("RGB", (3000, 1000)), [Region(box=(10, 10, 900, 900))])
    (displayed,) = images_in(marked._repr_html_())
    assert displayed.size == (640, 213)
    assert marked.image.size == (3000, 1000)
    assert "3000 x 1000 pixels" in marked._repr_html_()


def test_a_conversation_is_displayed_with_its_images(photo, tmp_path):
    store = ImageStore()
    first = mark(photo, [Region(box=(10, 10, 60, 50))]).message("What is <b> {0}?")
    messages = [*keep_images([first], store), AIMessage("A dog\n& a cat."), HumanMessage("Why?")]
    view = ConversationView(messages, store)
    html = view._repr_html_()
    assert len(images_in(html)) == 1
    assert "&lt;b&gt;" in html and "A dog<br>&amp; a cat." in html and "Why?" in html  # noqa: PT018
    assert repr(view) == (
        "USER: <image> What is <b> the object within the red rectangle?\nASSISTANT: A dog\n& a cat.\nUSER: Why?"
    )
    assert "give ChatVipLlava its image_store" in ConversationView(messages)._repr_html_()


def test_watch_displays_an_answer_as_it_is_streamed(llm, monkeypatch):
    import IPython.display

    displayed = []

    class Handle:
        def update(self, bundle, raw):
            displayed.append(bundle["text/plain"])

    def display(bundle, raw, display_id):
        displayed.append(bundle["text/plain"])
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    answer = watch(llm.stream("What is it?"))
    expected = llm.invoke("What is it?")
    assert type(answer) is AIMessage
    assert answer.text == expected.text == displayed[-1]
    assert len(displayed) > 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(displayed))
    assert answer.response_metadata["token_ids"] == expected.response_metadata["token_ids"]
    with pytest.raises(GenerationError, match="no answer came"):
        watch(iter([]))
    coroutine = llm.ainvoke("What?")
    with pytest.raises(GenerationError, match=r"watch got a coroutine; expected the iterator of llm\.stream"):
        watch(coroutine)
    coroutine.close()


async def test_watch_displays_an_async_stream(llm, monkeypatch):
    import IPython.display

    displayed = []

    class Handle:
        def update(self, bundle, raw):
            displayed.append(bundle["text/plain"])

    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw, display_id: Handle())
    answer = await watch(llm.astream("What is it?"))
    assert answer.text == (await llm.ainvoke("What is it?")).text == displayed[-1]
    assert len(displayed) > 3

    async def nothing():
        for chunk in ():
            yield chunk

    with pytest.raises(GenerationError, match="no answer came"):
        await watch(nothing())


def test_boxes_of_the_widget_become_regions(photo):
    widget = pick_regions(photo, labels=["dog", "cat"])
    assert np.array_equal(load_image(widget.image_bytes), photo)
    assert widget.classes == ["dog", "cat"]
    assert picked(widget) == []
    # what the browser sends when boxes are drawn
    widget.bboxes = [
        {"x": 5, "y": 6.5, "width": 20, "height": 10, "label": "dog"},
        {"x": 0, "y": 0, "width": 9, "height": 9, "label": ""},
    ]
    assert [(region.id, region.label, region.box) for region in picked(widget)] == [
        ("r1", "dog", (5.0, 6.5, 25.0, 16.5)),
        ("r2", None, (0.0, 0.0, 9.0, 9.0)),
    ]
    assert len(mark(photo, picked(widget)).markers) == 2


def test_labels_and_answers_cannot_change_the_page(photo):
    hostile = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
    marked = mark(photo, [Region(box=(10, 10, 60, 50), label=hostile + "y" * 500, id=hostile)])
    view = ConversationView([HumanMessage(hostile), AIMessage(hostile)])
    pages = (marked._repr_html_(), view._repr_html_())
    for page in pages:
        assert "&lt;img src=x onerror=alert(1)&gt;\\u202e\\x1b[2J" in page
    for text in (*pages, repr(view), repr(marked)):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "y" * 200 not in pages[0]
