"""`PromptEncoder`: prompts and images as the model takes them, token ids and pixel values."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from langchain_vipllava.engine.detokenizer import REPLACEMENT_CHARACTER, detokenize
from langchain_vipllava.engine.image_processor import pillow_processor, resizing
from langchain_vipllava.engine.model_sizes import image_tokens
from langchain_vipllava.engine.pixel_values import PixelValues
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.tokenizer import begin_ids, check_tokenizer, keeps_every_character, text_prefix
from langchain_vipllava.errors import GenerationError, ImageError, PromptError, PromptTooLongError, shorten
from langchain_vipllava.images.decoding_room import DECODING
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.shrink import model_square
from langchain_vipllava.images.view import ImageFit
from langchain_vipllava.locks import cached_property, fork_safe_lock, run_locked
from langchain_vipllava.prompt.formats import END_TOKEN, IMAGE_TOKEN, Prompt

_MAX_DIGESTS = 1024
"""Encoded images that are remembered by their pixels. Chosen: some 100 KB."""

TRAINED_TOKENS = 2048
"""Tokens of the longest conversations of the fine-tuning: `model_max_length` in the scripts of the ViP-LLaVA repository
(`finetune_stage2.sh`, `finetune_stage3.sh`)."""

_KEY_BYTES = 15
"""Bytes of an image's key: 120 bits collide by chance in no practical number of images."""


