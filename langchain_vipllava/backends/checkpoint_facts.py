"""`CheckpointFacts`: what a checkpoint's config says, or what was published of it; loads no weights, asks no hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.protocol.load_options import LoadOptions

_PUBLISHED = ("llava-hf/vip-llava-7b-hf", "llava-hf/vip-llava-13b-hf")

_PUBLISHED_LENGTH = 4096
"""`max_position_embeddings` of their configs: that of Vicuna 1.5."""

_DEFAULT_LENGTH = 2048
"""What transformers' `LlamaConfig` takes where a config says nothing."""

_DEFAULT_SIDE, _DEFAULT_PATCH = 224, 32
"""What its `CLIPVisionConfig` takes where a vision config says nothing. Without one, a ViP-LLaVA's tower is that of the
published ones."""

_PATCH_SIZE = 14
"""Side of a patch of the published checkpoints' vision tower, in pixels: CLIP ViT-L/14."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What can be known of a checkpoint before it is loaded.

    Attributes:
        context_length: maximum number of tokens of prompt and answer together; None where it cannot be known yet.
        view_size: side of the square that it reads of an image, in pixels; that of the published ones if unknown.
        patch_size: side of the squares that it makes tokens of, in pixels.
    """

    context_length: int | None = None
    view_size: int = VIEW_SIZE
    patch_size: int = _PATCH_SIZE

    @classmethod
    def of(cls, options: LoadOptions) -> CheckpointFacts:
        """Read the config of a folder, or in the cache of the hub."""
        folder = Path(options.source)
        try:
            if folder.is_dir():
                return cls._read(folder / "config.json")
        except OSError:  # such as a name that is too long: loading it says so
            return cls()
        if options.revision is None and options.model in _PUBLISHED:
            return cls(_PUBLISHED_LENGTH)
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # 0.2 seconds, for unknown checkpoints only

        try:
            path = try_to_load_from_cache(options.source, "config.json", revision=options.revision)
        except (ValueError, OSError):  # not an id of the hub: loading it says so
            return cls()
        return cls._read(Path(path)) if isinstance(path, str) else cls()

    @classmethod
    def _read(cls, path: Path) -> CheckpointFacts:
        try:
            config = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):  # loading it says what is wrong
            return cls()
        return cls.of_config(config)

    @classmethod
    def of_config(cls, config: Any) -> CheckpointFacts:
        """Read the content of a config.json, whatever it is."""
        text, vision = (_part(config, name) for name in ("text_config", "vision_config"))
        length = None if text is None else _whole(text.get("max_position_embeddings", _DEFAULT_LENGTH))
        if vision is None:
            return cls(length)
        side, patch = _whole(vision.get("image_size", _DEFAULT_SIDE)), _whole(vision.get("patch_size", _DEFAULT_PATCH))
        return cls(length, side or VIEW_SIZE, patch or _PATCH_SIZE)


def _part(config: Any, name: str) -> Mapping[str, Any] | None:
    part = config.get(name) if isinstance(config, dict) else None
    return part if isinstance(part, dict) else None


def _whole(number: Any) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None
