"""`run_benchmark`: answer all items, some at a time, and keep every answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

from langchain_vipllava.bench.answer_log import AnswerLog
from langchain_vipllava.bench.benchmark import Benchmark
from langchain_vipllava.bench.choices import letter_of, one_of
from langchain_vipllava.bench.item import Answered, Item, Marking
from langchain_vipllava.errors import (
    BenchmarkError,
    ImageError,
    MarkerError,
    PromptError,
    PromptTooLongError,
    RegionError,
    describe_error,
    shorten,
)
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.backend import Backend
from langchain_vipllava.protocol.chat_request import ChatRequest

AnswerForm = Literal["letter", "option"]
"""How a choice is asked for: by its letter, as the official evaluations do, or as the text of an option, which the
answer is held to."""

BATCH = 16
"""Items that are answered at once. Chosen: as many as the engine decodes together."""

_OF_ONE_ITEM = (ImageError, RegionError, MarkerError, PromptError, PromptTooLongError)
"""Errors that say something about one item. Any other one ends the run: the next item would fail like this one."""


@dataclass(frozen=True)
class RunSettings:
    """How a benchmark is run.

    Attributes:
        request: sampling, `max_tokens`, prompt format; its conversation is replaced by each question.
        marking: how regions are marked.
        form: how a choice is asked for.
        batch: items that are answered at once.
        limit: answer only this many items, the first ones; None for all.
    """

    request: ChatRequest
    marking: Marking
    form: AnswerForm = "letter"
    batch: int = BATCH
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.form not in get_args(AnswerForm):
            raise BenchmarkError(f"form={shorten(self.form)}; expected 'letter' or 'option'.")
        for name in ("batch", "limit"):
            value = getattr(self, name)
            if not (value is None and name == "limit") and (not isinstance(value, int) or value < 1):
                raise BenchmarkError(f"{name}={shorten(value)}; expected a whole number of at least 1.")

    def record(self, backend: Backend) -> dict[str, object]:
        """Return what decides about answers, as plain JSON types."""
        request, sampling = self.request, self.request.sampling
        return {
            "model": backend.name,
            "prompt_format": request.prompt_format,
            "max_tokens": request.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "kind": self.marking.kind,
            "opacity": self.marking.opacity,
            "form": self.form,
        }


def run_benchmark(
    benchmark: Benchmark,
    backend: Backend,
    settings: RunSettings,
    log: AnswerLog,
    on_answer: Callable[[Answered], None] = lambda _: None,
) -> list[Answered]:
    """Answer the items of a benchmark that the log has no answer to.

    An item that cannot be asked, such as one without its image, has an error in place of an answer, and is tried again
    by the next run.

    Args:
        benchmark: its items.
        backend: answers; in this process or served.
        settings: how.
        log: the answers so far; new ones are added as they come.
        on_answer: called with each answered item, also with those of the log, in the order in which they are done.

    Returns:
        All items in their order.

    Raises:
        BenchmarkError: damaged data.
        GenerationError: the model failed. The answers so far are in the log: run it again.
    """
    done: dict[int, Answered] = {}
    waiting: dict[Future[Answered], int] = {}

    def collect(*, until: int) -> None:
        while len(waiting) > until:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                index = waiting.pop(future)
                answered = future.result()
                if answered.error is None:
                    log.add(answered)
                done[index] = answered
                on_answer(answered)

    with ThreadPoolExecutor(settings.batch, "vipllava-bench") as pool:
        try:
            for index, item in enumerate(islice(benchmark.items(), settings.limit)):
                known = log.get(item)
                if known is not None:
                    done[index] = known
                    on_answer(known)
                    continue
                waiting[pool.submit(_answer, item, backend, settings)] = index
                collect(until=2 * settings.batch - 1)  # images of the next batch are opened meanwhile
            collect(until=0)
        except BaseException:
            for future in waiting:
                future.cancel()
            pool.shutdown()
            with suppress(BenchmarkError):  # of a full disk, which may be why the run ends
                for future in waiting:
                    if not future.cancelled() and future.exception() is None and future.result().error is None:
                        log.add(future.result())
            raise
    return [done[index] for index in sorted(done)]


def unanswered(answered: list[Answered]) -> Iterator[Answered]:
    """Yield the items that have no answer."""
    return (each for each in answered if each.error is not None)


def _answer(item: Item, backend: Backend, settings: RunSettings) -> Answered:
    bare = item.without_image()
    try:
        posed = item.pose(settings.marking)
        by_option = settings.form == "option" and bool(posed.options)
        prompt = posed.question if by_option else posed.prompt
        request = replace(settings.request, conversation=Conversation((Turn(prompt, (posed.image,)),)))
        if by_option:
            request = replace(request, output=one_of(posed.options.values()))
        answer = backend.generate(request)
    except _OF_ONE_ITEM as error:
        return Answered(bare, "", "", describe_error(error))
    text = letter_of(answer, posed.options) if by_option else answer.text
    return Answered(bare, prompt, text, finish_reason=answer.finish_reason)
