"""Workloads of the model runner: single questions, follow-ups, many questions, many callers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.baselines import Generate, Pipeline
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from benchmarks.timing import Measured, measure
from langchain_vipllava import Region, mark
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from langchain_vipllava.protocol.answer import Answer, Timings

FORMAT = FORMATS["user_assistant"]
QUESTIONS = [
    f"What is the object within the {c} {k}?" for c in ("red", "lime", "blue") for k in ("rectangle", "arrow", "mask")
]

LENGTHS = [8, 16, 24, 32, 64, 128] * 4
"""Answer lengths in tokens, short and long ones mixed."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        workload: the name of the workload.
        baseline: the name of the baseline.
        ours, theirs: seconds of this package and of the baseline.
        target: the smallest acceptable `speedup`.
        same_answers: whether both return the same answers; None where that is not compared.
        note: other observations.
    """

    workload: str
    baseline: str
    ours: Measured
    theirs: Measured
    target: float
    same_answers: bool | None = None
    note: str = ""

    @property
    def speedup(self) -> float:
        """How many times faster this package is."""
        return self.theirs.median / self.ours.median


class Bench:
    """This package and the baselines on the same weights.

    Args:
        repeats: counted runs per workload.
    """

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.model, self.processor = make_parts()
        self.loaded = as_loaded(self.model)
        self.generate = Generate(self.model, self.processor)
        self.pipeline = Pipeline(self.model, self.processor)
        self.images = [make_image(seed) for seed in range(8)]

    def make_runner(self) -> ModelRunner:
        """Make a runner with empty caches."""
        return ModelRunner(self.loaded, self.processor, cache_bytes=4 * 2**30)

    def rows(self) -> list[Callable[[], Row]]:
        """List the workloads."""
        return [
            self.cold,
            self.cold_static,
            self.follow_ups,
            self.one_image,
            self.many_images,
            self.conversations,
            self.mixed,
            self.session,
        ]

    def cold(self) -> Row:
        """One question about a new image, on a runner that is warmed up."""
        return self._cold("plain generate")

    def cold_static(self) -> Row:
        """The same beside a cache whose size does not change."""
        return self._cold("plain generate, static cache", cache_implementation="static")

    def _cold(self, baseline: str, **how: Any) -> Row:
        runner = self.make_runner()
        images = [make_image(100 + run) for run in range(self.repeats + 1)]  # `measure` does one uncounted run
        conversations = [Conversation((Turn(QUESTIONS[0], (image,)),)) for image in images]
        for_ours, for_plain = iter(conversations), iter(conversations)
        ids: dict[str, list[list[int]]] = {"ours": [], "plain": []}

        def ours() -> None:
            ids["ours"].append(token_ids(ask(runner, make_request(next(for_ours), 16))))

        def plain() -> None:
            conversation = next(for_plain)
            ids["plain"] += self.generate([FORMAT.render(conversation).text], conversation.images, 16, **how)

        times = measure({"ours": ours, "plain": plain}, self.repeats)
        return Row(
            "one cold question, 16 tokens",
            baseline,
            times["ours"],
            times["plain"],
            0.95,
            ids["ours"] == ids["plain"],
        )

    def follow_ups(self) -> Row:
        """Time to the first token of turns 2 to 5."""
        history = self._grow(5, 12)
        ids: list[list[int]] = []

        def ours() -> float:
            runner = self.make_runner()
            results = [ask(runner, make_request(conversation, 12)) for conversation in history]
            ids[:] = [token_ids(result) for result in results]
            return statistics.mean(timings(result).first_token for result in results[1:])

        def theirs() -> float:
            prompts = [FORMAT.render(conversation).text for conversation in history[1:]]
            return statistics.mean(self.pipeline.first_token(prompt, self.images[0]) for prompt in prompts)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        same = ids == [self._plain_ids(conversation, 12) for conversation in history]
        return Row("follow-up turns 2-5, first token", "pipeline", times["ours"], times["pipeline"], 15, same)

    def one_image(self) -> Row:
        """Eight questions about one image."""
        conversations = [Conversation((Turn(question, (self.images[0],)),)) for question in QUESTIONS[:8]]
        return self._against_pipeline("8 questions on one image, 16 tokens", conversations, [16] * 8, batch=1, target=4)

    def many_images(self) -> Row:
        """One question about each of eight images."""
        conversations = [Conversation((Turn(QUESTIONS[0], (image,)),)) for image in self.images]
        return self._against_pipeline(
            "8 images, one question each, 16 tokens", conversations, [16] * 8, batch=8, target=1
        )

    def conversations(self) -> Row:
        """Eight concurrent conversations of three turns, each about a different image."""
        histories = [self._grow(3, 12, image) for image in self.images]
        slowest: list[float] = []
        ids: list[list[int]] = []

        def ours() -> None:
            runner = self.make_runner()
            ids.clear()
            for turn in range(3):
                results = asyncio.run(ask_all(runner, [history[turn] for history in histories], 12))
                ids.extend(token_ids(result) for result in results)
                first_tokens = [timings(result).first_token for result in results]
                slowest.append(max(first_tokens) / statistics.median(first_tokens))

        def theirs() -> None:
            for history in histories:
                for conversation in history:
                    self.pipeline([FORMAT.render(conversation).text], conversation.images, 12)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        same = ids == [self._plain_ids(history[turn], 12) for turn in range(3) for history in histories]
        note = f"slowest first token {max(slowest):.1f}x the median"
        name = "8 conversations of 3 turns at once, 12 tokens"
        return Row(name, "pipeline, in turn", times["ours"], times["pipeline"], 3, same, note)

    def mixed(self) -> Row:
        """Answers of mixed lengths: a short one must not wait for a long one."""
        conversations = [
            Conversation((Turn(QUESTIONS[index % 8], (self.images[index % 8],)),)) for index in range(len(LENGTHS))
        ]

        def ours() -> None:
            ask_together(self.make_runner(), conversations, LENGTHS)

        def theirs() -> None:
            for start in range(0, len(conversations), 8):
                batch = conversations[start : start + 8]
                prompts = [FORMAT.render(conversation).text for conversation in batch]
                images = [conversation.images[0] for conversation in batch]
                self.generate(prompts, images, max(LENGTHS[start : start + 8]))

        times = measure({"ours": ours, "generate": theirs}, 1)
        return Row("24 requests of 8-128 tokens", "generate in batches of 8", times["ours"], times["generate"], 1.6)

    def session(self) -> Row:
        """An agent's session: four regions of one image, three questions each, the four asked concurrently."""
        regions = [Region(box=(40 + 150 * index, 120, 150 + 150 * index, 320)) for index in range(4)]
        image = self.images[0]
        marked = mark(image, regions)
        openings = [marked.question(f"What is the object {{{index}}}?") for index in range(4)]
        histories = [self._grow(3, 8, marked.encoded, opening) for opening in openings]

        def ours() -> None:
            runner = self.make_runner()
            mark(image, regions)
            for turn in range(3):
                asyncio.run(ask_all(runner, [history[turn] for history in histories], 8))

        def theirs() -> None:
            mark(image, regions)
            for history in histories:
                for conversation in history:
                    self.pipeline([FORMAT.render(conversation).text], conversation.images, 8)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        name = "an agent's session: 4 regions, 3 questions each, 8 tokens"
        return Row(name, "pipeline", times["ours"], times["pipeline"], 5)

    def _against_pipeline(
        self, name: str, conversations: Sequence[Conversation], tokens: list[int], *, batch: int, target: float
    ) -> Row:
        texts: dict[str, list[str]] = {}

        def ours() -> None:
            texts["ours"] = [result.text for result in ask_together(self.make_runner(), conversations, tokens)]

        def theirs() -> None:
            prompts = [FORMAT.render(conversation).text for conversation in conversations]
            images = [conversation.images[0] for conversation in conversations]
            texts["pipeline"] = self.pipeline(prompts, images, tokens[0], batch)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        same = texts["ours"] == [text.strip() for text in texts["pipeline"]]
        baseline = "pipeline, one at a time" if batch == 1 else f"pipeline, batch of {batch}"
        return Row(name, baseline, times["ours"], times["pipeline"], target, same)

    def _grow(
        self, count: int, tokens: int, image: EncodedImage | None = None, opening: str = QUESTIONS[0]
    ) -> list[Conversation]:
        """Return a conversation at each of its turns, with the model's answers to the earlier ones."""
        runner = self.make_runner()
        turns: tuple[Turn, ...] = (Turn(opening, (image or self.images[0],)),)
        history = [Conversation(turns)]
        while len(history) < count:
            answer = ask(runner, make_request(history[-1], tokens))
            answered = replace(turns[-1], answer=answer.text, answer_ids=answer.token_ids)
            turns = (*turns[:-1], answered, Turn(QUESTIONS[len(history)]))
            history.append(Conversation(turns))
        return history

    def _plain_ids(self, conversation: Conversation, tokens: int) -> list[int]:
        """Return what plain `generate` answers after the same token ids."""
        ids = self.make_runner().encoder.encode(make_request(conversation, tokens)).ids
        return self.generate.complete(ids, conversation.images[0], tokens)


