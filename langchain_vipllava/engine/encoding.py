"""Prompts and images to what the model computes with: token ids and pixel values."""

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

from langchain_vipllava.engine.detokenizer import UNFINISHED, write
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.errors import GenerationError, PromptError, PromptTooLongError, shorten
from langchain_vipllava.images.load import ImageSource, load_image
from langchain_vipllava.images.view import crop_to_square, pad_to_square
from langchain_vipllava.prompt.formats import IMAGE, Prompt, Segment

_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
"""Code points that stand for nothing: of the basic plane, and planes 15 and 16."""
_MOST_KEYS = 1024


@dataclass(frozen=True, eq=False)
class PromptImage:
    """An image of a prompt.

    Attributes:
        key: tells it from every other image, by its content; negative, so that it is no token id.
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
        ids: token ids; each image stands there as `image_tokens` copies of the image token.
        images: in the order in which they stand there.
    """

    ids: tuple[int, ...]
    images: tuple[PromptImage, ...] = ()

    @cached_property
    def key(self) -> tuple[int, ...]:
        """The ids, with the image's own key for every token of an image: equal keys, equal prompts."""
        key = list(self.ids)
        for image in self.images:
            key[image.start : image.start + image.tokens] = [image.key] * image.tokens
        return tuple(key)

    def after(self, start: int) -> list[PromptImage]:
        """Images that reach beyond a token."""
        return [image for image in self.images if image.start + image.tokens > start]


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
        self._keys: dict[bytes, int] = {}  # of images that came as bytes before
        self.renew_locks()
        special = sorted(self.tokenizer.get_added_vocab(), key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(token) for token in special) or r"(?!)")

    def renew_locks(self) -> None:
        """Begin with free locks: at first, and in a process that was forked while some were held."""
        self._keys_lock = threading.Lock()
        self._lock = threading.Lock()  # the tokenizer switches its special tokens off and on

    @property
    def context(self) -> int:
        """Most tokens that prompt and answer may have together."""
        return self._context

    def encode(self, request: GenerationRequest) -> EncodedPrompt:
        """Encode a request.

        Raises:
            ImageError: an image cannot be loaded.
            PromptError: text that is no Unicode.
            PromptTooLongError: it leaves no room for an answer.
        """
        ids = self.encode_text(request.prompt)
        if len(ids) >= self._context:
            raise PromptTooLongError(
                f"the prompt has {len(ids)} tokens ({self.image_tokens} per image), the model's context only "
                f"{self._context}: {len(ids) - self._context + 1} too many. Drop old turns, or ask a shorter question."
            )
        return EncodedPrompt(ids, self._encode_images(request, ids))

    def encode_text(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt, each image as `image_tokens` image tokens.

        Raises:
            PromptError: text that is no Unicode.
        """
        for segment in prompt.segments:
            _check_text(segment.text)
        with self._lock:
            ids = self._tokenize(prompt)
        expanded: list[int] = []
        for token in ids:
            expanded += [token] * (self.image_tokens if token == self._image_id else 1)
        return tuple(expanded)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text by itself, without the token that begins a prompt.

        Raises:
            PromptError: text that is no Unicode.
        """
        _check_text(text)
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _tokenize(self, prompt: Prompt) -> list[int]:
        """Tokenize as the checkpoint's own processor does; the model's own answers keep the ids that it gave them."""
        ids: list[int] = []
        run: list[Segment] = []
        for segment in prompt.segments:
            if segment.ids is not None and self._says(segment.ids, segment.text):
                ids += [*self._tokenize_run(run, first=not ids), *segment.ids]
                run = []
            else:
                run.append(segment)
        return ids + self._tokenize_run(run, first=not ids)

    def _says(self, ids: tuple[int, ...], text: str) -> bool:
        """Whether ids are what a text says: not those of another checkpoint, or of an answer that was edited."""
        if not all(0 <= token < len(self.tokenizer) and token != self._image_id for token in ids):
            return False
        said: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        if said.strip() != text.strip() and UNFINISHED in text:
            said = write(self.tokenizer, ids)
        return said.strip() == text.strip()

    def _tokenize_run(self, segments: list[Segment], *, first: bool) -> list[int]:
        """Tokenize segments in a row, but keep special tokens that a user typed as text."""
        typed: list[str] = []
        stand_in = _unused_character("".join(segment.text for segment in segments))

        def hide(match: re.Match[str]) -> str:
            typed.append(match[0])
            return stand_in

        text = "".join(s.text if s.role != "text" else self._special.sub(hide, s.text) for s in segments)
        if not first:  # behind a line break, as in the middle of a prompt: a text's beginning is tokenized differently
            text = "\n" + text
        encoded = self.tokenizer(text, add_special_tokens=first, return_offsets_mapping=bool(typed))
        ids: list[int] = []
        last = -1
        offsets = encoded["offset_mapping"] if typed else [(0, 0)] * len(encoded["input_ids"])
        for token, (start, end) in zip(encoded["input_ids"], offsets, strict=True):
            if stand_in not in text[start:end]:
                ids.append(token)
            elif start != last:  # a character without a token of its own is several byte tokens
                ids += self._literal_ids(typed.pop(0))
                last = start
        return ids if first else ids[len(self._newline) :]

    def _literal_ids(self, text: str) -> list[int]:
        """Token ids of a special token's name as plain text, as in the middle of a line."""
        line = self.tokenizer("\n" + text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return list(line[len(self._newline) :])

    @cached_property
    def _newline(self) -> list[int]:
        return list(self.tokenizer("\n", add_special_tokens=False)["input_ids"])

    def _encode_images(self, request: GenerationRequest, ids: tuple[int, ...]) -> tuple[PromptImage, ...]:
        wanted = sum(segment.role == "image" for segment in request.prompt.segments)
        if wanted != len(request.images):
            raise GenerationError(
                f"the prompt has {wanted} {IMAGE} but {len(request.images)} images came; expected as many."
            )
        places = [index for index, token in enumerate(ids) if token == self._image_id][:: self.image_tokens]
        return tuple(
            self._encode_image(image, request.image_fit, start)
            for image, start in zip(request.images, places, strict=True)
        )

    def _encode_image(self, source: ImageSource, fit: str, start: int) -> PromptImage:
        """Decode an image, unless the same bytes came before: every turn of a conversation brings them along."""
        digest = _digest(source, fit)
        key = self._keys.get(digest) if digest is not None else None
        if key is None:
            square = _square(source, fit)
            key = _content_key(square)
            if digest is not None:
                with self._keys_lock:
                    self._keys[digest] = key
                    while len(self._keys) > _MOST_KEYS:
                        del self._keys[next(iter(self._keys))]
            pixels = partial(self._pixels, square)
        else:
            pixels = partial(self._decode_pixels, source, fit)
        return PromptImage(key, start, self.image_tokens, cache(pixels))

    def _decode_pixels(self, source: ImageSource, fit: str) -> torch.Tensor:
        return self._pixels(_square(source, fit))

    def _pixels(self, square: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self._image_processor(images=[square], return_tensors="pt")["pixel_values"][0]
        if tuple(pixels.shape[-2:]) != (self.side, self.side):
            raise GenerationError(
                f"the checkpoint's image processor gives {tuple(pixels.shape[-2:])} pixels, its vision tower reads "
                f"({self.side}, {self.side}); mend size and crop_size in its preprocessor_config.json."
            )
        return pixels


def _square(source: ImageSource, fit: str) -> Image.Image:
    image = load_image(source)
    return pad_to_square(image) if fit == "pad" else crop_to_square(image)


def _digest(source: ImageSource, fit: str) -> bytes | None:
    """Tells encoded images apart without decoding them; None for a source whose content may change."""
    if isinstance(source, str) and source[:5].lower() == "data:":
        source = source.encode()
    return hashlib.sha256(source).digest() + fit.encode() if isinstance(source, bytes) else None


def _content_key(image: Image.Image) -> int:
    content = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
    return -1 - int.from_bytes(content[:15], "big")


def _unused_character(text: str) -> str:
    used = set(text)
    free = next((chr(code) for plane in _PRIVATE_USE for code in plane if chr(code) not in used), None)
    if free is None:
        raise PromptError("the text holds every private character of Unicode; expected text that leaves one out.")
    return free


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{shorten(text[max(error.start - 20, 0) : error.end + 20])} holds half a character ({error.reason}); "
            "expected text that UTF-8 can write: text.encode('utf-8', 'replace').decode() puts a ? in its place."
        ) from error
