"""`Visual7W`: which of four boxes answers a question, as ViP-LLaVA's evaluation asks it.

Its data: a JSON list. An entry with `question`, `bboxes` and `answer`, one of the boxes, is asked in ViP-LLaVA's words,
each box marked by a rectangle. An entry with `general_question` is one of PointQA. An entry with `conversations` is
asked in its own words, in which `<bbox>` or `<bbox0>` stands for a marker, unless it names the colors of the rectangles
itself. Boxes are `[x0, y0, x1, y1]` in pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_vipllava.bench.benchmark import Outputs
from langchain_vipllava.bench.choices import LETTERS, joined, lettered
from langchain_vipllava.bench.files import field_of, write_file
from langchain_vipllava.bench.item import Answered, Item, Marking, Text, split_tags
from langchain_vipllava.bench.json_list import JsonList
from langchain_vipllava.errors import BenchmarkError
from langchain_vipllava.markers.kinds import COLOR_NAMES, MarkerColor

_TAG = re.compile(r"<bbox(\d*)>")
_NAMED = re.compile(rf"the ({'|'.join(COLOR_NAMES)}) rectangle", re.IGNORECASE)
_INSTRUCTION = "\nAnswer with the option's letter from the given choices directly."
_EXAMPLE = " The exemplary object is within the rectangle.\nAnswer the question using a single word or phrase."
"""What ViP-LLaVA's evaluation adds to a question of PointQA."""

_OPACITY = 128 / 255
"""Opacity of the official evaluation: `--alpha 128`."""


class Visual7W(JsonList):
    """Visual7W's pointing questions, and others in the same layout.

    Args:
        data: the folder with `v7w-test.json`, or the file.
    """

    title = "Visual7W"
    max_tokens = 128
    marking = Marking(opacity=_OPACITY)
    measure = "accuracy"
    names = ("v7w-test.json", "dataset/v7w-test.json")

    def _item(self, index: int, row: dict[str, Any]) -> Item:
        where = f"question {index} of {self._file.name}"
        image, item_id = field_of(row, "image", str, where), field_of(row, "id", (str, int), where)
        is_conversation = "conversations" in row and "question" not in row
        has_boxes = not is_conversation or "bboxes" in row
        boxes = [_box(box, where) for box in (field_of(row, "bboxes", list, where) if has_boxes else [])]
        regions, open_image = self._marked(image, [{"box": box} for box in boxes])
        question: Text = ()
        colors: tuple[MarkerColor, ...] = ()
        options: dict[str, Text] = {}
        if is_conversation:
            prompt, colors, truth = _conversation(row, len(boxes), where)
        elif "general_question" in row and "question" not in row:
            prompt = (field_of(row, "general_question", str, where) + _EXAMPLE,)
            truth, regions = field_of(row, "answer", str, where), regions[:1]
            colors = ("red",) if regions else ()
        else:
            question = (field_of(row, "question", str, where),)
            places = zip(range(len(boxes)), LETTERS, strict=False)
            options = {letter: ("The object ", place) for place, letter in places}
            prompt = joined(question, ("\n",), lettered(options), (_INSTRUCTION,))
            truth = _letter(row, boxes, where)
        return Item(item_id, prompt, truth, open_image, regions, (), question, options, colors, {"id": item_id})

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers."""
        return outputs.folder / "answers" / f"{self._file.stem}-{outputs.model}.jsonl"

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `v7w-test-MODEL.json`: a line per answer, as the official evaluation."""
        lines = [
            json.dumps(
                {
                    "question_id": each.item.id,
                    "text": each.text,
                    "answer_id": each.item.digest,
                    "model_id": outputs.model,
                    "metadata": {},
                }
            )
            for each in answered
        ]
        name = f"{self._file.stem}-{outputs.model}.json"
        return [write_file(outputs.folder / "results" / name, "".join(f"{line}\n" for line in lines))]


def _box(box: object, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(n, (int, float)) for n in box):
        raise BenchmarkError(f"a box of {where} is {box!r:.80}; expected [x0, y0, x1, y1] in pixels.")
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1


def _letter(row: dict[str, Any], boxes: list[tuple[float, float, float, float]], where: str) -> str:
    answer = _box(field_of(row, "answer", list, where), where)
    if answer not in boxes or len(boxes) > len(LETTERS):
        raise BenchmarkError(f"the answer of {where} is {answer}; expected one of its {len(boxes)} boxes.")
    return LETTERS[boxes.index(answer)]


def _conversation(row: dict[str, Any], count: int, where: str) -> tuple[Text, tuple[MarkerColor, ...], str]:
    """Return the question of a person, the colors that it names in the order of the boxes, and the answer."""
    turns = field_of(row, "conversations", list, where)
    if len(turns) != 2:
        raise BenchmarkError(f"{where} has {len(turns)} turns; expected a question and its answer.")
    said, truth = (field_of(turn, "value", str, where) for turn in turns)
    words = said.removeprefix("<image>").removesuffix("<image>").strip("\n")

    def index_of(name: str) -> int:
        if int(name or 0) >= count:
            raise BenchmarkError(f"<bbox{name}> in {where}, which has {count} boxes.")
        return int(name or 0)

    named = list(dict.fromkeys(color.lower() for color in _NAMED.findall(words)))
    colors = tuple(color for color in named if color in COLOR_NAMES)
    if colors and len(colors) != count:
        raise BenchmarkError(
            f"{where} names rectangles in {len(colors)} colors, and has {count} boxes; expected as many."
        )
    return split_tags(words, _TAG, index_of), colors, truth
