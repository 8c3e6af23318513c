"""Prompt formats, and the prompt that a conversation becomes in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from langchain_vipllava.errors import PromptError
from langchain_vipllava.prompt.conversation import Conversation

Role = Literal["text", "image", "end"]
IMAGE = "<image>"
END = "</s>"


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: text that stays text, or the token for an image or the end of an answer.

    Attributes:
        text: as the model reads it.
        role: what it is.
        ids: the token ids with which the model itself said it; None where it did not, or nobody knows.
    """

    text: str
    role: Role = "text"
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Prompt:
    """What the model will read.

    Segments tell apart the `<image>` that stands for an image and one that a user typed.
    """

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The prompt as one string, `<image>` where an image stands."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class PromptFormat:
    """How turns are written down, byte for byte.

    Attributes:
        name: what `ChatVipLlava(prompt_format=...)` takes.
        system: in front of the first turn unless the conversation brings its own; may be empty.
        system_end: between a system text and the first turn.
        user: in front of every question.
        assistant: after every question.
        answer: in front of every answer.
        closes_answers: whether `</s>` follows each answer.
        stop: texts that end an answer, for models that run on into the next turn.
    """

    name: str
    system: str
    system_end: str
    user: str
    assistant: str
    answer: str = " "
    closes_answers: bool = False
    stop: tuple[str, ...] = ()

    def render(self, conversation: Conversation, *, checked: bool = True) -> Prompt:
        """Write a conversation down.

        Args:
            conversation: what is said.
            checked: False writes down parts of one too, which ask nothing.

        Raises:
            PromptError: no turn, an empty question, or the last turn is answered already.

        Example:
            >>> from langchain_vipllava.prompt.conversation import Conversation, Turn
            >>> FORMATS["user_assistant"].render(Conversation((Turn("What is it?"),))).text
            'USER: What is it?ASSISTANT:'
        """
        if checked:
            _check(conversation)
        system = self.system if conversation.system is None else conversation.system
        segments = [Segment(system + self.system_end)] if system else []
        for turn in conversation.turns:
            segments.append(Segment(self.user))
            for _ in turn.images:
                segments += [Segment(IMAGE, "image"), Segment("\n")]
            segments.append(Segment(turn.question + self.assistant))
            if turn.answer is not None:
                segments.append(Segment(self.answer + turn.answer, ids=turn.answer_ids))
                if self.closes_answers:
                    segments.append(Segment(END, "end"))
        return Prompt(tuple(segments))


FORMATS = MappingProxyType(
    {
        form.name: form
        for form in (
            PromptFormat("user_assistant", system="", system_end=" ", user="USER: ", assistant="ASSISTANT:"),
            # what the weights were trained with (Vicuna v1 in the LLaVA repository)
            PromptFormat(
                "llava_v1",
                system=(
                    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
                    "helpful, detailed, and polite answers to the human's questions."
                ),
                system_end=" ",
                user="USER: ",
                assistant=" ASSISTANT:",
                closes_answers=True,
            ),
            # the chat template in the llava-hf checkpoints
            PromptFormat(
                "human_assistant",
                system="",
                system_end="",
                user="###Human: ",
                assistant="###Assistant:",
                stop=("###",),
            ),
        )
    }
)


def parse_format(name: object) -> PromptFormat:
    """Look a format up by name.

    Raises:
        PromptError: no such format.
    """
    if isinstance(name, str) and name in FORMATS:
        return FORMATS[name]
    raise PromptError(f"prompt_format={name!r}; expected one of {', '.join(FORMATS)}.")


def _check(conversation: Conversation) -> None:
    if not conversation.turns:
        raise PromptError("a conversation without a question; expected at least one human message.")
    for index, turn in enumerate(conversation.turns):
        # a tool may answer with nothing but an image; a conversation that begins so has no question
        if not turn.question.strip() and not (index and turn.images):
            with_image = "an image without a question" if turn.images else "an empty question"
            raise PromptError(f"{with_image}; expected words, such as 'Describe the image.'.")
    if conversation.turns[-1].answer is not None:
        raise PromptError("the conversation ends with an answer; expected a question for the model to answer.")
