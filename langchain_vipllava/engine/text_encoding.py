"""`TextEncoder`: prompts as token ids. No torch: a backend that asks a server encodes its prompts here too."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

from llguidance import LLTokenizer
from tokenizers import Tokenizer

from langchain_vipllava.engine.detokenizer import REPLACEMENT_CHARACTER, detokenize
from langchain_vipllava.engine.tokenizer import SPACE, keeps_every_character
from langchain_vipllava.errors import CheckpointError, PromptError, PromptTooLongError, shorten
from langchain_vipllava.locks import cached_property
from langchain_vipllava.prompt.formats import END_TOKEN, IMAGE_TOKEN, Prompt

TRAINED_TOKENS = 2048
"""Tokens of the longest conversations of the fine-tuning: `model_max_length` in the scripts of the ViP-LLaVA repository
(`finetune_stage2.sh`, `finetune_stage3.sh`)."""


class TextEncoder:
    """Encodes prompts with one checkpoint's tokenizer; safe to call from many threads.

    Args:
        description: the tokenizer as JSON, the content of a tokenizer.json.
        image_id: the id of the image token; None for that of `<image>`.
        image_tokens: number of tokens of an image.
        context_length: maximum number of tokens, where that is known; ids of longer answers are not compared.

    Attributes:
        tokenizer: the tokenizer.
        image_id, image_tokens: see above.
        end_id: the id of `</s>`.
        special_ids: ids of the added tokens, such as `</s>` and `<image>`.
        vocabulary: number of tokens.

    Raises:
        CheckpointError: not a tokenizer, one without `</s>` or `<image>`, or one that has a word for the image token.
    """

    def __init__(
        self, description: str, *, image_id: int | None = None, image_tokens: int, context_length: int | None = None
    ) -> None:
        try:
            self.tokenizer = Tokenizer.from_str(description)
            self._splitting_tokenizer = Tokenizer.from_str(description)
        except Exception as error:  # tokenizers raises plain ones
            raise CheckpointError(
                f"the tokenizer cannot be read: {shorten(error)}; expected a tokenizer.json."
            ) from error
        self._splitting_tokenizer.encode_special_tokens = True
        for tokenizer in (self.tokenizer, self._splitting_tokenizer):
            tokenizer.no_padding()
            tokenizer.no_truncation()
        self.image_tokens, self._context_length = image_tokens, context_length
        self.image_id = self._id_of(IMAGE_TOKEN) if image_id is None else image_id
        self.special_ids = frozenset(self.tokenizer.get_added_tokens_decoder())
        self.vocabulary = int(self.tokenizer.get_vocab_size())
        self._check_image_id()
        self.end_id = self._id_of(END_TOKEN)
        plain = self.tokenizer.encode("a", add_special_tokens=False)
        begun = self.tokenizer.encode("a").ids
        self._beginning = begun[: len(begun) - len(plain.ids)]
        self._prefix = " " if plain.tokens[0].startswith(SPACE) else ""
        self._newline = self.token_ids("\n")
        self._warned_beyond_training = False

    def _id_of(self, token: str) -> int:
        token_id = self.tokenizer.token_to_id(token)
        if token_id is None:
            raise CheckpointError(f"the tokenizer has no token {token}; expected that of a ViP-LLaVA.")
        return int(token_id)

    def _check_image_id(self) -> None:
        if self.image_id not in self.special_ids and self.image_id < self.vocabulary:  # no text has a higher one
            raise CheckpointError(
                f"the config's image token {self.image_id} is {self.tokenizer.id_to_token(self.image_id)!r} for the "
                f"tokenizer, which texts contain; expected the id of {IMAGE_TOKEN}, "
                f"{self.tokenizer.token_to_id(IMAGE_TOKEN)}: the processor is of another checkpoint, or image_token_id "
                "in config.json is wrong."
            )

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of a prompt, each image as one image token.

        Raises:
            PromptError: text that is not Unicode.
        """
        for segment in prompt.segments:
            check_text(segment.text)
        return tuple(self._tokenize(prompt))

    def expand(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Replace each image token by as many as the image has."""
        expanded: list[int] = []
        for token in ids:
            expanded += [token] * (self.image_tokens if token == self.image_id else 1)
        return tuple(expanded)

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text alone, without the token that begins a prompt.

        Raises:
            PromptError: text that is not Unicode.
        """
        check_text(text)
        return _encode(self.tokenizer, text)

    def check_characters(self, prompt: Prompt, context_length: int) -> None:
        """Refuse text that cannot fit whatever its tokens are: tokenizing takes time, some 1 second per million.

        Raises:
            PromptTooLongError: it has more characters than the longest token times the context.
        """
        if self._longest_token is None:
            return
        characters = sum(len(segment.text) for segment in prompt.segments)
        most = context_length * self._longest_token
        if characters > most:
            raise PromptTooLongError(
                f"the prompt has {characters:,} characters, too many; the model's context of {context_length:,} "
                f"tokens holds at most {most:,}. Drop old turns, or ask a shorter question."
            )

    def check_length(self, tokens: int, context_length: int) -> None:
        """Refuse a prompt that leaves no room for an answer; warn once of one longer than those of the training.

        Raises:
            PromptTooLongError: it has as many tokens as the context, or more.
        """
        if tokens >= context_length:
            raise PromptTooLongError(
                f"the prompt has {tokens} tokens ({self.image_tokens} per image), the model's context only "
                f"{context_length}: {tokens - context_length + 1} too many. Drop old turns, or ask a shorter question."
            )
        if tokens > TRAINED_TOKENS and not self._warned_beyond_training:
            self._warned_beyond_training = True
            warnings.warn(
                f"a prompt of {tokens:,} tokens; ViP-LLaVA was fine-tuned on at most {TRAINED_TOKENS:,}, and may "
                "answer worse beyond. Drop old turns (trim_turns), or begin a new conversation.",
                stacklevel=2,
            )

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False, **kwargs: object) -> str:
        """Return the text of token ids."""
        del kwargs
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens))

    @cached_property
    def guide(self) -> LLTokenizer:
        """The tokenizer as llguidance reads it; takes up to a second to make."""
        return LLTokenizer(self.tokenizer.to_str(), eos_token=self.end_id)

    @cached_property
    def _longest_token(self) -> int | None:
        """Characters of the longest token; None if a token may stand for any number of them."""
        description: Any = json.loads(self.tokenizer.to_str())
        return max(map(len, self.tokenizer.get_vocab())) if keeps_every_character(description) else None

    def _tokenize(self, prompt: Prompt) -> list[int]:
        """Tokenize as the training did: each text between structural tokens by itself.

        Llama's tokenizer puts a space in front of a text. In training there was one at the start and behind an image,
        whose texts were tokenized apart, and none behind `</s>`. Generated answers keep their own ids.
        """
        ids: list[int] = []
        run: list[str] = []
        begins = True

        def end_run(then: Sequence[int] = ()) -> None:
            ids.extend([*self._tokenize_run("".join(run), first=not ids, begins=begins), *then])
            run.clear()

        for segment in prompt.segments:
            if segment.kind == "image":
                end_run([self.image_id])
                begins = True
            elif segment.kind == "end":
                end_run([self.end_id])
                begins = False
            elif segment.ids is not None and self._decodes_to(segment.ids, segment.text):
                end_run(segment.ids)
                begins = False
            else:
                run.append(segment.text)
        end_run()
        return ids

    def _decodes_to(self, ids: tuple[int, ...], text: str) -> bool:
        """Whether ids decode to an answer, which has a space in front and no whitespace around it.

        Those of another checkpoint do not, nor do those of an answer that was edited, be it by a line break at its end.
        Neither do ids with special tokens: they come from outside, and a special token could end a turn.
        """
        if self._context_length is not None and len(ids) > self._context_length:  # it does not fit anyway
            return False
        if not all(0 <= token < self.vocabulary and token not in self.special_ids for token in ids):
            return False
        answer = text.removeprefix(" ")
        return self.decode(list(ids)).strip() == answer or (
            REPLACEMENT_CHARACTER in text and detokenize(self, ids).strip() == answer
        )

    def _tokenize_run(self, text: str, *, first: bool, begins: bool) -> list[int]:
        """Tokenize a text in which special tokens are what a user typed: plain text.

        Args:
            text: may be empty.
            first: whether it begins the prompt.
            begins: whether it is tokenized like the start of a text.
        """
        ids = list(self._beginning) if first else []
        if text:
            # behind a line break, as in the middle of a text: of the space in front of a text, and of one that it
            # begins with, transformers 5 makes one
            line = f"\n{self._prefix if begins else ''}{text}"
            ids += _encode(self._splitting_tokenizer, line)[len(self._newline) :]
        return ids


def check_text(text: str) -> None:
    """Check that a text can be encoded.

    Raises:
        PromptError: it is not Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{shorten(text[max(error.start - 20, 0) : error.end + 20])} contains half a character ({error.reason}); "
            "expected text that UTF-8 can encode: text.encode('utf-8', 'replace').decode() puts a ? in its place."
        ) from error


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenize as a batch of one: `encode` keeps the GIL, and every other thread waits."""
    [encoding] = tokenizer.encode_batch([text], add_special_tokens=False)
    return list(encoding.ids)
