"""What the page says beside the chat: what was sent, what it took, what the model sees. HTML, with texts escaped."""

from __future__ import annotations

import base64
import io
import json
from html import escape

from PIL import Image

from langchain_vipllava.apps.studio.desk import Desk
from langchain_vipllava.images.shrink import model_square
from langchain_vipllava.text import counted, printable
from langchain_vipllava.workspace.voted import Voted

_MAX_PNG_PIXELS = 2**20
"""Pixels up to which the page shows a PNG. Larger images go as JPEG, at most `_MAX_SIDE` pixels wide or high. Chosen: a
click answers at once on a slow network."""

_MAX_SIDE = 1600


def image_uri(image: Image.Image) -> str:
    """Return an image as a data URI for the page: no file of it can be fetched by others."""
    if image.width * image.height <= _MAX_PNG_PIXELS:
        return _uri(image, "PNG")
    small = image.copy()
    small.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return _uri(small, "JPEG")


def prompt_text(desk: Desk) -> str:
    """Return the prompt of the last question, byte for byte, with `<image>` where the image stands."""
    told = desk.exchanges[-1].told if desk.exchanges else None
    if told is not None:
        return told.request.render().text
    answered = desk.exchanges[-1].answered if desk.exchanges else None
    return "\n".join(vote.question for vote in answered.votes) if isinstance(answered, Voted) else ""


def numbers_html(desk: Desk) -> str:
    """Return what the last answer took: tokens, reuse, confidence, times; of a vote, the votes."""
    if not desk.exchanges:
        return "<p class='quiet'>Ask something: the tokens, the cache and the confidence will stand here.</p>"
    exchange = desk.exchanges[-1]
    rows: list[tuple[str, str]] = [("question", exchange.answered.question)]
    if isinstance(exchange.answered, Voted):
        rows += [("agreement", f"{exchange.answered.agreement:.0%}"), ("votes", str(len(exchange.answered.votes)))]
        rows.append(("confidence", _share(exchange.answered.confidence)))
        rows += [(", ".join(vote.phrases), vote.answer) for vote in exchange.answered.votes]
    elif exchange.told is not None:
        answer, timings = exchange.told.answer, exchange.told.answer.timings
        rows += [
            ("tokens of the prompt", f"{answer.input_tokens:,}"),
            ("of these from the cache", "not told" if timings is None else f"{timings.reused_tokens:,}"),
            ("tokens of the answer", f"{answer.output_tokens:,} ({answer.finish_reason})"),
            ("confidence", _share(exchange.told.confidence)),
        ]
        if timings is not None:
            rows.append(("first token after", f"{timings.first_token:.2f} s"))
    if exchange.answered.forgotten:
        rows.append(("forgotten to make room", counted(exchange.answered.forgotten, "question")))
    cells = "".join(f"<tr><th scope='row'>{_safe(head)}</th><td>{_safe(text)}</td></tr>" for head, text in rows)
    return f"<table class='facts'><caption>The last answer</caption>{cells}</table>"


def view_html(desk: Desk, side: int) -> str:
    """Return what the model sees, at its own size, with the sizes of the regions there, and warnings."""
    if not desk.pages:
        return "<p class='quiet'>Open an image: what the model sees of it will stand here.</p>"
    number = 0
    parts = []
    for page in desk.pages:
        seen = model_square(page.image, "pad", side)
        if seen.size != (side, side):
            seen = seen.resize((side, side), Image.Resampling.BICUBIC)
        shown = f"{page.image.width} x {page.image.height} pixels, read as {side} x {side}"
        words = _safe(", ".join(page.phrases) or "the image without markers")
        parts.append(
            f"<figure><img src='{_uri(seen, 'PNG')}' width='{side}' height='{side}' alt='What the model sees: {words}'>"
            f"<figcaption>{shown}</figcaption></figure>"
        )
        rows = ""
        for marker in page:
            number += 1
            width, height = marker.seen
            warning = " too small" if marker.is_tiny else " hard to see" if marker.is_faint else ""
            rows += (
                f"<tr><th scope='row'>{_safe(marker.region.id or f'r{number}')}</th><td>{_safe(marker.phrase)}</td>"
                f"<td>{width:.0f} x {height:.0f} px</td><td>{warning}</td></tr>"
            )
        if rows:
            parts.append(
                "<table class='facts'><thead><tr><th scope='col'>region</th><th scope='col'>words</th>"
                f"<th scope='col'>size seen</th><th scope='col'></th></tr></thead>{rows}</table>"
            )
    warnings = "".join(f"<li>{_safe(note)}</li>" for note in desk.notes)
    return "".join(parts) + (f"<ul class='warnings' role='alert'>{warnings}</ul>" if warnings else "")


def downloads_html(desk: Desk) -> str:
    """Return links to the marked image and the conversation, which the page holds itself."""
    if not desk.pages:
        return "<p class='quiet'>Open an image first.</p>"
    links = []
    for number, page in enumerate(desk.pages, 1):
        name = "marked.png" if len(desk.pages) == 1 else f"marked-{number}.png"
        links.append(
            f"<a class='download' download='{name}' href='{_uri(page.image, 'PNG')}'>Marked image ({name})</a>"
        )
    text = base64.b64encode(conversation_json(desk).encode()).decode("ascii")
    links.append(
        "<a class='download' download='conversation.json' "
        f"href='data:application/json;base64,{text}'>Conversation (conversation.json)</a>"
    )
    return "".join(f"<p>{link}</p>" for link in links)


def conversation_json(desk: Desk) -> str:
    """Return the regions and the conversation as JSON."""
    described = {
        "image": {
            "name": desk.name,
            "sha256": desk.image.sha256 if desk.image else None,
            "size": desk.image.size if desk.image else None,
        },
        "markers": [
            {"id": marker.region.id, "phrase": marker.phrase, "box": marker.region.box} for marker in desk.markers
        ],
        "turns": [exchange.answered.to_dict() for exchange in desk.exchanges],
    }
    return json.dumps(described, indent=2, ensure_ascii=False)


def _share(confidence: float | None) -> str:
    return "not told" if confidence is None else f"{confidence:.1%}"


def _safe(text: str) -> str:
    return escape(printable(text), quote=True)


def _uri(image: Image.Image, format: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
