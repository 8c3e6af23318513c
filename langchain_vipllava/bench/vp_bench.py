"""`VPBench`: VP-Bench stage 1, questions about markers that are drawn already (AAAI 2026, arXiv 2511.11438).

Its data: rows of `index, context or hint, question, A, B, C, D, answer, image, vp_amount, vp_shape, vp_properties`, the
image in base64; as TSV for VLMEvalKit, or as Parquet. Its result files are those of VLMEvalKit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.choices import joined, lettered
from langchain_vipllava.bench.files import field_of, find_file, write_file, write_json
from langchain_vipllava.bench.item import Answered, Item, Marking, Text
from langchain_vipllava.bench.row_files import ParquetRows, TsvRows
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError

_FILES = ("vp_bench_stage_1.tsv", "vp_bench_stage_1.parquet", "VP_BENCH_STAGE1.tsv")
_DATASET = "VP_BENCH_STAGE1"
_INSTRUCTION = "\nAnswer with the option\N{RIGHT SINGLE QUOTATION MARK}s letter from the given choices directly."
_LETTERS = "ABCD"


class VPBench:
    """VP-Bench, stage 1.

    Args:
        data: the folder with `vp_bench_stage_1.tsv` or `.parquet`, or the file.
    """

    title = "VP-Bench, stage 1"
    max_tokens = 1024
    marking = Marking()
    measure = "accuracy"

    def __init__(self, data: Data) -> None:
        file = find_file(data.folder, _FILES)
        self._rows = ParquetRows(file) if file.suffix == ".parquet" else TsvRows(file)

    def count(self) -> int:
        """Count the questions."""
        return self._rows.count()

    def items(self) -> Iterator[Item]:
        """Yield the questions. The image of a row is read when it is asked about."""
        for where, row, open_image in self._rows.rows():
            texts = {name: str(field_of(row, name, (str, int), where)).strip() for name in ("question", *_LETTERS)}
            options: dict[str, Text] = {letter: (texts[letter],) for letter in _LETTERS}
            hint = _cell(row, "hint") or _cell(row, "context")
            lead = "\n".join(text for text in (hint, texts["question"]) if text)
            prompt = joined((f"{lead}\n",), lettered(options), (_INSTRUCTION,))
            truth = field_of(row, "answer", str, where)
            if truth.strip().upper() not in _LETTERS or not truth.strip():
                raise BenchmarkError(f"the answer of {where} is {truth!r:.40}; expected A, B, C or D.")
            kept = {name: value for name, value in row.items() if name != "image"}
            groups = tuple(dict.fromkeys(name for name in (_cell(row, "vp_shape"),) if name))
            question: Text = (lead,)
            yield Item(_index(row, where), prompt, truth, open_image, (), groups, question, options, row=kept)

    def answers_file(self, outputs: Outputs) -> Path:
        """Return the file of the answers."""
        return outputs.folder / "answers" / f"{outputs.model}_{_DATASET}.jsonl"

    def score(self, answered: Sequence[Answered]) -> Scores:
        """Score the first of the letters A to D in an answer, as VLMEvalKit does, per shape of marker."""
        return Scores.of((each.item.groups, [float(_is_right(each))]) for each in answered)

    def write(self, answered: Sequence[Answered], outputs: Outputs) -> list[Path]:
        """Write `MODEL_VP_BENCH_STAGE1.tsv`, the rows with `prediction`, and the score beside it."""
        names = list(dict.fromkeys(name for each in answered for name in each.item.row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, [*names, "prediction"], delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        for each in answered:
            writer.writerow({**each.item.row, "prediction": each.text})
        right = sum(map(_is_right, answered))
        score = {"total_accuracy": round(right / len(answered), 4) if answered else 0.0}
        stem = f"{outputs.model}_{_DATASET}"
        return [
            write_file(outputs.folder / "results" / f"{stem}.tsv", buffer.getvalue()),
            write_json(outputs.folder / "results" / f"{stem}_vp_bench_score.json", score, 4),
        ]


def _is_right(answered: Answered) -> bool:
    return _first_letter(answered.text) == _first_letter(answered.item.truth)


def _first_letter(text: str) -> str:
    written = text.strip().upper()
    return next((letter for letter in written if letter in _LETTERS), written)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124  # NaN, an empty cell


def _index(row: Mapping[str, Any], where: str) -> str | int:
    index: str | int = field_of(row, "index", (str, int), where)
    return int(index) if isinstance(index, str) and index.isdecimal() else index
