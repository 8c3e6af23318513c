"""`served_tokenizer`: a checkpoint's tokenizer that makes of a whole prompt the token ids of the training."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from langchain_vipllava.engine.tokenizer import NO_SPACE_AT_END, SPACE
from langchain_vipllava.prompt.formats import END_TOKEN

_SPACES: Mapping[str, Any] = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_BEGIN: Mapping[str, Any] = {"type": "Prepend", "prepend": SPACE}


def served_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Return the `tokenizer.json` of an export.

    A server tokenizes a prompt as one text, split at its special tokens. The training put a space in front of a text at
    the start and behind an image, and none behind `</s>`. So `</s>` is found after the space is put in front, and not
    before, as the other special tokens are.

    Args:
        tokenizer: the checkpoint's, as transformers loads it.
    """
    plain: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    plain["padding"] = plain["truncation"] = None
    written = copy.deepcopy(plain)
    normalizer = written.get("normalizer") or {}
    steps = normalizer.get("normalizers") or [normalizer]
    splits = written.get("pre_tokenizer") or {}
    if splits.get("type") == "Metaspace" and not written.get("normalizer"):  # how transformers 5 writes Llama's
        written["pre_tokenizer"] = None
    elif [step.get("type") for step in steps] != ["Prepend", "Replace"]:
        return plain  # another kind of tokenizer: the check of the export says whether it does
    written["normalizer"] = {"type": "Sequence", "normalizers": [dict(_BEGIN), dict(_SPACES), dict(NO_SPACE_AT_END)]}
    for token in written["added_tokens"]:
        if token["content"] == END_TOKEN:
            token["normalized"] = True
    return written
