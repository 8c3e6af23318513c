"""Prompts and pictures to what the model computes with: token ids and pixel values."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import torch
from PIL import Image

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.host.request import GenerationRequest
from langchain_vipllava.pictures.load import load_image
from langchain_vipllava.pictures.view import crop_to_square, pad_to_square
from langchain_vipllava.prompt.prompt import IMAGE, Prompt

_PRIVATE_USE = range(0xE000, 0xF8FF)


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """A picture of a prompt.

    Attributes:
        key: tells it from every other picture, by its content; negative, so that it is no token id.
        start: index of its first token in the prompt.
        tokens: number of its tokens.
        pixels: gives its pixel values, (3, side, side) float, made at the first call.
    """

    key: int
    start: int
    tokens: int
    pixels: Callable[[], torch.Tensor] = field(repr=False)


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A request as the model takes it.

    Attributes:
        ids: token ids; each picture stands there as `image_tokens` copies of the image token.
        pictures: in the order in which they stand there.
    """

    ids: tuple[int, ...]
    pictures: tuple[EncodedPicture, ...] = ()

    @cached_property
    def key(self) -> tuple[int, ...]:
        """The ids, with the picture's own key for every token of a picture: equal keys, equal prompts."""
        key = list(self.ids)
        for picture in self.pictures:
            key[picture.start : picture.start + picture.tokens] = [picture.key] * picture.tokens
        return tuple(key)

    def after(self, start: int) -> list[EncodedPicture]:
        """Pictures that reach beyond a token."""
        return [picture for picture in self.pictures if picture.start + picture.tokens > start]


class PromptEncoder:
    """Encodes requests for one model; safe to call from many threads.

    Args:
        processor: the checkpoint's `LlavaProcessor`.
        config: the checkpoint's `VipLlavaConfig`.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self.tokenizer = processor.tokenizer
        self._image_processor = processor.image_processor
        self._image_id = int(config.image_token_id)
        self.side = int(config.vision_config.image_size)
        self.image_tokens = (self.side // int(config.vision_config.patch_size)) ** 2
        self._context = int(config.text_config.max_position_embeddings)
        self._lock = threading.Lock()  # the tokenizer switches its special tokens off and on
        special = sorted(self.tokenizer.get_added_vocab(), key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(token) for token in special) or r"(?!)")

    @property
    def context(self) -> int:
        """Most tokens that prompt and answer may have together."""
        return self._context

    def encode(self, request: GenerationRequest) -> EncodedPrompt:
        """Encode a request.

        Raises:
            PictureError: a picture cannot be loaded.
            GenerationError: the prompt leaves no room for an answer.
        """
        ids = self.encode_text(request.prompt)
        if len(ids) >= self._context:
            raise GenerationError(
                f"the prompt has {len(ids)} tokens ({self.image_tokens} per picture), the model's context only "
                f"{self._context}: {len(ids) - self._context + 1} too many. Drop old turns, or ask a shorter question."
            )
        return EncodedPrompt(ids, self._encode_pictures(request, ids))

    def encode_text(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt, each picture as `image_tokens` image tokens."""
        with self._lock:
            ids = self._tokenize(prompt)
        expanded: list[int] = []
        for token in ids:
            expanded += [token] * (self.image_tokens if token == self._image_id else 1)
        return tuple(expanded)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text by itself, without the token that begins a prompt."""
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _tokenize(self, prompt: Prompt) -> list[int]:
        """Tokenize as the checkpoint's own processor does, but keep special tokens that a user typed as text."""
        typed: list[str] = []
        stand_in = _unused_character(prompt.text)

        def hide(match: re.Match[str]) -> str:
            typed.append(match[0])
            return stand_in

        text = "".join(s.text if s.role != "text" else self._special.sub(hide, s.text) for s in prompt.segments)
        if not typed:
            return list(self.tokenizer(text)["input_ids"])
        encoded = self.tokenizer(text, return_offsets_mapping=True)
        ids: list[int] = []
        last = -1
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if stand_in not in text[start:end]:
                ids.append(token)
            elif start != last:  # a character without a token of its own is several byte tokens
                ids += self._literal_ids(typed.pop(0))
                last = start
        return ids

    def _literal_ids(self, text: str) -> list[int]:
        """Token ids of a special token's name as plain text, as in the middle of a line."""
        line = self.tokenizer("\n" + text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        newline = self.tokenizer("\n", add_special_tokens=False)["input_ids"]
        return list(line[len(newline) :])

    def _encode_pictures(self, request: GenerationRequest, ids: tuple[int, ...]) -> tuple[EncodedPicture, ...]:
        wanted = sum(segment.role == "image" for segment in request.prompt.segments)
        if wanted != len(request.pictures):
            raise GenerationError(
                f"the prompt has {wanted} {IMAGE} but {len(request.pictures)} pictures came; expected as many."
            )
        squares = [_square(load_image(picture), request.image_fit) for picture in request.pictures]
        places = [index for index, token in enumerate(ids) if token == self._image_id][:: self.image_tokens]
        return tuple(
            EncodedPicture(_content_key(square), start, self.image_tokens, cache(partial(self._pixels, square)))
            for square, start in zip(squares, places, strict=True)
        )

    def _pixels(self, square: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self._image_processor(images=[square], return_tensors="pt")["pixel_values"][0]
        if tuple(pixels.shape[-2:]) != (self.side, self.side):
            raise GenerationError(
                f"the checkpoint's image processor gives {tuple(pixels.shape[-2:])} pixels, its vision tower reads "
                f"({self.side}, {self.side}); mend size and crop_size in its preprocessor_config.json."
            )
        return pixels


def _square(image: Image.Image, fit: str) -> Image.Image:
    return pad_to_square(image) if fit == "pad" else crop_to_square(image)


def _content_key(image: Image.Image) -> int:
    content = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
    return -1 - int.from_bytes(content[:15], "big")


def _unused_character(text: str) -> str:
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in text)
