"""A conversation about an image: what was asked, what was answered, which images came when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from langchain_vipllava.errors import PromptError
from langchain_vipllava.images.load import ImageSource


@dataclass(frozen=True)
class Turn:
    """One question with its images, and its answer if there is one yet.

    Attributes:
        question: the user's words, kept as they are.
        images: anything that `load_image` takes; loaded only when the model answers.
        answer: None for the question that is open, else the model's words.
        answer_ids: the token ids with which the model said them, where they are known. The same words
            tokenized again may be other ids, of which nothing is computed yet.
    """

    question: str
    images: tuple[ImageSource, ...] = ()
    answer: str | None = None
    answer_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Conversation:
    """Turns in order; only the last may be open.

    Attributes:
        turns: at least one.
        system: goes in front of the first turn; None for the prompt format's own.
    """

    turns: tuple[Turn, ...]
    system: str | None = None

    @property
    def images(self) -> tuple[ImageSource, ...]:
        """All images, oldest first."""
        return tuple(image for turn in self.turns for image in turn.images)

    def settle_images(self, policy: str) -> Conversation:
        """Apply a policy to a conversation with several images.

        Args:
            policy: "keep" leaves all where they are, "restart" begins at the turn with the newest
                image, "error" refuses.

        Raises:
            PromptError: several images under "error", or an unknown policy.
        """
        if policy not in ("keep", "restart", "error"):
            raise PromptError(f"multi_image={policy!r}; expected 'keep', 'restart' or 'error'.")
        if policy == "keep" or len(self.images) < 2:
            return self
        if policy == "error":
            raise PromptError(
                f"{len(self.images)} images in one conversation; ViP-LLaVA was trained on one. Start a new "
                "conversation, or pass multi_image='restart' (begin at the newest) or 'keep'."
            )
        newest = max(index for index, turn in enumerate(self.turns) if turn.images)
        # a tool may bring the image that a question before it asks for
        asked = [turn.question for turn in self.turns[: newest + 1] if turn.question.strip()]
        question = self.turns[newest].question if self.turns[newest].question.strip() or not asked else asked[-1]
        first = replace(self.turns[newest], question=question, images=self.turns[newest].images[-1:])
        return replace(self, turns=(first, *self.turns[newest + 1 :]))
