"""`Question`: what a caller asks about an image, as the model is to read it, and the view that shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from langchain_vipllava.errors import MarkerError, PromptError
from langchain_vipllava.markers.looks import reworded
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.markers.wording import Named, write_question
from langchain_vipllava.workspace.limits import MAX_QUESTION
from langchain_vipllava.workspace.marker_names import MarkerNames
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.references import read_references


@dataclass(frozen=True)
class Question:
    """A question about one view of an image.

    Attributes:
        image: whose id the caller named.
        view: what the model sees: the image, or one of its pages.
        parts: its texts, and the markers that it names.
    """

    image: OpenImage
    view: OpenImage
    parts: tuple[str | Named, ...]

    @property
    def words(self) -> str:
        """The question with the words of the markers."""
        return write_question(self.parts)

    @property
    def page(self) -> int | None:
        """Index of the page; None for an image without pages."""
        return self.image.pages.index(self.view) if self.image.pages else None

    def about(self, look: MarkedImage) -> Question:
        """Return the same question about another look of the view, with the conversation so far in the look's words.

        Args:
            look: the regions of the view with other markers.
        """
        if look is self.view.marked:
            return self
        own, others = self.view.shown.markers, look.markers
        of_region = {marker.region.id: marker for marker in others}
        parts = [
            reworded(part, own, others)
            if isinstance(part, str)
            else replace(part, marker=of_region[part.marker.region.id])
            for part in self.parts
        ]
        turns = [
            replace(
                turn,
                question=reworded(turn.question, own, others),
                answer=None if turn.answer is None else reworded(turn.answer, own, others),
                answer_ids=None,
            )
            for turn in self.view.turns
        ]
        view = OpenImage(self.view.id, self.view.image, self.view.regions, marked=look, turns=turns)
        return Question(self.image, view, tuple(parts))


def read_question(image: OpenImage, question: object) -> Question:
    """Read a question: whatever names a region becomes the words of its marker.

    Args:
        image: what it is about.
        question: as a person or an LLM wrote it.

    Raises:
        PromptError: empty, too long, or no text.
        MarkerError: it names a region that is not marked, regions of several pages, or none of many pages.
    """
    if isinstance(question, str):
        question = _unwrapped(question)
    if not isinstance(question, str) or not question.strip():
        raise PromptError('the question is empty; expected text, such as "What is the object r1?".')
    if len(question) > MAX_QUESTION:
        raise PromptError(f"the question has {len(question)} characters; expected at most {MAX_QUESTION}.")
    unmarked = [] if image.marked or image.pages else list(image.regions)
    parts = read_references(question, MarkerNames(image.id, image.markers, unmarked))
    view = _page(image, [part.marker.region.id or "" for part in parts if isinstance(part, Named)])
    return Question(image, view, tuple(parts))


def _unwrapped(question: str) -> str:
    """Take a question out of the JSON object that some LLMs write in place of a text."""
    if question.lstrip().startswith("{"):
        try:
            parsed = json.loads(question)
        except (ValueError, RecursionError):
            return question
        if isinstance(parsed, dict) and isinstance(parsed.get("question"), str):
            return str(parsed["question"])
    return question


def _page(image: OpenImage, named: Sequence[str]) -> OpenImage:
    """Return the view that shows what a question names; without a name, that of the question before."""
    if not image.pages:
        return image
    shown = [page for page in image.pages if any(name in page.regions for name in named)]
    if len(shown) == 1:
        return shown[0]
    if shown:
        ids = list(dict.fromkeys(named))
        where = "; ".join(
            f"{', '.join(name for name in ids if name in page.regions)} on page {image.pages.index(page) + 1}"
            for page in shown
        )
        quoted = ", ".join(f'"{name}"' for name in ids[:9])
        raise MarkerError(
            f"{image.id} shows these regions on different pages ({where}), and the vision model sees one page at a "
            f"time. Ask about each by itself, or mark them together: mark_regions with image_id "
            f'"{image.id}" and regions [{quoted}].'
        )
    if image.last_page is not None:
        return image.pages[image.last_page]
    pages = "; ".join(f"page {number}: {_ids(page)}" for number, page in enumerate(image.pages, 1))
    raise MarkerError(
        f"{image.id} has {len(image.pages)} pages, and the question names no region. Name one or more of a page, such "
        f'as "What is {next(iter(image.pages[0].regions))}?" ({pages}), or ask about the image without markers.'
    )


def _ids(page: OpenImage) -> str:
    return ", ".join(page.regions)
