"""`ServedCheckpoint`: what a client has to know of the checkpoint that a server runs. Reads no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from langchain_vipllava.backends.checkpoint_facts import CheckpointFacts
from langchain_vipllava.engine.constraint import ConstraintFactory
from langchain_vipllava.engine.text_encoding import TextEncoder
from langchain_vipllava.engine.token_texts import TokenTexts
from langchain_vipllava.errors import CheckpointError, describe_error, shorten
from langchain_vipllava.images.view import CLIP_MEAN_COLOR, padding_color
from langchain_vipllava.protocol.load_options import TRAINED_FORMATS, LoadOptions

_TOKENIZER, _CONFIG = "tokenizer.json", "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")

_MAX_BYTES = 64 * 2**20
"""Bytes of a file that is read here. Chosen: the tokenizer.json of the published checkpoints has 3.6 MB."""


@dataclass(frozen=True, eq=False)
class ServedCheckpoint:
    """Tokenizer and image size of a checkpoint.

    Attributes:
        texts: encodes its prompts.
        token_texts: texts and bytes of its tokens.
        constraints: follow an answer that has to match a grammar.
        side: side of the square that its vision tower reads, in pixels.
        resample: the filter with which its images are resized; None where the server has to resize them, because
            its processor also crops.
        context_length: maximum number of tokens of prompt and answer; None where that is unknown.
        padding: RGB of what its images are padded with.
        confidence_temperature: divides logits before confidences are computed, by the checkpoint's config.
    """

    texts: TextEncoder
    token_texts: TokenTexts
    constraints: ConstraintFactory
    side: int
    resample: Image.Resampling | None
    context_length: int | None
    padding: tuple[int, int, int] = CLIP_MEAN_COLOR
    confidence_temperature: float = 1.0


def find_checkpoint(name: str, *, fetch: bool) -> ServedCheckpoint | None:
    """Find what a client has to know, by the name of a checkpoint.

    Args:
        name: folder, "bundled", or hub id.
        fetch: whether to ask the hub for what its cache lacks; such a name has to be right.

    Returns:
        None if there is no such checkpoint here.

    Raises:
        CheckpointError: it is damaged; or it was not found, with `fetch`.
    """
    known = _known.get(name)
    if known is not None:
        return known
    paths = _find(name, fetch=fetch)
    if _TOKENIZER in paths:
        return _known.setdefault(name, _read(name, paths))
    if not fetch:
        return None
    raise CheckpointError(
        f"tokenizer={shorten(name)} has no {_TOKENIZER}; expected the folder or the hub id of the checkpoint that is "
        "served. Of its files, tokenizer.json, config.json and preprocessor_config.json are enough."
    )


def _find(name: str, *, fetch: bool) -> dict[str, str]:
    """Return the paths of the files that are here, by their names."""
    folder = Path(LoadOptions(name).source)
    files = (_TOKENIZER, _CONFIG, *_PROCESSORS)
    try:
        if folder.is_dir():
            return {file: str(folder / file) for file in files if (folder / file).is_file()}
    except (OSError, ValueError):  # such as a name that is too long
        return {}
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # noqa: PLC0415  # 0.2 seconds

    found: dict[str, str] = {}
    for file in files:
        try:
            path = try_to_load_from_cache(name, file)
            if fetch and path is None:
                path = hf_hub_download(name, file)
        except Exception:  # no id of the hub, no such file there, a hub that is away
            path = None
        if isinstance(path, str):
            found[file] = path
    return found


_known: dict[str, ServedCheckpoint] = {}
"""What was found, for the whole process, as loaded models are."""


def _read(name: str, files: Mapping[str, str]) -> ServedCheckpoint:
    config = _load(files[_CONFIG]) if _CONFIG in files else {}
    if not config and name not in TRAINED_FORMATS:
        raise CheckpointError(f"{shorten(name)} has no {_CONFIG} beside its {_TOKENIZER}; expected both.")
    vision = config.get("vision_config")
    vision = vision if isinstance(vision, Mapping) else {}
    facts = CheckpointFacts.of_config(config) if config else CheckpointFacts.of(LoadOptions(name))
    side = _positive(vision.get("image_size", facts.view_size), name, "image_size")
    patch = _positive(vision.get("patch_size", facts.patch_size), name, "patch_size")
    image_id = config.get("image_token_id", config.get("image_token_index"))
    length = facts.context_length
    texts = TextEncoder(
        _text(files[_TOKENIZER]),
        image_id=image_id if isinstance(image_id, int) else None,
        image_tokens=(side // patch) ** 2,
        context_length=length,
    )
    processor: dict[str, Any] = {}
    for file in _PROCESSORS:
        loaded = _load(files[file]) if file in files else {}
        nested = loaded.get("image_processor")
        processor = {**loaded, **(nested if isinstance(nested, dict) else {}), **processor}
    constraints = ConstraintFactory(texts.tokenizer, texts.vocabulary, [texts.end_id])
    temperature = config.get("confidence_temperature", 1.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise CheckpointError(
            f"confidence_temperature={shorten(temperature)} in the {_CONFIG} of {shorten(name)}; expected a positive "
            "number."
        )
    return ServedCheckpoint(
        texts,
        TokenTexts(texts),
        constraints,
        side,
        _resample(processor, side),
        length,
        padding_color(processor.get("image_mean")),
        float(temperature),
    )


def _resample(processor: Mapping[str, Any], side: int) -> Image.Resampling | None:
    """The filter of an image processor; None for one that does not resize to the side that the model reads."""
    size = processor.get("size", side)
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    if size != side:
        return None
    try:
        return Image.Resampling(processor.get("resample", Image.Resampling.BICUBIC))
    except ValueError:
        return None


def _positive(value: Any, name: str, what: str) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise CheckpointError(f"{what}={shorten(value)} in the {_CONFIG} of {shorten(name)}; expected a positive number.")


def _load(path: str) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {shorten(path)}: {describe_error(error)}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{shorten(path)} holds a {type(value).__name__}; expected a mapping.")
    return value


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise CheckpointError(f"{shorten(path)} has more than {_MAX_BYTES:,} bytes.")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {shorten(path)}: {describe_error(error)}.") from error
