"""A conversation about an image: questions, answers, and the images that came with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from langchain_vipllava.errors import PromptError
from langchain_vipllava.images.image import EncodedImage

CONTINUE = "Continue."
"""Question behind a conversation that ends with an answer: agents pass such a one on for a structured response."""

NO_OUTPUT = "(no output)"
"""Text of a tool's result that has none."""

MultiImage = Literal["keep", "restart", "error"]
"""What to do with several images in one conversation: keep all, restart at the newest, or refuse."""


@dataclass(frozen=True)
class Turn:
    """One question with its images, and its answer if there is one yet.

    Attributes:
        question: the user's text, unchanged.
        images: one for every `<image>` in front of the question.
        answer: the model's text; None for the open question.
        answer_ids: token ids that the model generated for the answer, if known. Tokenizing the text again may give
            other ids, for which no keys and values are cached.
    """

    question: str
    images: tuple[EncodedImage, ...] = ()
    answer: str | None = None
    answer_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Conversation:
    """Turns in order; only the last may be open.

    Attributes:
        turns: at least one.
        system: text in front of the first turn; None for the prompt format's own.
    """

    turns: tuple[Turn, ...]
    system: str | None = None

    @property
    def images(self) -> tuple[EncodedImage, ...]:
        """All images, oldest first."""
        return tuple(image for turn in self.turns for image in turn.images)

    def limit_images(self, policy: MultiImage) -> Conversation:
        """Apply a policy to a conversation with several images.

        Args:
            policy: "keep" leaves all where they are, "restart" begins at the turn with the newest image, "error"
                refuses.

        Raises:
            PromptError: several images under "error", or an unknown policy.
        """
        check_multi_image(policy)
        if policy == "keep" or len(self.images) < 2:
            return self
        if policy == "error":
            raise PromptError(
                f"{len(self.images)} images in one conversation; ViP-LLaVA was trained on one. Start a new "
                "conversation, or pass multi_image='restart' (begin at the newest) or 'keep'."
            )
        newest = max(index for index, turn in enumerate(self.turns) if turn.images)
        # a tool may return the image that an earlier question asks about: that question goes with it
        questions = [turn.question for turn in self.turns[: newest + 1] if turn.question.strip()]
        question = self.turns[newest].question
        if not question.strip() and questions:
            question = questions[-1]
        first = replace(self.turns[newest], question=question, images=self.turns[newest].images[-1:])
        return replace(self, turns=(first, *self.turns[newest + 1 :]))


def check_multi_image(policy: object) -> None:
    """Check the name of a policy.

    Raises:
        PromptError: an unknown one.
    """
    if policy not in get_args(MultiImage):
        raise PromptError(f"multi_image={policy!r}; expected 'keep', 'restart' or 'error'.")
