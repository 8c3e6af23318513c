"""`PromptEncoder`: prompts and images as the model takes them, token ids and pixel values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from PIL import Image

from langchain_vipllava.engine.image_processor import pillow_processor, resizing
from langchain_vipllava.engine.model_sizes import image_tokens
from langchain_vipllava.engine.pixel_values import PixelValues
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.engine.text_encoding import TextEncoder
from langchain_vipllava.engine.tokenizer import check_tokenizer
from langchain_vipllava.errors import GenerationError, ImageError
from langchain_vipllava.images.decoding_room import DECODING
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.shrink import model_square, processor_crop
from langchain_vipllava.images.view import ImageFit, padding_color
from langchain_vipllava.locks import cached_property, fork_safe_lock, run_locked
from langchain_vipllava.prompt.formats import IMAGE_TOKEN, Prompt

_MAX_DIGESTS = 1024
"""Encoded images that are remembered by their pixels. Chosen: some 100 KB."""

_MAX_AMBIGUOUS = 3
"""Side of a square, in pixels, up to which transformers 4 takes its rows for its channels, of which it knows 1 or 3."""

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
        self._image_processor = pillow_processor(processor.image_processor)
        self.side = int(config.vision_config.image_size)
        self.image_tokens = image_tokens(config)
        self.context_length = int(config.text_config.max_position_embeddings)
        self.texts = TextEncoder(
            self.tokenizer.backend_tokenizer.to_str(),
            image_id=int(config.image_token_id),
            image_tokens=self.image_tokens,
            context_length=self.context_length,
        )
        self._pixel_digests: dict[str, bytes] = {}  # SHA-256 of encoded images to that of their pixels
        self._resize_side, self._resample = resizing(self._image_processor, self.side)
        self._padding = padding_color(getattr(self._image_processor, "image_mean", None))
        self.pixel_values = PixelValues()
        self._digests_lock = fork_safe_lock()

    def encode(self, request: GenerationRequest) -> EncodedPrompt:
        """Encode a request.

        Raises:
            PromptError: text that is not Unicode.
            PromptTooLongError: the prompt leaves no room for an answer.
        """
        self.texts.check_characters(request.prompt, self.context_length)
        ids = self.encode_text(request.prompt)
        self.texts.check_length(len(ids), self.context_length)
        return EncodedPrompt(ids, self._encode_images(request, ids))

    def encode_text(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of a prompt, each image as `image_tokens` image tokens.

        Raises:
            PromptError: text that is not Unicode.
        """
        return self.texts.expand(self.texts.encode(prompt))

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text alone, without the token that begins a prompt.

        Raises:
            PromptError: text that is not Unicode.
        """
        return self.texts.token_ids(text)

    def _encode_images(self, request: GenerationRequest, ids: tuple[int, ...]) -> tuple[PromptImage, ...]:
        places = sum(segment.kind == "image" for segment in request.prompt.segments)
        if places != len(request.images):
            raise GenerationError(
                f"the prompt has {places} {IMAGE_TOKEN} but {len(request.images)} images came; expected as many."
            )
        starts = [index for index, token in enumerate(ids) if token == self.texts.image_id][:: self.image_tokens]
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
        pixels = self.pixel_values.get(key)
        if pixels is None:
            pixels = self.pixel_values.add(key, self._compute_pixels(decoded or image.decode(), fit))
        return key, pixels

    def _remember(self, sha256: str, digest: bytes) -> None:
        self._pixel_digests[sha256] = digest
        while len(self._pixel_digests) > _MAX_DIGESTS:
            self._pixel_digests.pop(next(iter(self._pixel_digests)), None)

    def _compute_pixels(self, image: Image.Image, fit: ImageFit) -> torch.Tensor:
        """Pixel values of an image, (3, side, side) float."""
        try:
            make = processor_crop if fit == "center_crop" else partial(model_square, fit=fit, color=self._padding)
            square = make(image, side=self._resize_side, resample=self._resample)
            if square.width <= _MAX_AMBIGUOUS:
                square = square.resize((self._resize_side, self._resize_side), self._resample)
            pixels: torch.Tensor = self._image_processor(images=[square], return_tensors="pt")["pixel_values"][0]
        except MemoryError as error:
            raise ImageError("there is not enough memory to prepare an image for the model; shrink it.") from error
        if tuple(pixels.shape[-2:]) != (self.side, self.side):
            raise GenerationError(
                f"the checkpoint's image processor returns {tuple(pixels.shape[-2:])} pixels, its vision tower reads "
                f"({self.side}, {self.side}); correct size and crop_size in its preprocessor_config.json."
            )
        return pixels
