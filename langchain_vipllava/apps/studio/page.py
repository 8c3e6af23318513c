"""The page: what is on it, and what its buttons do."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr

from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.studio.desk import Desk
from langchain_vipllava.apps.studio.facts import downloads_html, image_uri, numbers_html, prompt_text, view_html
from langchain_vipllava.apps.studio.python_code import BackendCode, python_code
from langchain_vipllava.apps.studio.strokes import brush_width
from langchain_vipllava.apps.studio.telling import TellingVision
from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS
from langchain_vipllava.text import printable
from langchain_vipllava.workspace.workspace import Workspace

_ASSETS = resources.files(__package__) / "assets"

_IDLE_SECONDS = 3600
"""After this, the images of somebody who has left are forgotten. Chosen: a lunch break."""

_AT_ONCE = 16
"""Questions that are answered at once; others wait. As many as the engine batches by default."""

_PROGRESS = gr.Progress()

_FORMATS = [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"]


@dataclass(frozen=True)
class Studio:
    """What all desks share.

    Attributes:
        workspace: where images and conversations are; its model is `vision`.
        vision: what answers.
        code: Python that makes the same backend.
        model_text: says what answers.
        detects: whether the workspace has a detector.
        segments: whether the workspace has a segmenter.
    """

    workspace: Workspace
    vision: TellingVision
    code: BackendCode
    model_text: str
    detects: bool = False
    segments: bool = False


def build_page(studio: Studio) -> gr.Blocks:
    """Make the page; `server.launch` shows it."""
    page: gr.Blocks = _Page(studio).blocks
    return page


class _Page:
    """The components of the page, and their events."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        # what an empty desk shows: no event fills the page, which could come after somebody's first click
        _, board, _, _, view, prompt, numbers, python, downloads, _ = self._all(Desk(studio.workspace), "")
        self._first = {"board": board, "view": view, "prompt": prompt, "numbers": numbers, "python": python}
        self._first["downloads"] = downloads
        with gr.Blocks(title="ViP-LLaVA studio", analytics_enabled=False, delete_cache=(600, _IDLE_SECONDS)) as blocks:
            self.blocks = blocks
            self._desk = gr.State(None, time_to_live=_IDLE_SECONDS, delete_callback=_close)
            gr.HTML(
                f"<h1>Point at it, and ask</h1><p class='quiet'>{escape(printable(studio.model_text))}</p>",
                elem_id="head",
            )
            with gr.Row():
                with gr.Column(scale=3, min_width=340):
                    self._left()
                with gr.Column(scale=2, min_width=320):
                    self._chat()
                    self._beside()
            self._events()

    def _left(self) -> None:
        self._upload = gr.File(label="Image: upload, drop or paste", file_types=_FORMATS, elem_id="upload", height=150)
        with gr.Row():
            self._example = gr.Button("Example image", elem_id="example", size="sm")
            self._zoom = gr.Checkbox(label="Zoom in on small regions", elem_id="zoom", container=False)
        self._board = gr.HTML(
            value=self._first["board"],
            html_template=_asset("board.html"),
            css_template=_asset("board.css"),
            js_on_load=_asset("board.js"),
            elem_id="board",
        )
        self._status = gr.HTML("<p role='status' aria-live='polite'></p>", elem_id="status")

    def _chat(self) -> None:
        # no Markdown: an answer could name an image on another server, which the browser would fetch
        self._chatbot = gr.Chatbot(
            label="Chat", render_markdown=False, elem_id="chat", height=330, buttons=["copy"], feedback_options=None
        )
        self._question = gr.Textbox(
            label="Question",
            placeholder="What is the object {r1}?",
            info="{r1}, {r2}, ... or r1, r2, ... name regions.",
            elem_id="question",
            max_length=4000,
            lines=1,
            submit_btn=False,
        )
        with gr.Row():
            self._ask = gr.Button("Ask", variant="primary", elem_id="ask")
            self._stop = gr.Button("Stop", elem_id="stop")
            self._vote = gr.Checkbox(label="Vote of several markers", elem_id="vote", container=False)

    def _beside(self) -> None:
        with gr.Tabs():
            with gr.Tab("What the model sees", elem_id="tab-view"):
                self._view = gr.HTML(self._first["view"], elem_id="view")
            with gr.Tab("Prompt", elem_id="tab-prompt"):
                self._prompt = gr.Code(
                    label="The prompt, byte for byte",
                    language=None,
                    elem_id="prompt",
                    interactive=False,
                    wrap_lines=True,
                )
                self._numbers = gr.HTML(self._first["numbers"], elem_id="numbers")
            with gr.Tab("Copy as Python", elem_id="tab-python"):
                self._python = gr.Code(
                    self._first["python"],
                    label="The same in Python",
                    language="python",
                    elem_id="python",
                    interactive=False,
                    wrap_lines=True,
                )
            with gr.Tab("Where it looked", elem_id="tab-heat"):
                self._heat = gr.Button("Show for the last answer", elem_id="heat")
                self._heat_view = gr.HTML(elem_id="heat-view")
            with gr.Tab("Download", elem_id="tab-download"):
                self._downloads = gr.HTML(self._first["downloads"], elem_id="downloads")

    def _events(self) -> None:
        facts = [self._view, self._prompt, self._numbers, self._python, self._downloads]
        everything = [self._desk, self._board, self._status, self._chatbot, *facts, self._heat_view]
        hidden: Any = {"show_progress": "hidden", "api_visibility": "private"}
        # without preprocessing: that drops the file's own name, and what Gradio calls it has lost characters
        self._upload.upload(
            self._open, [self._desk, self._upload], [*everything, self._upload], preprocess=False, **hidden
        )
        self._example.click(self._open_example, [self._desk], everything, **hidden)
        self._board.submit(
            self._edit, [self._desk], everything, concurrency_limit=_AT_ONCE, trigger_mode="multiple", **hidden
        )
        self._chatbot.clear(self._restart, [self._desk], everything, **hidden)
        self._zoom.input(self._set_zoom, [self._desk, self._zoom], everything, **hidden)
        asked: Any = {
            "fn": self._answer,
            "inputs": [self._desk, self._question, self._vote],
            "outputs": [*everything, self._question],
            "concurrency_limit": _AT_ONCE,
            "concurrency_id": "ask",
            **hidden,
        }
        asking: list[Any] = [self._ask.click(**asked), self._question.submit(**asked)]
        self._stop.click(None, None, None, cancels=asking, api_visibility="private").then(
            self._stopped, [self._desk], everything, **hidden
        )
        self._heat.click(
            self._look, [self._desk], [self._status, self._heat_view], concurrency_limit=2, api_visibility="private"
        )

    def _open(self, desk: Desk | None, upload: dict[str, Any] | None) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        if upload is None:
            return [*self._all(desk, ""), None]
        file = Path(upload["path"])  # Gradio has checked that it is an upload
        try:
            data = file.read_bytes()
        finally:
            file.unlink(missing_ok=True)  # whoever knew its name could fetch it
        return [*self._try(desk, lambda: desk.open(data, upload["orig_name"] or file.name)), None]

    def _open_example(self, desk: Desk | None) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        return self._try(desk, lambda: desk.open(SCENE.read_bytes(), SCENE.name))

    def _edit(self, desk: Desk | None, event: gr.EventData) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        return self._try(desk, lambda: desk.edit(getattr(event, "_data", None)))

    def _restart(self, desk: Desk | None) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        return self._all(desk, "") if desk.image is None else self._try(desk, lambda: desk.edit({"action": "restart"}))

    def _set_zoom(self, desk: Desk | None, on: bool) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        if desk.image is None:
            desk.zoom = bool(on)
            return self._all(desk, "")
        return self._try(desk, lambda: desk.edit({"action": "zoom", "on": on}))

    def _answer(self, desk: Desk | None, question: str, vote: bool) -> Generator[list[Any], None, None]:
        desk = desk or Desk(self._studio.workspace)
        unchanged = [gr.skip()] * 10
        before = list(desk.shown)
        try:
            pieces = desk.ask(question, vote=bool(vote))
            try:
                for text in pieces:
                    growing = [*before, {"role": "user", "content": question}, {"role": "assistant", "content": text}]
                    yield [*unchanged[:2], _status("Answering ..."), growing, *unchanged[4:], ""]
            finally:
                pieces.close()
        except VipLlavaError as error:
            yield [*self._all(desk, str(error)), gr.skip()]
            return
        yield [*self._all(desk, "Answered."), ""]

    def _stopped(self, desk: Desk | None) -> list[Any]:
        desk = desk or Desk(self._studio.workspace)
        desk.wait()
        return self._all(desk, "Stopped. A question that was not answered counts as not asked.")

    def _look(self, desk: Desk | None, progress: gr.Progress = _PROGRESS) -> tuple[str, str]:
        try:
            heat = (desk or Desk(self._studio.workspace)).heat_map(progress)
        except VipLlavaError as error:
            return _status(str(error)), ""
        x, y = heat.peak
        picture = f"<img src='{image_uri(heat.overlay())}' alt='Heat map; its peak is at {x:.0f}, {y:.0f}'>"
        return _status(""), (
            f"<figure>{picture}<figcaption>Occlusion: how much less likely the answer becomes when a patch is gray. "
            f"Peak at {x:.0f}, {y:.0f}.</figcaption></figure>"
        )

    def _try(self, desk: Desk, action: Any) -> list[Any]:
        try:
            action()
        except VipLlavaError as error:
            return self._all(desk, str(error))
        return self._all(desk, "")

    def _all(self, desk: Desk, status: str) -> list[Any]:
        studio = self._studio
        return [
            desk,
            _board_value(desk, studio),
            _status(status),
            list(desk.shown),
            view_html(desk, studio.vision.view_size),
            prompt_text(desk),
            numbers_html(desk),
            python_code(desk, studio.code, studio.vision.settings),
            downloads_html(desk),
            "",  # a heat map is of the last answer alone
        ]


