"""`known_context_length`: the context of a checkpoint, from its config or from what was published; loads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_vipllava.protocol.load_options import LoadOptions

_PUBLISHED: Mapping[str, int] = {"llava-hf/vip-llava-7b-hf": 4096, "llava-hf/vip-llava-13b-hf": 4096}
"""`max_position_embeddings` of their configs: that of Vicuna 1.5."""

_DEFAULT = 2048
"""What transformers' `LlamaConfig` takes where a config says nothing."""


def known_context_length(options: LoadOptions) -> int | None:
    """Return the maximum number of tokens of prompt and answer together; None where it cannot be known yet.

    The config of a folder, or in the cache of the hub, says it. The hub is not asked.
    """
    folder = Path(options.source)
    try:
        if folder.is_dir():
            return _read(folder / "config.json")
    except OSError:  # such as a name that is too long: loading it says so
        return None
    if options.revision is None and options.model in _PUBLISHED:
        return _PUBLISHED[options.model]
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # 0.2 seconds, for unknown checkpoints only

    try:
        path = try_to_load_from_cache(options.source, "config.json", revision=options.revision)
    except (ValueError, OSError):  # not an id of the hub: loading it says so
        return None
    return _read(Path(path)) if isinstance(path, str) else None


def _read(path: Path) -> int | None:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # loading it says what is wrong
        return None
    text: Any = config.get("text_config") if isinstance(config, dict) else None
    if not isinstance(text, dict):
        return None
    length = text.get("max_position_embeddings", _DEFAULT)
    return length if isinstance(length, int) and length > 0 else None
