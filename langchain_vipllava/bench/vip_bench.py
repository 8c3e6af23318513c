"""`VipBench`: ViP-Bench, open questions about marked regions (arXiv 2312.00784).

Its data: `vip-bench-meta-data.json`, `{"v1_0": {"question" with <obj>, "answer" with <AND> and <OR>, "capability"}}`;
for each split `questions.jsonl` and `images/`, where the markers are drawn already; `source_image/` without markers,
with their regions as LabelMe writes them. Its result file: `{"v1_0": "the answer"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.files import field_of, find_file, read_json, read_json_lines, write_json
from langchain_vipllava.bench.item import Answered, Item, Marking, split_tags
from langchain_vipllava.bench.presence import share_present
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError, RegionError, VipLlavaError, shorten
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.region import Region
from langchain_vipllava.text import cut

Split = Literal["bbox", "human", "source"]
"""The official splits, "bbox" and "human"; with "source", markers are drawn here."""

_MAX_DIGITS = 19
"""Digits of a question's number. Chosen: int() of thousands is an error."""

_META = "vip-bench-meta-data.json"
_TAG = re.compile(r"<(obj\d*)>")


class VipBench:
    """ViP-Bench.

    Args:
        data: its folder.
        split: which images and wordings.
    """

    max_tokens = 1024
    marking = Marking()
    measure = "words found"
    """What the score is without a judge: see `share_present`. It is not the published measure."""

    def __init__(self, data: Data, split: Split = "bbox") -> None:
        if split not in get_args(Split):
            raise BenchmarkError(f"split={shorten(split)}; expected 'bbox', 'human' or 'source'.")
        self.split, self.title = split, f"ViP-Bench, {split}"
        meta = find_file(data.folder, [_META])
        if meta != data.folder and meta.name != _META:
            raise BenchmarkError(f"{shorten(str(data.folder))} has no {_META}; expected the official layout.")
        self._folder = meta.parent
        self._images = self._folder / ("source_image" if split == "source" else f"{split}/images")
        self._open = data.opener(self._images)
        rows = read_json(meta)
        if not isinstance(rows, Mapping) or not rows:
            raise BenchmarkError(f"{_META} holds no object of questions; expected the official layout.")
        self._meta: Mapping[str, Any] = rows

    @cached_property
    def questions(self) -> dict[str, dict[str, Any]]:
        """The rows of the split's `questions.jsonl` by their id in the results, "v1_0"."""
        if self.split == "source":
            return {key: {"question_id": _question_id(key)} for key in self._meta}
        rows = {}
        for where, row in read_json_lines(find_file(self._folder, [f"{self.split}/questions.jsonl"])):
            rows[f"v1_{field_of(row, 'question_id', (int, str), where)}"] = row
        for missing in (self._meta.keys() - rows.keys(), rows.keys() - self._meta.keys()):
            if missing:
                has, lacks = (_META, "questions.jsonl") if missing <= self._meta.keys() else ("questions.jsonl", _META)
                raise BenchmarkError(
                    f"{len(missing)} questions of {has} are not in {lacks}: {shorten(sorted(missing))}."
                )
        return rows

    def count(self) -> int:
        """Count the questions."""
        return len(self.questions)

    def items(self) -> Iterator[Item]:
        """Yield the questions."""
        return (self._item(key, row) for key, row in self.questions.items())

    def _item(self, key: str, row: Mapping[str, Any]) -> Item:
        meta = self._meta[key]
        truth = str(field_of(meta, "answer", (str, int, float), key))
        groups = tuple(map(str, field_of(meta, "capability", list, key)))
        kept = {"key": key, "question": field_of(meta, "question", str, key)}
        item_id = row["question_id"]
        if self.split == "source":
            return self._source_item(key, item_id, truth, groups, kept)
        text, image = field_of(row, "text", str, key), field_of(row, "image", str, key)
        return Item(item_id, (text,), truth, partial(self._open, image), groups=groups, row=kept)

    def _source_item(
        self, key: str, item_id: str | int, truth: str, groups: tuple[str, ...], kept: dict[str, Any]
    ) -> Item:
        """Mark the regions of `<obj>` in the image without markers."""
        question = kept["question"]
        image = field_of(self._meta[key], "image_source", str, key)
        names = list(dict.fromkeys(_TAG.findall(question)))
        open_image = partial(self._open, image)
        try:
            regions = tuple(self._regions(image, names))
        except VipLlavaError as error:  # an error of this item alone, when it is asked
            regions, open_image = (), partial(_refuse, RegionError(cut(str(error), 300)))
        text = split_tags(question, _TAG, names.index)
        return Item(item_id, text, truth, open_image, regions, groups, row=kept)

    def _regions(self, image: str, names: Sequence[str]) -> Iterator[Region]:
        file = self._images / f"{Path(image).stem}.json"
        shapes = read_json(file)
        size = (field_of(shapes, "imageWidth", int, file.name), field_of(shapes, "imageHeight", int, file.name))
        found = regions_from({**shapes, "imageData": None}, image_size=size, format="labelme")
        for name in names:
            same = [region for region in found if region.label == name]
            if not same:
                raise BenchmarkError(f"{file.name} has no shape with the label {name!r}, which the question names.")
            yield same[0]

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers."""
        return outputs.folder / "answers" / f"{outputs.model}-{self.split}.jsonl"

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score which words of the truth are found in an answer, per capability: a measure of ours, without a judge."""
        return Scores.of((each.item.groups, [share_present(each.item.truth, each.text)]) for each in answered)

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `results/MODEL-SPLIT.json`."""
        texts = {each.item.row["key"]: each.text for each in answered}
        return [write_json(outputs.folder / "results" / f"{outputs.model}-{self.split}.json", texts, 2)]


def _question_id(key: str) -> str | int:
    number = key.removeprefix("v1_")
    return int(number) if number.isascii() and number.isdecimal() and len(number) < _MAX_DIGITS else number


def _refuse(error: RegionError) -> EncodedImage:
    raise error
