"""`Voting`: one question about several looks of the same regions, and the vote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind
from langchain_vipllava.markers.looks import bare_words_of_marker, other_looks, reworded, words_of_no_marker
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.workspace.attempts import attempts
from langchain_vipllava.workspace.marker_names import MarkerNames
from langchain_vipllava.workspace.question import Question
from langchain_vipllava.workspace.vision_model import ModelReply, VisionModel, aanswer_rated, answer_rated, check_reply
from langchain_vipllava.workspace.voted import Election, Vote, Voted


class Voting:
    """Asks one question about several looks of an image.

    Args:
        question: about a view with markers.
        kinds: see `other_looks`.
        colors: see `other_looks`.
        view_size: see `mark`.

    Raises:
        MarkerError: the view has no markers, unknown names, fewer than two looks, a question that names a marker that
            is not there.
    """

    def __init__(
        self,
        question: Question,
        kinds: Iterable[MarkerKind] | None,
        colors: Iterable[MarkerColor] | None,
        view_size: int,
    ) -> None:
        if question.view.marked is None:
            raise MarkerError(
                f"{question.image.id} has no markers to vote with. Call mark_regions with it, and ask about the "
                "image_id that it returns, or ask without a vote."
            )
        _refuse_other_looks(question)
        self._question, self._own = question, question.view.marked
        self._looks = other_looks(self._own, kinds, colors, view_size=view_size)

    def ask(self, model: VisionModel, max_turns: int) -> Voted:
        """Ask about each look in turn. The caller holds the view's `question_lock`.

        Raises:
            GenerationError: the model failed. The conversation is as it was.
        """
        replies = []
        for look in self._looks:
            question = self._question.about(look)
            for attempt in attempts(question, max_turns):
                with attempt:
                    reply = answer_rated(model, attempt.conversation)
            replies.append((question, attempt.forgotten, reply))
        return self._count(replies)

    async def aask(self, model: VisionModel, max_turns: int) -> Voted:
        """Ask about all looks at once. One that fails stops the others, as does cancellation."""

        async def ask_about(look: MarkedImage) -> tuple[Question, int, ModelReply]:
            question = self._question.about(look)
            for attempt in attempts(question, max_turns):
                with attempt:
                    reply = await aanswer_rated(model, attempt.conversation)
            return question, attempt.forgotten, reply

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask_about(look)) for look in self._looks]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return self._count([task.result() for task in tasks])

    def _count(self, replies: list[tuple[Question, int, ModelReply]]) -> Voted:
        """Count the votes, and go on with the conversation about the image's own look."""
        asked, own = self._question, self._own.markers
        votes = []
        for (question, _, reply), look in zip(replies, self._looks, strict=True):
            check_reply(reply)
            answer = reworded(reply.text, look.markers, own)
            votes.append(Vote(tuple(look.phrases), question.words, answer, reply.confidence))
        election = Election.of(votes)
        won, reply = votes[election.winner], replies[election.winner][2]
        forgotten = max(count for _, count, _ in replies)
        token_ids = reply.token_ids if won.answer == reply.text else None
        asked.view.add_answer(asked.view.conversation(asked.words, forgotten), won.answer, token_ids)
        asked.image.last_page = asked.page
        return Voted(
            asked.image.id,
            asked.words,
            won.answer,
            forgotten,
            asked.page,
            tuple(votes),
            election.agreement,
            election.confidence,
        )


def _refuse_other_looks(question: Question) -> None:
    """Refuse words of a marker that the image or another look does not have.

    Raises:
        MarkerError: there are some.
    """
    for text in question.parts:
        if isinstance(text, str) and (said := words_of_no_marker(text, question.view.markers)) is not None:
            MarkerNames(question.image.id, question.image.markers).refuse_look(said)
        if isinstance(text, str) and (bare := bare_words_of_marker(text, question.view.markers)) is not None:
            said, marker = bare
            raise MarkerError(
                f"the question names {shorten(said, 60)}, a marker that other looks of a vote lack. Name what it "
                f"marks: {marker.region.id}, or {shorten(f'the object {marker.phrase}', 80)}."
            )
