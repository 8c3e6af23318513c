"""`ServedFolder`: what a server has to know of an exported checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_vipllava.errors import CheckpointError, describe_error, shorten

TEMPLATE = "chat_template.jinja"
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json", TEMPLATE)


@dataclass(frozen=True)
class ServedFolder:
    """An exported checkpoint.

    Attributes:
        path: the folder, absolute.
        context: tokens of prompt and answer together.
        image_tokens: tokens of an image.
        heads: attention heads of the language model.
        kv_bytes: bytes of the keys and values of one token.
        dtype: of the weights, as the config says; None where it does not.
    """

    path: Path
    context: int
    image_tokens: int
    heads: int
    kv_bytes: int
    dtype: str | None

    @property
    def images(self) -> int:
        """Images that the context has room for."""
        return max(1, self.context // self.image_tokens)

    @classmethod
    def read(cls, path: Path) -> ServedFolder:
        """Read an exported folder.

        Raises:
            CheckpointError: it is not one.
        """
        remedy = "Write one: langchain-vipllava export llava-hf/vip-llava-7b-hf FOLDER."
        if not path.is_dir():
            raise CheckpointError(f"there is no folder {shorten(str(path))}; expected one of an export. {remedy}")
        missing = [name for name in _FILES if not (path / name).is_file()]
        if missing or not any(path.glob("*.safetensors")):
            raise CheckpointError(
                f"{shorten(str(path))} lacks {missing[0] if missing else 'its weights'}; expected the folder of an "
                f"export. {remedy}"
            )
        try:
            config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
            vision, text = config["vision_config"], config["text_config"]
            tokens = (int(vision["image_size"]) // int(vision["patch_size"])) ** 2
            dtype = config.get("dtype")
            context, heads = int(text["max_position_embeddings"]), int(text.get("num_attention_heads", 32))
            found = cls(path.resolve(), context, tokens, heads, _kv_bytes(text, dtype), dtype)
            layers = [config.get(key) for key in ("vision_feature_layer", "vision_feature_layers")]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"the config.json in {shorten(str(path))} cannot be read: {describe_error(error)}. {remedy}"
            ) from error
        if not isinstance(layers[0], list) or layers[0] != layers[1]:
            raise CheckpointError(
                f"the config.json in {shorten(str(path))} has not the vision layers under both names; a server whose "
                f"transformers reads the other would take wrong ones without a word. {remedy}"
            )
        return found


def _kv_bytes(text: dict[str, Any], dtype: str | None) -> int:
    """Bytes of the keys and values of one token; what a config leaves out is as in transformers' `LlamaConfig`."""
    heads = int(text.get("num_attention_heads", 32))
    head = int(text.get("head_dim") or int(text.get("hidden_size", 4096)) // heads)
    values = 2 * int(text.get("num_hidden_layers", 32)) * int(text.get("num_key_value_heads") or heads) * head
    return values * (4 if dtype == "float32" else 2)
