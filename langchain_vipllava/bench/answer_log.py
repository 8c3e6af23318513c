"""`AnswerLog`: the answers so far, one per line, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from langchain_vipllava.bench.files import field_of, read_json, write_json
from langchain_vipllava.bench.item import Answered, Item
from langchain_vipllava.errors import BenchmarkError, describe_error, shorten

with suppress(ImportError):  # Windows has none: two runs at once are not kept apart
    import fcntl


class AnswerLog:
    """A file of answers, as LLaVA's evaluation writes it: question_id, prompt, text, answer_id, model_id, metadata.

    Each answer is written before the next is waited for. A line that a kill cut short is dropped, and asked again.
    The settings of the run lie beside it, and answers of other settings are refused. A question that has changed since
    its answer is asked again.

    Args:
        path: the file; it and its folder are made.
        model: the name of the model.
        settings: what decides about answers, as plain JSON types.
        restart: forget the answers so far.

    Raises:
        BenchmarkError: another run writes the file, it has answers of other settings, or is damaged.
    """

    def __init__(self, path: Path, model: str, settings: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path, self._model = path, model
        self._answers: dict[tuple[str | int, str | None], Mapping[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("a+b")
        except OSError as error:
            raise BenchmarkError(f"cannot write {shorten(str(path))}: {describe_error(error)}.") from error
        try:
            self._lock()
            if restart:
                self._file.truncate(0)
            self._read()
            self._check(path.with_name(f"{path.name}.settings"), json.loads(json.dumps(settings)))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # writes again what a full disk did not take, which `add` has told
            self._file.close()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, item: Item) -> Answered | None:
        """Return the answer to an item; None if there is none yet, also where its data has changed since."""
        line = self._answers.get((item.id, item.digest), self._answers.get((item.id, None)))
        if line is None:
            return None
        reason = _metadata(line).get("finish_reason", "stop")
        return Answered(item.without_image(), line["prompt"], line["text"], None, str(reason))

    def add(self, answered: Answered) -> None:
        """Write an answer.

        Raises:
            BenchmarkError: the file cannot be written.
        """
        line = {
            "question_id": answered.item.id,
            "prompt": answered.prompt,
            "text": answered.text,
            "answer_id": uuid.uuid4().hex,
            "model_id": self._model,
            "metadata": {"finish_reason": answered.finish_reason, "item": answered.item.digest},
        }
        try:
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()
        except OSError as error:
            raise BenchmarkError(f"cannot write {shorten(str(self.path))}: {describe_error(error)}.") from error
        self._keep(line)

    def _lock(self) -> None:
        try:
            if os.name == "posix":
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BenchmarkError(
                f"another run writes {shorten(str(self.path))}; wait for it, or pass a name."
            ) from error

    def _read(self) -> None:
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):  # a kill cut it short
                break
            end += len(line)
            where = f"line {number} of {self.path.name}"
            try:
                answer = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BenchmarkError(f"{where} is not JSON: {describe_error(error)}. {_ADVICE}") from error
            for name in ("prompt", "text"):
                field_of(answer, name, str, where)
            field_of(answer, "question_id", (str, int), where)
            self._keep(answer)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)

    def _keep(self, line: Mapping[str, Any]) -> None:
        """Keep an answer by what it answers: ids may occur twice. Files of LLaVA's own evaluation know the id alone."""
        digest = _metadata(line).get("item")
        self._answers[line["question_id"], None if digest is None else str(digest)] = line

    def _check(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Compare the settings with those of the answers that are there."""
        if self._answers and path.is_file():
            before = read_json(path)
            changed = [
                name for name in settings if not isinstance(before, Mapping) or before.get(name) != settings[name]
            ]
            if changed:
                name = changed[0]
                was = before.get(name) if isinstance(before, Mapping) else None
                raise BenchmarkError(
                    f"{self.path.name} has {len(self._answers)} answers with {name}={shorten(was, 60)}, now "
                    f"{name}={shorten(settings[name], 60)}. {_ADVICE}"
                )
        write_json(path, settings, 2)


def _metadata(line: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = line.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


_ADVICE = "Answer all again with restart=True, or keep both under another name."