def make_request(conversation: Conversation, tokens: int) -> GenerationRequest:
    """Make a request for an answer of at most `tokens` tokens."""
    return GenerationRequest(FORMAT.render(conversation), conversation.images, max_tokens=tokens)


def ask(runner: ModelRunner, request: GenerationRequest) -> Answer:
    """Answer one request and wait."""
    return runner.submit(request).future.result()


def token_ids(answer: Answer) -> list[int]:
    """Return the answer's token ids, which the engine always knows."""
    return list(answer.token_ids or ())


def timings(answer: Answer) -> Timings:
    """Return where the time of an answer went, which the engine always measures."""
    assert answer.timings is not None  # noqa: S101
    return answer.timings


async def ask_all(runner: ModelRunner, conversations: Sequence[Conversation], tokens: int) -> list[Answer]:
    """Answer conversations concurrently, each submitted from its own task."""

    async def submit(conversation: Conversation) -> Answer:
        handle = await asyncio.to_thread(runner.submit, make_request(conversation, tokens))
        return await handle.future

    return list(await asyncio.gather(*map(submit, conversations)))


def ask_together(runner: ModelRunner, conversations: Sequence[Conversation], tokens: Sequence[int]) -> list[Answer]:
    """Submit all conversations, then wait for the answers."""
    pairs = zip(conversations, tokens, strict=True)
    handles = [runner.submit(make_request(conversation, length)) for conversation, length in pairs]
    return [handle.future.result() for handle in handles]
