"""`python -m benchmarks.lookup`: answers with and without prompt look-up, and what a guess costs and saves.

Two models. The bundled checkpoint describes images whose descriptions are in the conversation, as it was trained to.
The large one has random weights, which never repeat a thing; it guesses from its own answer of a run before, so all
guesses are right: the most that can be gained.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.answering import QUESTIONS, ask, make_request, timings
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from benchmarks.timing import measure
from langchain_vipllava.engine import runner as runner_module
from langchain_vipllava.engine.compiled_decode import DecodedStep
from langchain_vipllava.engine.loading import load_checkpoint
from langchain_vipllava.engine.prompt_lookup import PromptLookup
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.load_options import BUNDLED, LoadOptions

GUESSES = (None, 2, 4, 8)
"""Values of `prompt_lookup_num_tokens`."""

console = Console(width=120)


class Counted:
    """A model that guesses, whose passes after the prompt are counted.

    Args:
        parts: model and processor.
        guesses: value of `prompt_lookup_num_tokens`.
    """

    def __init__(self, parts: tuple[Any, Any], guesses: int | None) -> None:
        self.runner = ModelRunner(*parts, prompt_lookup_num_tokens=guesses)
        self.passes = 0
        passes = self.runner._engine._passes
        passes.tokens = self._counting(passes.tokens)  # type: ignore[method-assign]
        passes.last_token = self._counting(passes.last_token)  # type: ignore[method-assign]

    def answer(self, asked: Sequence[GenerationRequest], known: Sequence[tuple[int, ...]]) -> tuple[float, list[Any]]:
        """Answer requests one by one.

        Args:
            asked: the requests.
            known: the token ids of the answers, if guesses are to be made from them too.

        Returns:
            The seconds after each first token, in all, and the token ids.
        """
        self.passes = 0
        answers = []
        for number, request in enumerate(asked):
            told = known[number] if known else ()
            with patch.object(
                runner_module, "PromptLookup", lambda ids, *args, told=told: PromptLookup([*ids, *told], *args)
            ):
                answers.append(ask(self.runner, request))
        return sum(timings(answer).decode for answer in answers), [answer.token_ids for answer in answers]

    def _counting(self, compute: Callable[..., DecodedStep]) -> Callable[..., DecodedStep]:
        def counted(*args: Any) -> DecodedStep:
            self.passes += 1
            return compute(*args)

        return counted


def main() -> None:
    """Print a table: time and passes beside those without guesses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    table = Table("model", "guesses", "decoding", "of the time without", "passes", "same answers")
    bundled = load_checkpoint(LoadOptions(BUNDLED))
    _compare(table, "bundled, descriptions", bundled, _descriptions(), options.repeats)
    asked = [make_request(Conversation((Turn(text, (make_image(0),)),)), 64) for text in QUESTIONS[:3]]
    model, processor = make_parts()
    _compare(table, "128M, all right", (as_loaded(model), processor), asked, options.repeats, are_known=True)
    console.print(table)


def _compare(
    table: Table,
    name: str,
    parts: tuple[Any, Any],
    asked: Sequence[GenerationRequest],
    repeats: int,
    *,
    are_known: bool = False,
) -> None:
    counted = {guesses: Counted(parts, guesses) for guesses in GUESSES}
    expected = counted[None].answer(asked, ())[1]
    known = expected if are_known else ()
    same = {guesses: one.answer(asked, known)[1] == expected for guesses, one in counted.items()}
    functions = {str(guesses): partial(_decode, one, asked, known) for guesses, one in counted.items()}
    times = measure(functions, repeats)
    for guesses, one in counted.items():
        time = times[str(guesses)]
        share = f"{time.median / times['None'].median:.2f}"
        table.add_row(name, str(guesses), str(time), share, str(one.passes), "yes" if same[guesses] else "no")


def _decode(one: Counted, asked: Sequence[GenerationRequest], known: Sequence[tuple[int, ...]]) -> float:
    return one.answer(asked, known)[0]


def _descriptions() -> list[GenerationRequest]:
    """Return follow-up turns about shapes, each answered before: where an answer can repeat what was said."""
    requests = []
    rng = np.random.default_rng(0)
    names = {"red": (220, 30, 30), "green": (30, 150, 40), "blue": (30, 60, 220), "yellow": (230, 210, 30)}
    for _ in range(8):
        canvas = np.full((336, 336, 3), 245, np.uint8)
        said = []
        for place, color in zip((60, 165, 270), rng.permutation(list(names))[:3], strict=True):
            if rng.integers(2):
                cv2.circle(canvas, (place, place), 40, names[color], -1)
                said.append(f"a {color} circle")
            else:
                cv2.rectangle(canvas, (place - 38, place - 38), (place + 38, place + 38), names[color], -1)
                said.append(f"a {color} square")
        image = EncodedImage.from_pixels(Image.fromarray(canvas))
        told = f"{', '.join(said[:2])} and {said[2]}."
        turns = (Turn("What is in the image?", (image,), told[0].upper() + told[1:]), Turn("Describe the image."))
        requests.append(make_request(Conversation(turns), 48))
    return requests


if __name__ == "__main__":
    main()
