"""`BenchRun`: a benchmark run from the command line, with progress, result files and a table of scores."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from langchain_vipllava.apps.cli.console import Screen
from langchain_vipllava.apps.cli.model import ModelOptions
from langchain_vipllava.bench.answer_log import AnswerLog
from langchain_vipllava.bench.benchmark import Benchmark, Data, Outputs
from langchain_vipllava.bench.files import read_text
from langchain_vipllava.bench.grades import RUNS, GradeFiles, Grades
from langchain_vipllava.bench.item import Answered, Marking
from langchain_vipllava.bench.judge import GRADE_TOKENS, Judge
from langchain_vipllava.bench.judge_shots import SHOTS
from langchain_vipllava.bench.runner import AnswerForm, RunSettings, run_benchmark, unanswered
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.bench.vip_bench import VipBench
from langchain_vipllava.errors import BenchmarkError, describe_error, shorten
from langchain_vipllava.markers.kinds import parse_kind
from langchain_vipllava.text import counted, cut

_SHOWN_ERRORS = 5
"""Items without an answer that are listed. Chosen: the rest mostly lacks the same."""


@dataclass(frozen=True)
class JudgeOptions:
    """Who grades, and how."""

    judge: str | None
    runs: int | None
    prompt: Path | None
    max_tokens: int | None

    def check(self) -> None:
        """Check everything that needs no model.

        Raises:
            BenchmarkError: options that cannot be right.
        """
        given = {"--runs": self.runs, "--judge-tokens": self.max_tokens, "--judge-prompt": self.prompt}
        for name, value in given.items():
            if value is not None and self.judge is None:
                raise BenchmarkError(f"{name} without --judge; it is for an LLM that grades.")
            if isinstance(value, int) and value < 1:
                raise BenchmarkError(f"{name} {value}; expected a whole number of at least 1.")

    def open(self) -> Judge:
        """Open the judge.

        Raises:
            BenchmarkError: there is no such model, or its package or key is missing.
        """
        name = str(self.judge)
        shots = SHOTS if self.prompt is None else read_text(self.prompt)
        return Judge(_chat_model(name), name, shots=shots, max_tokens=self.max_tokens or GRADE_TOKENS)


@dataclass(frozen=True)
class BenchRun:
    """A benchmark run from the command line."""

    data: Path
    images: Path | None
    out: Path | None
    name: str | None
    batch: int
    limit: int | None
    restart: bool
    answers: str
    kind: str | None
    model_options: ModelOptions
    max_tokens: int | None
    screen: Screen

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> BenchRun:
        """Make a run of the options of a command.

        Raises:
            VipLlavaError: impossible options.
        """
        model_options = ModelOptions(
            given["model"], given["device"], given["dtype"], given["quantization"], given["attention"],
            given["prompt_format"], 256 if given["max_tokens"] is None else given["max_tokens"], given["temperature"],
            given["sampling_seed"], tuple(given["base_url"] or ()), given["tokenizer"],
        )  # fmt: skip
        model_options.check()
        for name in ("batch", "limit"):
            if given[name] is not None and given[name] < 1:
                raise BenchmarkError(f"--{name} {given[name]}; expected a whole number of at least 1.")
        if given.get("answers", "letter") not in get_args(AnswerForm):
            raise BenchmarkError(f"--answers {shorten(given['answers'])}; expected letter or option.")
        images = given.get("images")
        return cls(
            given["data"].expanduser(), images and images.expanduser(), given["out"], given["name"], given["batch"],
            given["limit"], given["restart"], given.get("answers", "letter"), given.get("kind"), model_options,
            given["max_tokens"], Screen(given["quiet"], given["as_json"]),
        )  # fmt: skip

    def run(self, open_benchmark: Callable[[Data], Benchmark], judge_options: JudgeOptions | None = None) -> None:
        """Run a benchmark.

        Raises:
            VipLlavaError: the data is damaged, or the model or the judge failed. The answers so far are kept.
        """
        judge = judge_options.open() if judge_options is not None and judge_options.judge is not None else None
        self.screen.note(f"Reading {self.data}")  # minutes, where images are in its rows
        benchmark = open_benchmark(Data(self.data, self.images))
        total = benchmark.count() if self.limit is None else min(benchmark.count(), self.limit)
        backend = self.model_options.plan()
        settings = self._settings(benchmark)
        outputs = self._outputs(backend.name)
        record = settings.record(backend)
        with AnswerLog(benchmark.answers_file(outputs), outputs.model, record, restart=self.restart) as log:
            self.screen.note(
                f"{benchmark.title}: {counted(total, 'question')}; {log.path} has {counted(len(log), 'answer')}."
            )
            self.model_options.load(backend, self.screen)
            with self._progress("answered", total) as advance:
                answered = run_benchmark(benchmark, backend, settings, log, lambda _: advance())
        written = benchmark.write(answered, outputs)
        measure, scores = benchmark.measure, benchmark.score(answered)
        if judge is not None and isinstance(benchmark, VipBench):
            files = GradeFiles(outputs, benchmark.split, judge.name, (judge_options and judge_options.runs) or RUNS)
            scores, tables = self._judged(judge, files, answered)
            written, measure = [*written, *tables], f"graded by {judge.name}"
        self._report(benchmark, outputs, scores, measure, written, answered)

    def _settings(self, benchmark: Benchmark) -> RunSettings:
        marking: Marking = replace(benchmark.marking, view_size=self.model_options.view_size)
        if self.kind is not None:
            marking = replace(marking, kind=parse_kind(self.kind))
        max_tokens = benchmark.max_tokens if self.max_tokens is None else self.max_tokens
        request = replace(self.model_options.settings, max_tokens=max_tokens)
        return RunSettings(request, marking, self.answers, self.batch, self.limit)  # type: ignore[arg-type]

    def _outputs(self, model: str) -> Outputs:
        folder = self.out or (self.data.parent if self.data.is_file() else self.data)
        name = self.name or re.split(r"[/\\]", model.rstrip("/\\"))[-1]
        if not name or not re.fullmatch(r"[\w. +-]+", name) or name.strip(". ") == "":
            raise BenchmarkError(f"--name {shorten(name)}; expected a plain name, which becomes part of file names.")
        return Outputs(folder.expanduser(), name)

    def _judged(self, judge: Judge, files: GradeFiles, answered: Sequence[Answered]) -> tuple[Scores, list[Path]]:
        grades = Grades(files, answered)
        with self._progress("graded", files.runs * len(answered)) as advance:
            nonsense = grades.collect(judge, advance)
        if nonsense:
            self.screen.note(
                f"Note: {counted(nonsense, 'grade')} of the judge were no number, and count as 0. A model that reasons "
                "before it answers needs a higher --judge-tokens."
            )
        return grades.scores(), grades.write()

    def _report(
        self,
        benchmark: Benchmark,
        outputs: Outputs,
        scores: Scores,
        measure: str,
        written: Sequence[Path],
        answered: list[Answered],
    ) -> None:
        failed = list(unanswered(answered))
        cut = sum(each.finish_reason == "length" for each in answered)
        if cut:
            self.screen.note(f"Note: {counted(cut, 'answer')} reached --max-tokens.")
        for path in written:
            self.screen.note(f"Wrote {path}")
        if self.screen.as_json:
            self.screen.record(
                {
                    "benchmark": benchmark.title,
                    "model": outputs.model,
                    "measure": measure,
                    "questions": len(answered),
                    "unanswered": len(failed),
                    "scores": scores.record(),
                    "files": [str(path) for path in written],
                }
            )
        else:
            self.screen.answer(scores.table(measure), end="")
        if failed:
            shown = "; ".join(f"{each.item.id}: {each.error}" for each in failed[:_SHOWN_ERRORS])
            raise BenchmarkError(
                f"{counted(len(failed), 'question')} could not be asked, count as wrong, and are tried again by the "
                f"next run. {shown}"
            )

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show how far the run is: a bar on a terminal, else a line for every tenth."""
        console = Console(stderr=True, emoji=False)
        if self.screen.quiet:
            yield lambda: None
            return
        if not console.is_terminal:
            done = 0

            def count() -> None:
                nonlocal done
                done += 1
                if done * 10 // total > (done - 1) * 10 // total:
                    self.screen.note(f"{done:,} of {total:,} {what}")

            yield count
            return
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)


def _chat_model(name: str) -> Any:
    """Open a chat model by provider and model, or import one of the user's."""
    place, _, attribute = name.partition(":")
    if "." in place and attribute:  # no provider has a dot in its name
        try:
            found = getattr(importlib.import_module(place), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise BenchmarkError(f"cannot import the judge {shorten(name)}: {describe_error(error)}.") from error
        return found
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415  # optional
    except ImportError as error:
        raise BenchmarkError(
            "a judge by provider:model needs langchain, which is not installed: pip install langchain."
        ) from error
    try:
        return init_chat_model(name)
    except Exception as error:  # a missing package, a missing key and an unknown provider raise different types
        reason = cut(describe_error(error), 200)  # LangChain's lists all providers
        raise BenchmarkError(
            f"--judge {shorten(name, 60)}: {reason} Expected provider:model, or package.module:name of one of yours."
        ) from error
