"""`Asking`: the questions of a `Workspace`: asked, streamed, and put to the vote."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing

from langchain_vipllava.errors import GenerationError, SessionError, VipLlavaError, shorten
from langchain_vipllava.images.view import view_size_of
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind
from langchain_vipllava.workspace.attempts import Attempt, attempts
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.question import Question, read_question
from langchain_vipllava.workspace.results import Answered
from langchain_vipllava.workspace.session import Session
from langchain_vipllava.workspace.session_id import RunSession, SessionId
from langchain_vipllava.workspace.session_pool import SessionPool
from langchain_vipllava.workspace.vision_model import ModelReply, VisionModel, check_reply
from langchain_vipllava.workspace.voted import Voted
from langchain_vipllava.workspace.voting import Voting

logger = logging.getLogger(__name__)

_OWN_RUN = "Without a thread_id, each run of an agent has images of its own."


class Asking:
    """The part of a `Workspace` that asks its model."""

    _model: VisionModel | None
    _limits: SessionLimits
    _sessions: SessionPool

    def ask(self, image_id: str, question: str, *, session: SessionId = None) -> Answered:
        """Ask one question about an image, as the next turn of its conversation.

        Args:
            image_id: id of an open image, usually a marked one.
            question: placeholders such as `{r1}` stand for the words of a marker.
            session: id of the session.

        Raises:
            SessionError: no such image.
            MarkerError: a placeholder names no marker.
            PromptError: an empty question.
            GenerationError: the model failed. The conversation is as it was.
        """
        current, asked = self._prepare_question(image_id, question, session)
        with asked.view.question_lock.place():
            for attempt in attempts(asked, self._limits.max_turns):
                with attempt:
                    reply = self._vision_model().answer(attempt.conversation)
            answered = _answered(asked, attempt, reply)
        self._settle(current)
        return answered

    async def aask(self, image_id: str, question: str, *, session: SessionId = None) -> Answered:
        """Ask without blocking the event loop. Cancellation stops the model and leaves the conversation as it was."""
        current, asked = await asyncio.to_thread(self._prepare_question, image_id, question, session)
        async with asked.view.question_lock.place():
            for attempt in attempts(asked, self._limits.max_turns):
                with attempt:
                    reply = await self._vision_model().aanswer(attempt.conversation)
            answered = _answered(asked, attempt, reply)
        await asyncio.to_thread(self._settle, current)
        return answered

    def ask_vote(
        self,
        image_id: str,
        question: str,
        *,
        session: SessionId = None,
        kinds: Iterable[MarkerKind] | None = None,
        colors: Iterable[MarkerColor] | None = None,
    ) -> Voted:
        """Mark the regions again in several looks, ask about each, and return the answer that most of them have.

        The answer becomes the next turn of the conversation, as that of `ask`. Answers count as equal that differ in
        case, spaces and the signs around them. It takes as many questions as there are looks, and helps where markers
        are hard to see or to tell apart; see the guide on votes.

        Args:
            image_id: id of a marked image.
            question: see `ask`.
            session: id of the session.
            kinds: one look for each, such as `["rectangle", "arrow"]`; None takes four, or where `colors` are given
                those of the image's markers.
            colors: one look for each, with every kind; None chooses them as `mark` does.

        Raises:
            SessionError, PromptError, GenerationError: see `ask`.
            MarkerError: see `ask`; the image has no markers, unknown names, fewer than 2 looks or more than 12.
        """
        current, asked = self._prepare_question(image_id, question, session)
        voting = Voting(asked, kinds, colors, view_size_of(self._model))
        with asked.view.question_lock.place():
            voted = voting.ask(self._vision_model(), self._limits.max_turns)
        self._settle(current)
        return voted

    async def aask_vote(
        self,
        image_id: str,
        question: str,
        *,
        session: SessionId = None,
        kinds: Iterable[MarkerKind] | None = None,
        colors: Iterable[MarkerColor] | None = None,
    ) -> Voted:
        """Do the same without blocking the event loop; all looks are asked about at once."""
        current, asked = await asyncio.to_thread(self._prepare_question, image_id, question, session)
        voting = await asyncio.to_thread(Voting, asked, kinds, colors, view_size_of(self._model))
        async with asked.view.question_lock.place():
            voted = await voting.aask(self._vision_model(), self._limits.max_turns)
        await asyncio.to_thread(self._settle, current)
        return voted

    def stream(
        self, image_id: str, question: str, *, session: SessionId = None
    ) -> Generator[str | Answered, None, None]:
        """Ask, yield pieces of the answer while the model writes, and the whole answer last.

        Other questions about the image wait until the iterator ends or is closed. Closing it early stops the model
        and leaves the conversation as it was.
        """
        current, asked = self._prepare_question(image_id, question, session)
        with asked.view.question_lock.place():
            reply: str | ModelReply = ""
            for attempt in attempts(asked, self._limits.max_turns):
                with attempt, closing(self._vision_model().stream(attempt.conversation)) as pieces:
                    for reply in pieces:
                        if isinstance(reply, str):
                            attempt.has_begun = True
                            yield reply
            answered = _answered(asked, attempt, reply)
        self._settle(current)
        yield answered

    async def astream(
        self, image_id: str, question: str, *, session: SessionId = None
    ) -> AsyncGenerator[str | Answered, None]:
        """Do the same without blocking the event loop."""
        current, asked = await asyncio.to_thread(self._prepare_question, image_id, question, session)
        async with asked.view.question_lock.place():
            reply: str | ModelReply = ""
            for attempt in attempts(asked, self._limits.max_turns):
                with attempt:
                    async with aclosing(self._vision_model().astream(attempt.conversation)) as pieces:
                        async for reply in pieces:
                            if isinstance(reply, str):
                                attempt.has_begun = True
                                yield reply
            answered = _answered(asked, attempt, reply)
        await asyncio.to_thread(self._settle, current)
        yield answered

    def _settle(self, session: Session) -> None:
        """Bring a session within its limits after a change, and save it.

        Failures to save are logged: a full disk must not fail the call.
        """
        self._sessions.fit(session)
        try:
            session.save()
        except (VipLlavaError, TypeError, ValueError) as error:
            logger.warning("the session is not saved: %s", error)

    def _find(self, image_id: str, session: SessionId) -> tuple[Session, OpenImage]:
        current = self._sessions.get(session)
        try:
            return current, current.find(read_image_id(image_id), self._sessions.shared)
        except SessionError as error:
            if not isinstance(session, RunSession):
                raise
            raise SessionError(f"{error} {_OWN_RUN}") from error

    def _prepare_question(self, image_id: str, question: str, session: SessionId) -> tuple[Session, Question]:
        current, opened = self._find(image_id, session)
        return current, read_question(opened, question)

    def _vision_model(self) -> VisionModel:
        if self._model is None:
            raise GenerationError("there is no vision model; the program has to configure one.")
        return self._model


def _answered(asked: Question, attempt: Attempt, returned: object) -> Answered:
    reply = check_reply(returned)
    asked.view.add_answer(attempt.conversation, reply.text, reply.token_ids)
    asked.image.last_page = asked.page
    return Answered(asked.image.id, asked.words, reply.text, attempt.forgotten, asked.page)


def read_image_id(image_id: object) -> str:
    """Return an id as LLMs write it, as it is: `img1`, "Marked 1".

    Raises:
        SessionError: it is no text.
    """
    if not isinstance(image_id, str):
        raise SessionError(f"image_id={shorten(image_id)}; expected the id of an open image, such as 'img1'.")
    dressed = re.fullmatch(r"[\s\"'`\[(<{]*([A-Za-z]{1,20})[ _-]?(\d{1,18})[\s\"'`\])>}]*", image_id)
    return image_id.strip() if dressed is None else f"{dressed[1].lower()}{dressed[2]}"
