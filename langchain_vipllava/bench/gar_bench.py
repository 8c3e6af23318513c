"""`GarBench`: GAR-Bench-VQA, questions about several masks (arXiv 2510.18876).

Its data: a JSON list of `image, question, choices, answer, type, mask_rles`; `<Prompt0>` in a text is the first mask.
Its result file: the list with `model_output`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_vipllava.bench.benchmark import Outputs
from langchain_vipllava.bench.choices import by_letter
from langchain_vipllava.bench.files import field_of, write_json
from langchain_vipllava.bench.item import Answered, Item, Marking, Text, split_tags
from langchain_vipllava.bench.json_list import JsonList
from langchain_vipllava.errors import BenchmarkError

_TAG = re.compile(r"<Prompt(\d+)>")
_NOUN = "the object "
_INSTRUCTION = "\nAnswer with the correct option's letter directly."


class GarBench(JsonList):
    """GAR-Bench-VQA.

    Args:
        data: the folder with `GAR-Bench-VQA.json`, or the file.
    """

    title = "GAR-Bench-VQA"
    max_tokens = 1024
    marking = Marking()
    measure = "accuracy"
    names = ("GAR-Bench-VQA.json", "annotations/GAR-Bench-VQA.json")

    def _item(self, index: int, row: dict[str, Any]) -> Item:
        where = f"question {index} of {self._file.name}"
        question, image = field_of(row, "question", str, where), field_of(row, "image", str, where)
        choices = [str(choice) for choice in field_of(row, "choices", list, where)]
        masks = field_of(row, "mask_rles", list, where)
        regions, open_image = self._marked(image, [{"mask": mask} for mask in masks])

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

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `model_outputs/MODEL_vqa.json`."""
        rows = [{**each.item.row, "model_output": each.text} for each in answered]
        return [write_json(outputs.folder / "model_outputs" / f"{outputs.model}_vqa.json", rows, 4)]
