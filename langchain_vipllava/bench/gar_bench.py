"""`GarBench`: GAR-Bench-VQA, questions about several masks (arXiv 2510.18876).

Its data: a JSON list of `image, question, choices, answer, type, mask_rles`; `<Prompt0>` in a text is the first mask.
Its result file: the list with `model_output`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.choices import by_letter
from langchain_vipllava.bench.files import field_of, find_file, read_json, write_json
from langchain_vipllava.bench.item import Answered, Item, Marking, Text, split_tags
from langchain_vipllava.bench.letters import score_letters
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError, RegionError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.regions.region import Region

_FILES = ("GAR-Bench-VQA.json", "annotations/GAR-Bench-VQA.json")
_TAG = re.compile(r"<Prompt(\d+)>")
_NOUN = "the object "
_INSTRUCTION = "\nAnswer with the correct option's letter directly."


class GarBench:
    """GAR-Bench-VQA.

    Args:
        data: the folder with `GAR-Bench-VQA.json`, or the file.
    """

    title = "GAR-Bench-VQA"
    max_tokens = 1024
    marking = Marking()
    measure = "accuracy"

    def __init__(self, data: Data) -> None:
        self._file = find_file(data.folder, _FILES)
        self._open = data.opener(self._file.parent)

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows = read_json(self._file)
        if not isinstance(rows, list) or not rows:
            raise BenchmarkError(f"{self._file.name} holds no list of questions; expected the official layout.")
        return rows

    def count(self) -> int:
        """Count the questions."""
        return len(self._rows)

    def items(self) -> Iterator[Item]:
        """Yield the questions."""
        return (self._item(index, row) for index, row in enumerate(self._rows))

    def _item(self, index: int, row: dict[str, Any]) -> Item:
        where = f"question {index} of {self._file.name}"
        question, image = field_of(row, "question", str, where), field_of(row, "image", str, where)
        choices = [str(choice) for choice in field_of(row, "choices", list, where)]
        masks = field_of(row, "mask_rles", list, where)
        open_image = partial(self._open, image)
        try:
            regions = tuple(Region(mask=mask) for mask in masks)
        except RegionError as error:  # an error of this item alone, when it is asked
            regions, open_image = (), partial(_refuse, error)

        def index_of(name: str) -> int:
            if int(name) >= len(masks):
                raise BenchmarkError(f"<Prompt{name}> in {where}, which has {len(masks)} masks.")
            return int(name)

        def text(written: str) -> Text:
            return split_tags(written, _TAG, index_of, _NOUN)

        options = by_letter(choices)
        lines = (
            choices if list(options.values()) != choices else [f"{letter}. {each}" for letter, each in options.items()]
        )
        return Item(
            index,
            text("\n".join([f"Question: {question}\nOptions:", *lines]) + _INSTRUCTION),
            field_of(row, "answer", str, where),
            open_image,
            regions,
            (str(field_of(row, "type", str, where)),),
            text(question),
            {letter: text(each) for letter, each in options.items()},
            row=row,
        )

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers."""
        return outputs.folder / "answers" / f"{outputs.model}_vqa.jsonl"

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score letters per type of question."""
        return score_letters(answered)

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `model_outputs/MODEL_vqa.json`."""
        rows = [{**each.item.row, "model_output": each.text} for each in answered]
        return [write_json(outputs.folder / "model_outputs" / f"{outputs.model}_vqa.json", rows, 4)]


def _refuse(error: RegionError) -> EncodedImage:
    raise error
