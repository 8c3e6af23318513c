"""Workloads of the model host: one question, follow-ups, many questions, many callers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from benchmarks.checkpoint import make_image, make_parts
from benchmarks.peers import Generate, Pipeline
from benchmarks.timing import Measured, measure
from langchain_vipllava import Region, mark
from langchain_vipllava.engine.request import GenerationRequest, GenerationResult
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS

FORM = FORMATS["user_assistant"]
QUESTIONS = [
    f"What is the object within the {c} {k}?" for c in ("red", "lime", "blue") for k in ("rectangle", "arrow", "mask")
]

LENGTHS = [8, 16, 24, 32, 64, 128] * 4
"""Tokens of answers that are mixed on purpose."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        workload: what was done.
        against: the peer.
        ours, peer: seconds.
        wanted: the least ratio peer / ours.
        exact: whether both gave the same answers; None where that was not compared.
        note: anything else that was seen.
    """

    workload: str
    against: str
    ours: Measured
    peer: Measured
    wanted: float
    exact: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer.median / self.ours.median


class Bench:
    """The model, its host made anew for every cold run, and the peers on the same weights."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.model, self.processor = make_parts()
        self.generate = Generate(self.model, self.processor)
        self.pipeline = Pipeline(self.model, self.processor)
        self.images = [make_image(seed) for seed in range(8)]

    def host(self) -> ModelRunner:
        """A host that knows nothing yet."""
        return ModelRunner(self.model, self.processor, cache_bytes=4 * 2**30)

    def rows(self) -> list[Callable[[], Row]]:
        """Every workload."""
        return [
            self.cold,
            self.follow_ups,
            self.one_image,
            self.many_images,
            self.conversations,
            self.mixed,
            self.session,
        ]

    def cold(self) -> Row:
        """One question about an image that was never seen before, by a host that has answered others."""
        host = self.host()
        images = [make_image(100 + run) for run in range(self.repeats + 1)]  # one more: see measure
        talks = [Conversation((Turn(QUESTIONS[0], (image,)),)) for image in images]
        mine, theirs = iter(talks), iter(talks)
        said: dict[str, list[list[int]]] = {"ours": [], "plain": []}

        def ours() -> None:
            said["ours"].append(list(host.generate(make_request(next(mine), 16)).ids))

        def plain() -> None:
            talk = next(theirs)
            said["plain"] += self.generate([FORM.render(talk).text], talk.images, 16)

        times = measure({"ours": ours, "plain": plain}, self.repeats)
        return Row(
            "one cold question, 16 tokens",
            "plain generate",
            times["ours"],
            times["plain"],
            0.95,
            said["ours"] == said["plain"],
        )

    def follow_ups(self) -> Row:
        """Time to the first token of turns 2 to 5."""
        talks = self._turns(5, 12)
        said: list[list[int]] = []

        def ours() -> float:
            host = self.host()
            results = [host.generate(make_request(talk, 12)) for talk in talks]
            said[:] = [list(result.ids) for result in results]
            return statistics.mean(result.timings.first_token for result in results[1:])

        def theirs() -> float:
            return statistics.mean(
                self.pipeline.first_token(FORM.render(talk).text, self.images[0]) for talk in talks[1:]
            )

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        exact = said == [self._plain(talk, 12) for talk in talks]
        return Row("follow-up turns 2-5, first token", "pipeline", times["ours"], times["pipeline"], 12, exact)

    def one_image(self) -> Row:
        """Eight questions about one image."""
        talks = [Conversation((Turn(question, (self.images[0],)),)) for question in QUESTIONS[:8]]
        return self._against_pipeline("8 questions on one image, 16 tokens", talks, [16] * 8, batch=1, wanted=4)

    def many_images(self) -> Row:
        """One question about each of eight images."""
        talks = [Conversation((Turn(QUESTIONS[0], (image,)),)) for image in self.images]
        return self._against_pipeline("8 images, one question each, 16 tokens", talks, [16] * 8, batch=8, wanted=1)

    def conversations(self) -> Row:
        """Eight conversations of three turns at once, each about an image of its own."""
        all_talks = [self._turns(3, 12, image) for image in self.images]
        spread: list[float] = []
        said: list[list[int]] = []

        def ours() -> None:
            host = self.host()
            said.clear()
            for turn in range(3):
                results = asyncio.run(ask_all(host, [talks[turn] for talks in all_talks], 12))
                said.extend(list(result.ids) for result in results)
                firsts = [result.timings.first_token for result in results]
                spread.append(max(firsts) / statistics.median(firsts))

        def theirs() -> None:
            for talks in all_talks:
                for talk in talks:
                    self.pipeline([FORM.render(talk).text], talk.images, 12)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        exact = said == [self._plain(talks[turn], 12) for turn in range(3) for talks in all_talks]
        note = f"slowest first token {max(spread):.1f}x the median"
        name = "8 conversations of 3 turns at once, 12 tokens"
        return Row(name, "pipeline, in turn", times["ours"], times["pipeline"], 3, exact, note)

    def mixed(self) -> Row:
        """Answers of mixed lengths: a short one must not wait for a long one."""
        talks = [
            Conversation((Turn(QUESTIONS[index % 8], (self.images[index % 8],)),)) for index in range(len(LENGTHS))
        ]

        def ours() -> None:
            ask_together(self.host(), talks, LENGTHS)

        def theirs() -> None:
            for start in range(0, len(talks), 8):
                group = talks[start : start + 8]
                prompts = [FORM.render(talk).text for talk in group]
                self.generate(prompts, [talk.images[0] for talk in group], max(LENGTHS[start : start + 8]))

        times = measure({"ours": ours, "generate": theirs}, 1)
        return Row("24 requests of 8-128 tokens", "generate in batches of 8", times["ours"], times["generate"], 1.6)

    def session(self) -> Row:
        """An agent's session: four regions of one image, three questions each, asked of all four at once."""
        regions = [Region(box=(40 + 150 * index, 120, 150 + 150 * index, 320)) for index in range(4)]
        image = self.images[0]
        marked = mark(image, regions)
        openings = [marked.question(f"What is the object {{{index}}}?") for index in range(4)]
        all_talks = [self._turns(3, 8, marked.image, opening) for opening in openings]

        def ours() -> None:
            host = self.host()
            mark(image, regions)
            for turn in range(3):
                asyncio.run(ask_all(host, [talks[turn] for talks in all_talks], 8))

        def theirs() -> None:
            mark(image, regions)
            for talks in all_talks:
                for talk in talks:
                    self.pipeline([FORM.render(talk).text], talk.images, 8)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        name = "an agent's session: 4 regions, 3 questions each, 8 tokens"
        return Row(name, "pipeline", times["ours"], times["pipeline"], 5)

    def _against_pipeline(
        self, name: str, talks: Sequence[Conversation], tokens: list[int], *, batch: int, wanted: float
    ) -> Row:
        said: dict[str, list[str]] = {}

        def ours() -> None:
            said["ours"] = [result.text for result in ask_together(self.host(), talks, tokens)]

        def theirs() -> None:
            prompts = [FORM.render(talk).text for talk in talks]
            said["pipeline"] = self.pipeline(prompts, [talk.images[0] for talk in talks], tokens[0], batch)

        times = measure({"ours": ours, "pipeline": theirs}, self.repeats)
        exact = said["ours"] == [text.strip() for text in said["pipeline"]]
        against = "pipeline, one at a time" if batch == 1 else f"pipeline, batch of {batch}"
        return Row(name, against, times["ours"], times["pipeline"], wanted, exact)

    def _turns(
        self, count: int, tokens: int, image: Image.Image | None = None, opening: str = QUESTIONS[0]
    ) -> list[Conversation]:
        """A conversation as it grows, with the model's own answers."""
        host = self.host()
        turns: tuple[Turn, ...] = (Turn(opening, (image or self.images[0],)),)
        talks = [Conversation(turns)]
        while len(talks) < count:
            said = host.generate(make_request(talks[-1], tokens))
            answered = replace(turns[-1], answer=said.text, answer_ids=said.ids)
            turns = (*turns[:-1], answered, Turn(QUESTIONS[len(talks)]))
            talks.append(Conversation(turns))
        return talks

    def _plain(self, talk: Conversation, tokens: int) -> list[int]:
        """What plain `generate` says behind the same token ids."""
        ids = self.host().encoder.encode(make_request(talk, tokens)).ids
        return self.generate.go_on(ids, talk.images[0], tokens)


def make_request(talk: Conversation, tokens: int) -> GenerationRequest:
    """A conversation as a request for an answer of that many tokens at most."""
    return GenerationRequest(FORM.render(talk), talk.images, max_tokens=tokens)


async def ask_all(host: ModelRunner, talks: Sequence[Conversation], tokens: int) -> list[GenerationResult]:
    """Answers to questions that are asked at once."""

    async def ask(talk: Conversation) -> GenerationResult:
        ticket = await asyncio.to_thread(host.submit, make_request(talk, tokens))
        return await asyncio.wrap_future(ticket.future)

    return list(await asyncio.gather(*map(ask, talks)))


def ask_together(host: ModelRunner, talks: Sequence[Conversation], tokens: Sequence[int]) -> list[GenerationResult]:
    """Answers to questions that are handed in one after the other, before any of them is waited for."""
    tickets = [host.submit(make_request(talk, most)) for talk, most in zip(talks, tokens, strict=True)]
    return [ticket.future.result() for ticket in tickets]
