"""`ask_regions`: the tool that asks ViP-LLaVA about a marked image."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from langchain_vipllava.errors import GenerationError, PromptError, VipLlavaError
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, save
from langchain_vipllava.tools.session import OpenImage, Session


class AskRegionsInput(BaseModel):
    """Arguments of `ask_regions`."""

    image_id: str = Field(description="Id of a marked image, as mark_regions gave it (or of an open image).")
    question: str = Field(
        description=(
            'One question. Name a region by the words of its marker ("the object within the red rectangle"), or by '
            "{r1}, which is replaced by these words."
        )
    )


class AskRegionsTool(RegionTool):
    """Asks about an image; every image has its own conversation, so that "it" can mean what was asked before.

    Attributes:
        chat_model: the model that sees images.
    """

    name: str = "ask_regions"
    description: str = (
        "Ask a vision model one question about a marked image. It remembers the earlier questions about the same "
        "marked image, so follow-ups such as 'What color is it?' work: ask them in a later step, as calls made in "
        "one step may be answered in any order."
    )
    args_schema: type[BaseModel] = AskRegionsInput
    chat_model: BaseChatModel = Field(repr=False)

    def _run(
        self,
        image_id: str,
        question: str,
        config: RunnableConfig,
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> Reply:
        with _as_tool_errors():
            session = self._session(config)
            opened = self._opened(session, image_id, question)
            with opened.turn:
                asked = _next_message(opened, question)
                with _as_model_errors(opened):
                    answer = self.chat_model.invoke([*opened.messages, asked], _inner_config(run_manager))
                opened.messages += [asked, answer]
        save(session)
        return _reply(opened, asked, answer)

    async def _arun(
        self,
        image_id: str,
        question: str,
        config: RunnableConfig,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> Reply:
        """The same awaited: a call that is cancelled stops the model, and leaves the conversation as it was."""
        with _as_tool_errors():
            session = await asyncio.to_thread(self._session, config)
            opened = await asyncio.to_thread(self._opened, session, image_id, question)
            async with opened.turn:
                asked = _next_message(opened, question)
                with _as_model_errors(opened):
                    answer = await self.chat_model.ainvoke([*opened.messages, asked], _inner_config(run_manager))
                opened.messages += [asked, answer]
        await asyncio.to_thread(save, session)
        return _reply(opened, asked, answer)

    def _opened(self, session: Session, image_id: str, question: str) -> OpenImage:
        opened = self._image(session, image_id)
        if not question.strip():
            raise PromptError("the question is empty; expected words, such as 'What is the object {r1}?'.")
        _next_message(opened, question)  # encodes the image, before others have to wait for that
        return opened


@contextmanager
def _as_tool_errors() -> Iterator[None]:
    try:
        yield
    except VipLlavaError as error:
        raise as_tool_error(error) from error


@contextmanager
def _as_model_errors(opened: OpenImage) -> Iterator[None]:
    try:
        yield
    except GenerationError as error:
        if not opened.messages:
            raise
        raise GenerationError(f"{error} A new call of mark_regions begins a new conversation.") from error
    except VipLlavaError:
        raise
    except Exception as error:  # of a model that is not ours; an agent's run would end with it
        raise GenerationError(f"the vision model failed: {type(error).__name__}: {error}") from error


def _reply(opened: OpenImage, asked: BaseMessage, answer: BaseMessage) -> Reply:
    return answer.text, {"image_id": opened.id, "question": asked.text, "answer": answer.text}


def _next_message(opened: OpenImage, question: str) -> BaseMessage:
    """The question as the next turn; the image comes along only in the first."""
    if opened.messages:
        return HumanMessage(opened.shown.question(question))
    return opened.shown.message(question)


def _inner_config(run_manager: CallbackManagerForToolRun | AsyncCallbackManagerForToolRun | None) -> RunnableConfig:
    # "nostream": the agent's own token stream must not carry the vision model's tokens
    config: RunnableConfig = {"tags": ["nostream"]}
    if run_manager is not None:
        config["callbacks"] = run_manager.get_child()
    return config
