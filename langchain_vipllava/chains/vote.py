"""`VoteAboutRegions`: a step of an LCEL chain that marks regions in several looks, asks about each, and votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import SkipValidation

from langchain_vipllava.chains.steps import AskAboutRegions, RegionPrompt, Step
from langchain_vipllava.chat.confidence import confidence_of
from langchain_vipllava.chat.model import ChatVipLlava
from langchain_vipllava.errors import MarkerError, shorten
from langchain_vipllava.images.store import image_id
from langchain_vipllava.images.view import view_size_of
from langchain_vipllava.markers.kinds import MarkerColor, MarkerKind
from langchain_vipllava.markers.looks import (
    bare_words_of_marker,
    other_looks,
    read_colors,
    read_kinds,
    reworded,
    words_of_no_marker,
)
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.workspace.voted import Election, Vote


class VoteAboutRegions(Step):
    """Mark the regions in several looks, ask about each, and vote: `{"marked", "question", ...}` -> the same with more.

    Added are `"answer"`, the one with the most votes; `"agreement"`, the share of the votes for it, 0 to 1;
    `"confidence"`, the mean of these votes' confidences, None where the model does not tell; `"votes"`, one `Vote` per
    look; and `"message"`, the winner's. An image without markers is asked about once, without a vote: `"agreement"` is
    then None. One of which `MarkRegions(on_empty="outcome")` says "no_regions" passes through with the answer None.

    Attributes:
        llm: a `ChatVipLlava`, which is asked for log-probabilities too, or any runnable that takes messages and
            returns one. All looks are one batch; `max_concurrency` of the config bounds it.
        kinds: one look for each, such as `["rectangle", "arrow"]`; None takes four, or where `colors` are given those
            of the markers.
        colors: one look for each, with every kind; None chooses them as `mark` does.
        whole_question: as for `RegionPrompt`.

    Raises:
        MarkerError: at construction for unknown names; fewer than 2 looks or more than 12; a placeholder of the
            question names no marker, or its words are those of no marker of the image.
        PromptError: something is missing.
    """

    llm: Runnable[Any, BaseMessage]
    kinds: Annotated[Sequence[MarkerKind] | None, SkipValidation] = None
    colors: Annotated[Sequence[MarkerColor] | None, SkipValidation] = None
    whole_question: str | None = None

    def model_post_init(self, context: Any) -> None:
        """Check the names, so that a chain with a wrong one is not made."""
        super().model_post_init(context)
        read_kinds(self.kinds)
        read_colors(self.colors)

    def _step(self, input: dict[str, Any], config: RunnableConfig | None = None) -> dict[str, Any]:
        marked = input.get("marked") if isinstance(input, Mapping) else None
        if not isinstance(marked, MarkedImage) or not marked.markers:
            asked = AskAboutRegions(llm=self.llm, whole_question=self.whole_question).invoke(input, config)
            return {**asked, "agreement": None, "confidence": None, "votes": ()}
        question = input.get("question")
        if isinstance(question, str) and (said := words_of_no_marker(question, marked.markers)) is not None:
            raise MarkerError(
                f"the question names {shorten(said, 60)}, which no marker of the image is, but one of another look may "
                f"be; expected a placeholder such as {{0}}, or {shorten(marked.phrases[0], 60)}."
            )
        if isinstance(question, str) and (bare := bare_words_of_marker(question, marked.markers)) is not None:
            said, marker = bare
            raise MarkerError(
                f"the question names {shorten(said, 60)}, a marker that other looks of a vote do not have; expected "
                f"what it marks: a placeholder such as {{0}}, or {shorten(f'the object {marker.phrase}', 80)}."
            )
        looks = other_looks(marked, self.kinds, self.colors, view_size=view_size_of(self.llm))
        prompt = RegionPrompt()
        inputs = [_about(look, marked, input) for look in looks]
        prompts = [prompt.invoke(each, config) for each in inputs]
        logprobs = {"logprobs": True} if isinstance(self.llm, ChatVipLlava) else {}
        messages = self.llm.batch(prompts, config, **logprobs)
        votes = tuple(
            Vote(
                tuple(look.phrases),
                look.question(each["question"]),
                reworded(message.text, look.markers, marked.markers),
                confidence_of(message),
            )
            for look, each, message in zip(looks, inputs, messages, strict=True)
        )
        election = Election.of(votes)
        return {
            **input,
            "answer": votes[election.winner].answer,
            "agreement": election.agreement,
            "confidence": election.confidence,
            "votes": votes,
            "message": messages[election.winner],
        }


def _about(look: MarkedImage, marked: MarkedImage, step_input: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a step about another look, with the messages so far in its words and with its image."""
    history, question = step_input.get("history"), step_input.get("question")
    if look is marked:
        return step_input
    if isinstance(question, str):
        step_input = {**step_input, "question": reworded(question, marked.markers, look.markers)}
    if not isinstance(history, list):
        return {**step_input, "marked": look}
    own = {marked.encoded.base64, image_id(marked.encoded)}

    def shown(block: Any) -> Any:
        if not isinstance(block, Mapping):
            return reworded(block, marked.markers, look.markers) if isinstance(block, str) else block
        if own & {block.get("base64"), block.get("file_id")}:
            return look.content_block()
        if isinstance(block.get("text"), str):
            return {**block, "text": reworded(block["text"], marked.markers, look.markers)}
        return block

    messages = [
        message.model_copy(
            update={
                "content": shown(message.content)
                if isinstance(message.content, str)
                else [shown(block) for block in message.content]
            }
        )
        if isinstance(message, BaseMessage)
        else message
        for message in history
    ]
    return {**step_input, "marked": look, "history": messages}