@dataclass(frozen=True, eq=False)
class PromptImage:
    """An image of a prompt.

    Attributes:
        key: identifies its content; negative, so that it is never a token id.
        start: index of its first token in the prompt.
        tokens: number of its tokens.
        pixels: its pixel values, (3, side, side) float; prompts with the same image share them.
    """

    key: int
    start: int
    tokens: int
    pixels: torch.Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A request as the model takes it.

    Attributes:
        ids: token ids; each image is `image_tokens` copies of the image token.
        images: in the order of the prompt.
    """

    ids: tuple[int, ...]
    images: tuple[PromptImage, ...] = ()

    @cached_property
    def key(self) -> tuple[int, ...]:
        """The ids, with the key of its image for every image token: equal keys mean equal prompts."""
        key = list(self.ids)
        for image in self.images:
            key[image.start : image.start + image.tokens] = [image.key] * image.tokens
        return tuple(key)

    def images_after(self, start: int) -> list[PromptImage]:
        """Images with tokens at or after an index."""
        return [image for image in self.images if image.start + image.tokens > start]


class PromptEncoder:
    """Encodes requests for one model; safe to call from many threads.

    Args:
        processor: the checkpoint's `LlavaProcessor`.
        config: the checkpoint's `VipLlavaConfig`.

    Raises:
        CheckpointError: the tokenizer does not begin texts as that of the training did.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self.tokenizer = processor.tokenizer
        check_tokenizer(self.tokenizer)
        # A tokenizer changes its own settings when a call needs others, which no other thread may see: here only this
        # first call may, as all later ones are alike.
        self.tokenizer("\n", add_special_tokens=False)
        self._beginning = begin_ids(self.tokenizer)
        self._prefix = text_prefix(self.tokenizer)
        self._image_processor = pillow_processor(processor.image_processor)
        self._image_id = int(config.image_token_id)
        self.side = int(config.vision_config.image_size)
        self.image_tokens = image_tokens(config)
        self.context_length = int(config.text_config.max_position_embeddings)
        self._warned_beyond_training = False
        self._pixel_digests: dict[str, bytes] = {}  # SHA-256 of encoded images to that of their pixels
        self._resize_side, self._resample = resizing(self._image_processor, self.side)
        self._pixel_values = PixelValues()
        self._digests_lock = fork_safe_lock()
        self._special_ids = frozenset(self.tokenizer.get_added_vocab().values())
        self._end_id = int(self.tokenizer.convert_tokens_to_ids(END_TOKEN))

    def encode(self, request: GenerationRequest) -> EncodedPrompt:
        """Encode a request.

        Raises:
            PromptError: text that is not Unicode.
            PromptTooLongError: the prompt leaves no room for an answer.
        """
        self._check_characters(request.prompt)
        ids = self.encode_text(request.prompt)
        if len(ids) >= self.context_length:
            raise PromptTooLongError(
                f"the prompt has {len(ids)} tokens ({self.image_tokens} per image), the model's context only "
                f"{self.context_length}: {len(ids) - self.context_length + 1} too many. Drop old turns, or ask a "
                "shorter question."
            )
        self._warn_beyond_training(len(ids))
        return EncodedPrompt(ids, self._encode_images(request, ids))

    def _warn_beyond_training(self, tokens: int) -> None:
        """Say once that a prompt is longer than those of the fine-tuning, though the context would hold it."""
        if tokens > TRAINED_TOKENS and not self._warned_beyond_training:
            self._warned_beyond_training = True
            warnings.warn(
                f"a prompt of {tokens:,} tokens; ViP-LLaVA was fine-tuned on at most {TRAINED_TOKENS:,}, and may "
                "answer worse beyond. Drop old turns (trim_turns), or begin a new conversation.",
                stacklevel=2,
            )

    def encode_text(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of a prompt, each image as `image_tokens` image tokens.

        Raises:
            PromptError: text that is not Unicode.
        """
        for segment in prompt.segments:
            _check_text(segment.text)
        expanded: list[int] = []
        for token in self._tokenize(prompt):
            expanded += [token] * (self.image_tokens if token == self._image_id else 1)
        return tuple(expanded)

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text alone, without the token that begins a prompt.

        Raises:
            PromptError: text that is not Unicode.
        """
        _check_text(text)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check_characters(self, prompt: Prompt) -> None:
        """Refuse text that cannot fit whatever its tokens are: tokenizing takes time, some 1 second per million.

        Raises:
            PromptTooLongError: it has more characters than the longest token times the context.
        """
        characters = sum(len(segment.text) for segment in prompt.segments)
        if self._max_characters is not None and characters > self._max_characters:
            raise PromptTooLongError(
                f"the prompt has {characters:,} characters, too many; the model's context of {self.context_length:,} "
                f"tokens holds at most {self._max_characters:,}. Drop old turns, or ask a shorter question."
            )

    @cached_property
    def _max_characters(self) -> int | None:
        """Characters that the context can hold; None if a token may stand for any number of them."""
        if not keeps_every_character(json.loads(self.tokenizer.backend_tokenizer.to_str())):
            return None
        return self.context_length * max(map(len, self.tokenizer.get_vocab()))

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
                end_run([self._image_id])
                begins = True
            elif segment.kind == "end":
                end_run([self._end_id])
                begins = False
            elif segment.ids is not None and self._decodes_to(segment.ids, segment.text):
                end_run(segment.ids)
                begins = False
            else:
                run.append(segment.text)
        end_run()
        return ids

    def _decodes_to(self, ids: tuple[int, ...], text: str) -> bool:
        """Whether ids decode to a text. Those of another checkpoint, or of an answer that was edited, do not.

        Neither do ids with special tokens: they come from outside, and a special token could end a turn.
        """
        if len(ids) > self.context_length:  # it does not fit anyway
            return False
        if not all(0 <= token < len(self.tokenizer) and token not in self._special_ids for token in ids):
            return False
        decoded: str = self.tokenizer.decode(list(ids))
        if decoded.strip() != text.strip() and REPLACEMENT_CHARACTER in text:
            decoded = detokenize(self.tokenizer, ids)
        return decoded.strip() == text.strip()

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
            encoded = self._splitting_tokenizer(line, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            ids += encoded[len(self._newline) :]
        return ids

    @cached_property
    def _splitting_tokenizer(self) -> Any:
        """A tokenizer of its own for `split_special_tokens`, which is a switch on a tokenizer."""
        splitting = copy.deepcopy(self.tokenizer)
        splitting("\n", add_special_tokens=False, split_special_tokens=True)  # sets the switch, before others see it
        return splitting

    @cached_property
    def _newline(self) -> list[int]:
        return self.token_ids("\n")

    def _encode_images(self, request: GenerationRequest, ids: tuple[int, ...]) -> tuple[PromptImage, ...]:
        places = sum(segment.kind == "image" for segment in request.prompt.segments)
        if places != len(request.images):
            raise GenerationError(
                f"the prompt has {places} {IMAGE_TOKEN} but {len(request.images)} images came; expected as many."
            )
        starts = [index for index, token in enumerate(ids) if token == self._image_id][:: self.image_tokens]
        return tuple(
            PromptImage(key, start, self.image_tokens, pixels)
            for (key, pixels), start in zip(
                (self._encode_image(image, request.image_fit) for image in request.images), starts, strict=True
            )
        )

    def _encode_image(self, image: EncodedImage, fit: ImageFit) -> tuple[int, torch.Tensor]:
        """Return the key of an image, and what the model reads of it: a request that waits holds nothing else.

        The key identifies what the model sees of an image by its pixels; negative, so that it is never a token id.
        Every turn of a conversation brings the same bytes along: those that came before are not decoded again.
        """
        with DECODING.keep():
            return self._encode_counted(image, fit)

    def _encode_counted(self, image: EncodedImage, fit: ImageFit) -> tuple[int, torch.Tensor]:
        digest = self._pixel_digests.get(image.sha256) if image.is_encoded else None
        decoded = None
        if digest is None:
            decoded = image.decode()  # held: the digest and the pixel values need it, and it may be too large to cache
            digest = image.pixel_digest
            if image.is_encoded:
                run_locked(self._digests_lock, self._remember, image.sha256, digest)
        key = -1 - int.from_bytes(hashlib.sha256(digest + fit.encode()).digest()[:_KEY_BYTES], "big")
        pixels = self._pixel_values.get(key)
        if pixels is None:
            pixels = self._pixel_values.add(key, self._compute_pixels(decoded or image.decode(), fit))
        return key, pixels

    def _remember(self, sha256: str, digest: bytes) -> None:
        self._pixel_digests[sha256] = digest
        while len(self._pixel_digests) > _MAX_DIGESTS:
            self._pixel_digests.pop(next(iter(self._pixel_digests)), None)

    def _compute_pixels(self, image: Image.Image, fit: ImageFit) -> torch.Tensor:
        """Pixel values of an image, (3, side, side) float."""
        try:
            square = model_square(image, fit, self._resize_side, self._resample)
            pixels: torch.Tensor = self._image_processor(images=[square], return_tensors="pt")["pixel_values"][0]
        except MemoryError as error:
            raise ImageError("there is not enough memory to prepare an image for the model; shrink it.") from error
        if tuple(pixels.shape[-2:]) != (self.side, self.side):
            raise GenerationError(
                f"the checkpoint's image processor returns {tuple(pixels.shape[-2:])} pixels, its vision tower reads "
                f"({self.side}, {self.side}); correct size and crop_size in its preprocessor_config.json."
            )
        return pixels


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{shorten(text[max(error.start - 20, 0) : error.end + 20])} contains half a character ({error.reason}); "
            "expected text that UTF-8 can encode: text.encode('utf-8', 'replace').decode() puts a ? in its place."
        ) from error
