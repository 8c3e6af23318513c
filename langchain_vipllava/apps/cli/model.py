"""`ModelOptions`: which checkpoint to load, and how; `Asker`: the loaded model, asked about one image."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_vipllava.apps.cli.console import Screen
from langchain_vipllava.backends.checkpoint_facts import CheckpointFacts
from langchain_vipllava.errors import CheckpointError, MarkerError
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import check_format
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.protocol.load_options import BUNDLED, LoadOptions
from langchain_vipllava.protocol.sampling import Sampling

if TYPE_CHECKING:
    from langchain_vipllava.backends.local import LocalBackend
    from langchain_vipllava.backends.served import ServedBackend
    from langchain_vipllava.protocol.answer import Answer
    from langchain_vipllava.protocol.backend import Backend


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint to load, and how, or which servers to ask; how answers are chosen."""

    model: str | None
    device: str
    dtype: str
    quantization: str | None
    attention: str | None
    prompt_format: str = "user_assistant"
    max_tokens: int = 256
    temperature: float = 0.0
    sampling_seed: int | None = None
    base_url: tuple[str, ...] = ()
    tokenizer: str | None = None

    def check(self) -> None:
        """Check everything that can be checked without torch.

        Raises:
            CheckpointError: impossible options.
            GenerationError: settings out of range.
            PromptError: an unknown prompt format.
        """
        _ = self.load_options, self.settings
        if not self.base_url:
            if self.tokenizer is not None:
                raise CheckpointError("--tokenizer without --base-url; it is for a checkpoint that a server runs.")
            return
        loading = {"device": self.device, "dtype": self.dtype}
        given = [f"--{name}" for name, value in loading.items() if value != "auto"]
        given += [f"--{name}" for name in ("quantization", "attention") if getattr(self, name) is not None]
        if given:
            raise CheckpointError(f"{', '.join(given)} beside --base-url; the server decides that.")
        _ = self.served

    @cached_property
    def load_options(self) -> LoadOptions:
        """How to load."""
        return LoadOptions(**self.load_arguments)

    @property
    def load_arguments(self) -> dict[str, Any]:
        """The arguments of `LoadOptions`."""
        return {
            "model": self.model or BUNDLED,
            "device": self.device,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "attn_implementation": self.attention,
        }

    @cached_property
    def settings(self) -> ChatRequest:
        """A request without a question, for its settings."""
        sampling = Sampling(temperature=self.temperature, seed=self.sampling_seed)
        return ChatRequest(
            Conversation(()),
            sampling=sampling,
            max_tokens=self.max_tokens,
            prompt_format=check_format(self.prompt_format),
        )

    @cached_property
    def served(self) -> ServedBackend:
        """The backend that asks the servers."""
        from langchain_vipllava.backends.served import ServedBackend  # noqa: PLC0415  # `mark` needs none

        return ServedBackend(
            self.base_url, self.model, tokenizer=self.tokenizer, api_key=os.environ.get("VIPLLAVA_API_KEY") or None
        )

    @property
    def is_bundled(self) -> bool:
        """Whether the small checkpoint of this package answers, in this process."""
        return not self.base_url and self.model in (None, BUNDLED)

    @property
    def view_size(self) -> int:
        """Side of the square that the model reads of an image, in pixels."""
        return self.served.view_size if self.base_url else CheckpointFacts.of(self.load_options).view_size

    def plan(self) -> LocalBackend | ServedBackend:
        """Find the checkpoint and the device, or the server; loads no weights.

        Raises:
            CheckpointError: there is no such checkpoint or device.
            ServerError: no server can be reached.
        """
        if self.base_url:
            self.served.connect()
            return self.served
        from langchain_vipllava.backends.local import LocalBackend, import_engine  # noqa: PLC0415  # `mark` needs none

        import_engine()
        from langchain_vipllava.engine.loading import load_config, pin  # noqa: PLC0415  # torch is slow to load
        from langchain_vipllava.engine.memory_plan import choose_device  # noqa: PLC0415

        choose_device(self.load_options)
        pinned = pin(self.load_options)
        load_config(pinned)
        return LocalBackend(pinned)

    def load(self, backend: LocalBackend | ServedBackend, screen: Screen) -> None:
        """Load the model, unless a server has it, and say what answers.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        runner = getattr(backend, "runner", None)
        if runner is None:
            screen.note(f"{self.describe()}.")
            return
        loaded = runner.model
        gc.enable()
        gc.freeze()  # what is there now stays: chatting collects what comes after it
        screen.note(f"{self.describe()} ({loaded.device}, {str(loaded.dtype).removeprefix('torch.')}).")

    def describe(self) -> str:
        """Return a sentence that says what answers."""
        if self.base_url:
            return f"The model {self.served.name} answers, served at {', '.join(self.base_url)}"
        if self.is_bundled:
            return "The small bundled checkpoint answers: it knows plain colored shapes, not photographs"
        return f"The checkpoint {self.model} answers"


@dataclass
class Asker:
    """A loaded model, asked about one image.

    Attributes:
        backend: what answers.
        settings: how answers are chosen.
        marked: the image.
        turns: the conversation so far; empty, where every question stands alone.
    """

    backend: Backend
    settings: ChatRequest
    marked: MarkedImage
    turns: list[Turn] = field(default_factory=list)

    def ask(self, asked: str) -> Answer:
        """Ask a question that stands alone.

        Raises:
            VipLlavaError: the model could not answer.
        """
        return self.backend.generate(self._request(asked))

    def stream(self, asked: str) -> Iterator[str | Answer]:
        """Ask the next question of the conversation, and yield pieces of the answer, and the whole answer last."""
        from langchain_vipllava.protocol.answer import Answer  # noqa: PLC0415  # beside the type of the signature
        from langchain_vipllava.protocol.logprobs import AnswerPiece  # noqa: PLC0415

        request = self._request(asked)
        for piece in self.backend.stream(request):
            if isinstance(piece, Answer):
                self.turns = [
                    *request.conversation.turns[:-1],
                    replace(request.conversation.turns[-1], answer=piece.text, answer_ids=piece.token_ids),
                ]
            yield piece.text if isinstance(piece, AnswerPiece) else piece

    def _request(self, asked: str) -> ChatRequest:
        images = () if self.turns else (self.marked.encoded,)
        return replace(self.settings, conversation=Conversation((*self.turns, Turn(asked, images))))


def fill(marked: MarkedImage, question: str) -> str:
    """Return a question with the phrases of the markers.

    Raises:
        MarkerError: it is empty, or a placeholder names no marker.
    """
    asked = marked.question(question)
    if not asked.strip():
        raise MarkerError("the question is empty; expected words, such as 'What is the object {0}?'.")
    return asked
