"""Occlusion: grays one patch of an image after the other, and asks how likely the last answer is then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from langchain_vipllava.errors import GenerationError, PromptError, VipLlavaError, describe_error
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.view import CLIP_MEAN_COLOR, view_size_of
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.workspace.heat_map import HeatMap
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.vision_model import AnswerScorer

CELLS = 12
"""Cells along the long side. Chosen: 28 of the 336 pixels that ViP-LLaVA reads, two patches of its vision tower."""

_PATCHES = (1, 3)
"""Sides of the grayed patches, in cells. Chosen of 1 to 4 and their combinations, on 44 scenes of the bundled
checkpoint's world: small patches find edges, and miss what the model still tells from the rest; large ones blur."""

_AT_ONCE = 8
"""Questions at once."""

_SHRUNK = 3
"""Long side of the images that are asked about, in sides of the model's square, at most. Chosen: the model shrinks them
by itself, and eight copies of a photograph of 12 megapixels would take 300 MB."""


@dataclass(frozen=True)
class Patch:
    """Cells that are grayed together: rows `top` to `bottom` and columns `left` to `right`, exclusive.

    Attributes:
        side: how many cells wide and high it is where nothing is cut off.
    """

    side: int
    top: int
    left: int
    bottom: int
    right: int


def heat_map_of(
    image: OpenImage, view: OpenImage, model: object, on_progress: Callable[[float], object] | None = None
) -> HeatMap:
    """Find what the last answer about a view of an image depends on.

    Args:
        image: whose id is told.
        view: the image itself, or one of its pages; not changed.
        model: an `AnswerScorer`.
        on_progress: called with the finished share, 0 to 1, in the caller's thread.

    Raises:
        PromptError: nothing was asked, or answered with nothing.
        GenerationError: the model failed, or does not say how likely an answer is.
    """
    page = image.pages.index(view) if image.pages else None
    turns = view.turns
    answer = turns[-1].answer if turns else None
    if not answer or not answer.strip():
        where = image.id if page is None else f"page {page} of {image.id}"
        what = "has no answer yet" if not turns else "was answered with nothing"
        raise PromptError(f"{where} {what}; ask a question about it first.")
    if not isinstance(model, AnswerScorer):
        raise GenerationError(
            f"{type(model).__name__} does not say how likely an answer is; expected a vision model with score, such as "
            "BackendVision or ChatModelVision with a ChatVipLlava."
        )
    shown = view.shown
    small = _shrunk(shown.image, _SHRUNK * view_size_of(model))
    drops, whole = _drops(small, turns, answer, model, on_progress)
    crop = shown.crop or (0, 0, *shown.original.size)
    return HeatMap(image.id, turns[-1].question, answer, drops, whole, shown.image, crop, page)


def _drops(
    image: Image.Image,
    turns: list[Turn],
    answer: str,
    model: AnswerScorer,
    on_progress: Callable[[float], object] | None,
) -> tuple[np.ndarray, float]:
    """Return the mean drop of each cell over the patches of each size that cover it, and the score of the whole."""
    width, height = image.size
    rows, columns = (max(1, round(CELLS * length / max(image.size))) for length in (height, width))
    patches = [patch for side in _PATCHES for patch in _patches(side, rows, columns)]
    whole = _score(image, turns, answer, model)
    total, covered = (np.zeros((len(_PATCHES), rows, columns)) for _ in range(2))

    def score(patch: Patch) -> float:
        left, right = (round(edge * width / columns) for edge in (patch.left, patch.right))
        top, bottom = (round(edge * height / rows) for edge in (patch.top, patch.bottom))
        grayed = image.copy()
        grayed.paste(CLIP_MEAN_COLOR, (left, top, right, bottom))
        return _score(grayed, turns, answer, model)

    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="vipllava-heat-map")
    try:
        asked = {pool.submit(score, patch): patch for patch in patches}
        for count, finished in enumerate(as_completed(asked), 1):
            patch = asked[finished]
            cells = np.s_[_PATCHES.index(patch.side), patch.top : patch.bottom, patch.left : patch.right]
            total[cells] += whole - finished.result()
            covered[cells] += 1
            if on_progress is not None:
                on_progress(count / len(patches))
    finally:
        pool.shutdown(cancel_futures=True)
    drops: np.ndarray = (total / covered).mean(axis=0)
    drops.setflags(write=False)
    return drops, whole


def _patches(side: int, rows: int, columns: int) -> Iterator[Patch]:
    """Yield the patches of one size, of which each cell is covered by as many; those at the edges are cut off."""
    for top in range(1 - side, rows):
        for left in range(1 - side, columns):
            yield Patch(side, max(top, 0), max(left, 0), min(top + side, rows), min(left + side, columns))


def _score(image: Image.Image, turns: list[Turn], answer: str, model: AnswerScorer) -> float:
    """Return how likely a model finds the last answer of a conversation about another image."""
    first = replace(turns[0], images=(EncodedImage.from_pixels(image),))
    *earlier, last = first, *turns[1:]
    conversation = Conversation((*earlier, Turn(last.question, last.images)))
    try:
        return model.score(conversation, answer)
    except VipLlavaError:
        raise
    except Exception as error:  # of a model that is not ours
        raise GenerationError(f"the vision model failed: {describe_error(error)}") from error


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    if max(image.size) <= side:
        return image
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
