"""Prompt formats, and the prompt that a conversation becomes in one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, assert_never, get_args

from langchain_vipllava.errors import PromptError
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.turn_markers import escape_turn_markers as escape

PromptFormatName = Literal["user_assistant", "llava_v1", "human_assistant"]
"""`user_assistant` is the format of the bundled checkpoint's training, and the one with which transformers documented
LLaVA models first; `llava_v1` that of the published weights' training; `human_assistant` that of the chat template in
the llava-hf checkpoints."""

SegmentKind = Literal["text", "image", "end"]
IMAGE_TOKEN = "<image>"  # noqa: S105  # not a password
END_TOKEN = "</s>"  # noqa: S105


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: plain text, or the token of an image or of the end of an answer.

    Attributes:
        text: as the model reads it.
        kind: which of the three it is.
        ids: the token ids that the model itself generated for this text; None where it did not, or unknown.
    """

    text: str
    kind: SegmentKind = "text"
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    Segments distinguish the `<image>` that stands for an image from one that a user typed.
    """

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The prompt as one string, with `<image>` where an image stands."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class PromptFormat:
    """How turns are written, byte for byte.

    Attributes:
        name: what `ChatVipLlava(prompt_format=...)` takes.
        system: text in front of the first turn unless the conversation has its own; may be empty.
        system_end: text between a system text and the first turn.
        user: text in front of every question.
        assistant: text after every question.
        answer: text in front of every answer.
        closes_answers: whether `</s>` follows each answer.
        edges_of_training: write what is empty or padded as the code of the published weights' training did
            (`Conversation.get_prompt` and `preprocess_multimodal` of the ViP-LLaVA repository): a space in front of
            the first turn also without a system text, an empty question or answer without the spaces and the `</s>`
            around it, and a question with images without whitespace at its ends.
        stop: texts that end an answer, for models that run on into the next turn.
    """

    name: PromptFormatName
    system: str
    system_end: str
    user: str
    assistant: str
    answer: str = " "
    closes_answers: bool = False
    edges_of_training: bool = False
    stop: tuple[str, ...] = ()

    @property
    def turn_markers(self) -> tuple[str, str]:
        """The words that begin a question and an answer."""
        return self.user.strip(), self.assistant.strip()

    def render(
        self, conversation: Conversation, *, allow_partial: bool = False, escape_turn_markers: bool = True
    ) -> Prompt:
        """Write a conversation as a prompt.

        Args:
            conversation: what was said.
            allow_partial: also accept a part of a conversation, which asks nothing.
            escape_turn_markers: make turn markers in the texts unlike those of the format, so that no text can begin
                a turn. An answer that contains one is tokenized anew.

        Raises:
            PromptError: no turn, an empty question, or a last turn that is answered already.

        Example:
            >>> from langchain_vipllava.prompt.conversation import Conversation, Turn
            >>> FORMATS["user_assistant"].render(Conversation((Turn("What is it?"),))).text
            'USER: What is it?ASSISTANT:'
        """
        if not allow_partial:
            _check(conversation)
        markers = self.turn_markers if escape_turn_markers else ()
        system = self.system if conversation.system is None else escape(conversation.system, markers)
        segments = [Segment(system + self.system_end)] if system or self.edges_of_training else []
        for turn in conversation.turns:
            segments += self._question(turn, escape(turn.question, markers))
            if turn.answer is not None and (turn.answer or not self.edges_of_training):
                answer = escape(turn.answer, markers)
                ids = turn.answer_ids if answer == turn.answer else None  # those of a model that ran on
                segments.append(Segment(self.answer + answer, ids=ids))
                if self.closes_answers:
                    segments.append(Segment(END_TOKEN, "end"))
        return Prompt(tuple(segments))

    def _question(self, turn: Turn, question: str) -> list[Segment]:
        """Write a question with its images, up to where its answer begins."""
        images = [Segment(IMAGE_TOKEN, "image"), Segment("\n")] * len(turn.images)
        if self.edges_of_training and images:
            question = question.strip()
            images = images if question else images[:-1]
        elif self.edges_of_training and not question:
            return [Segment("".join(self.turn_markers))]
        return [Segment(self.user), *images, Segment(question + self.assistant)]


def _make(name: PromptFormatName) -> PromptFormat:
    match name:
        case "user_assistant":
            return PromptFormat(name, system="", system_end=" ", user="USER: ", assistant="ASSISTANT:")
        case "llava_v1":  # Vicuna v1 in the LLaVA repository
            return PromptFormat(
                name,
                system=(
                    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
                    "helpful, detailed, and polite answers to the human's questions."
                ),
                system_end=" ",
                user="USER: ",
                assistant=" ASSISTANT:",
                closes_answers=True,
                edges_of_training=True,
            )
        case "human_assistant":
            return PromptFormat(
                name, system="", system_end="", user="###Human: ", assistant="###Assistant:", stop=("###",)
            )
        case _:
            assert_never(name)


FORMATS: Mapping[PromptFormatName, PromptFormat] = MappingProxyType(
    {name: _make(name) for name in get_args(PromptFormatName)}
)


def check_format(name: object) -> PromptFormatName:
    """Check the name of a format.

    Raises:
        PromptError: an unknown one.
    """
    for known_name in FORMATS:
        if name == known_name:
            return known_name
    raise PromptError(f"prompt_format={name!r}; expected one of {', '.join(FORMATS)}.")


def _check(conversation: Conversation) -> None:
    if not conversation.turns:
        raise PromptError("a conversation without a question; expected at least one human message.")
    for index, turn in enumerate(conversation.turns):
        # a tool may answer with nothing but an image; a conversation that begins so has no question. One that begins
        # with an answer, such as a greeting, has an empty turn in front of it.
        begins_with_answer = not index and turn.answer is not None and not turn.images
        if not turn.question.strip() and not (index and turn.images) and not begins_with_answer:
            what = "an image without a question" if turn.images else "an empty question"
            raise PromptError(f"{what}; expected text, such as 'Describe the image.'.")
    if conversation.turns[-1].answer is not None:
        raise PromptError("the conversation ends with an answer; expected a question for the model to answer.")
