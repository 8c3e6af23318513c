"""`attempts`: conversations to try, each without more of the oldest turns, until the model has room for one."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from langchain_vipllava.errors import (  # type: ignore[attr-defined]  # its stand-in for an older langchain-core
    ContextOverflowError,
    GenerationError,
    PromptTooLongError,
    VipLlavaError,
    describe_error,
)
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.workspace.question import Question


class Attempt:
    """One try to ask: a context around the call of the model. It swallows what a shorter conversation may cure.

    Args:
        question: what is asked.
        forgotten: how many of the oldest turns are left out.
    """

    def __init__(self, question: Question, forgotten: int) -> None:
        self.conversation: Conversation = question.view.conversation(question.words, forgotten)
        self.forgotten = forgotten
        self.has_begun = False
        """Whether a part of the answer was shown to the caller: then there is no other try."""
        self.failed = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, ContextOverflowError):
            if len(self.conversation.turns) > 1 and not self.has_begun:
                self.failed = True
                return True
            if not isinstance(error, VipLlavaError):
                raise PromptTooLongError(f"the question is too long: {describe_error(error)}") from error
        if isinstance(error, Exception) and not isinstance(error, VipLlavaError):
            # of a model that is not ours; an agent's run would end with it
            raise GenerationError(f"the vision model failed: {describe_error(error)}") from error
        return False


def attempts(question: Question, max_turns: int) -> Iterator[Attempt]:
    """Yield tries, until one does not fail for want of room.

    Half of the conversation is forgotten at a time, so that the next questions fit, and begin with what the model
    has in its cache.

    Args:
        question: what is asked; its view is locked by the caller.
        max_turns: turns of a conversation.
    """
    turns = len(question.view.turns)
    forgotten = 0 if turns < max_turns else turns - max_turns // 2
    while True:
        attempt = Attempt(question, forgotten)
        yield attempt
        if not attempt.failed:
            return
        forgotten += (turns - forgotten + 1) // 2