def _board_value(desk: Desk, studio: Studio) -> str:
    """Return what the board shows, as JSON: the image as it is sent; where that is cropped or on pages, the image."""
    value: dict[str, Any] = {
        "kinds": KINDS,
        "colors": COLOR_NAMES,
        "detects": studio.detects,
        "segments": studio.segments,
    }
    if desk.marked is not None and desk.image is not None:
        plain = len(desk.pages) > 1 or desk.marked.crop is not None
        value |= {
            "image": image_uri(desk.image.decode() if plain else desk.marked.image),
            "width": desk.image.size[0],
            "height": desk.image.size[1],
            "brush": brush_width(desk.image.size),
            "token": f"{desk.image_id} {desk.image.sha256[:12]}",
            "plain": plain,
            "regions": [
                {
                    "id": marker.region.id,
                    "label": printable(marker.region.label or ""),
                    "phrase": marker.phrase,
                    "kind": drawn.kind,
                    "color": marker.color,
                    "chosen": drawn.color,
                    "box": marker.region.box,
                }
                for marker, drawn in zip(desk.markers, desk.drawn, strict=True)
            ],
        }
    return json.dumps(value)


def _status(text: str) -> str:
    return f"<p role='status' aria-live='polite'>{escape(printable(text))}</p>"


def _close(desk: Desk | None) -> None:
    if desk is not None:
        desk.close()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
