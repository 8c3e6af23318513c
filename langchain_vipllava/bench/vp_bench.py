"""`VPBench`: VP-Bench stage 1, questions about markers that are drawn already (AAAI 2026, arXiv 2511.11438).

Its data: rows of `index, context or hint, question, A, B, C, D, answer, image, vp_amount, vp_shape, vp_properties`, the
image in base64; as TSV for VLMEvalKit, or as Parquet. Its result files are those of VLMEvalKit.
"""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.choices import joined, lettered
from langchain_vipllava.bench.files import field_of, find_file, write_file, write_json
from langchain_vipllava.bench.item import Answered, Item, Marking, Text
from langchain_vipllava.bench.row_files import ParquetRows, TsvRows
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.errors import BenchmarkError, shorten

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
            missing = [name for name in ("index", "question", *_LETTERS, "answer", "image") if name not in row]
            if missing:
                raise BenchmarkError(f"{where} has no {shorten(missing)}; it has {shorten(sorted(row))}.")
            options: dict[str, Text] = {letter: (_cell(row, letter),) for letter in _LETTERS}
            hint = _cell(row, "hint") or _cell(row, "context")
            lead = "\n".join(text for text in (hint, _cell(row, "question")) if text)
            prompt = joined((f"{lead}\n",), lettered(options), (_INSTRUCTION,))
            truth = _cell(row, "answer")
            if _first_letter(truth) not in tuple(_LETTERS):
                raise BenchmarkError(f"the answer of {where} is {shorten(truth, 40)}; expected A, B, C or D.")
            filled = {letter: text for letter, text in options.items() if text[0]}  # some questions have two
            kept = {name: value for name, value in row.items() if name != "image"}
            yield Item(_index(row, where), prompt, truth, open_image, (), _shapes(row), (lead,), filled, row=kept)

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


def _shapes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the shapes of a row's markers, each once: a name, a list of names, or such a list as text."""
    value: Any = row.get("vp_shape")
    if isinstance(value, str) and value.strip().startswith("["):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value.strip())
    names = map(str, value) if isinstance(value, (list, tuple)) else [_cell(row, "vp_shape")]
    return tuple(dict.fromkeys(name for name in names if name))


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124  # NaN, an empty cell


def _index(row: Mapping[str, Any], where: str) -> str | int:
    index: str | int = field_of(row, "index", (str, int), where)
    return int(index) if isinstance(index, str) and index.isdecimal() else index
