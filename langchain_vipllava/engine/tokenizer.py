"""What the engine expects of a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.prompt.formats import END_TOKEN

BEGIN_TOKEN = "<s>"  # noqa: S105  # not a password

SPACE = "▁"
"""How SentencePiece, and so Llama's tokenizer, writes a space."""

NO_SPACE_AT_END: Mapping[str, Any] = {
    "type": "Replace",
    "pattern": {"Regex": f"^{SPACE}(?={END_TOKEN})"},
    "content": "",
}
"""The step with which the tokenizer of an export takes back the space that it put in front of `</s>`."""


def check_tokenizer(tokenizer: Any) -> None:
    """Check that a tokenizer begins texts as Llama's did in the training of ViP-LLaVA.

    Loaded in another way than with its own configuration, it may lack what begins a prompt, and the model then answers
    a little worse without a word.

    Raises:
        CheckpointError: it has no `</s>`, puts anything but one begin token in front of a prompt, an end token behind
            it, no space in front of a text, or is one in Python, without a tokenizer.json.
    """
    remedy = "Load the processor with AutoProcessor.from_pretrained(folder), its tokenizer_config.json included."
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise CheckpointError(
            f"{type(tokenizer).__name__} tokenizes in Python; expected a fast tokenizer, as tokenizer.json describes "
            f"it. {remedy} Leave out use_fast=False."
        )
    end = tokenizer.convert_tokens_to_ids(END_TOKEN)
    if end is None or end == tokenizer.unk_token_id:
        raise CheckpointError(f"{type(tokenizer).__name__} has no token {END_TOKEN}; expected Llama's. {remedy}")
    ids = list(tokenizer("a")["input_ids"])
    if ids[-1] == end:
        raise CheckpointError(f"the tokenizer puts {END_TOKEN} behind a prompt, which ends it. {remedy}")
    _check_beginning(tokenizer, remedy)
    spaced = tokenizer.convert_ids_to_tokens(tokenizer("a a", add_special_tokens=False)["input_ids"])
    if not text_prefix(tokenizer) and any(token.startswith(SPACE) for token in spaced):
        raise CheckpointError(f"the tokenizer puts no space in front of a text, as it did in training. {remedy}")


def _check_beginning(tokenizer: Any, remedy: str) -> None:
    begin, name = tokenizer.bos_token_id, tokenizer.bos_token
    if begin is None:  # loaded without the names of its tokens
        begin, name = tokenizer.convert_tokens_to_ids(BEGIN_TOKEN), BEGIN_TOKEN
        if begin is None or begin == tokenizer.unk_token_id:
            return  # one of another kind, which begins prompts as it likes
    begun = begin_ids(tokenizer)
    if begin not in begun:
        raise CheckpointError(f"the tokenizer puts no {name} in front of a prompt. {remedy}")
    if begun != [begin]:
        found = "".join(map(str, tokenizer.convert_ids_to_tokens(begun)))
        raise CheckpointError(
            f"the tokenizer puts {found} in front of a prompt; expected one {name}, as in training. Correct the "
            f"post_processor in its tokenizer.json. {remedy}"
        )


def begin_ids(tokenizer: Any) -> list[int]:
    """Return the token ids that a tokenizer puts in front of a prompt."""
    ids, plain = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (True, False))
    return ids[: len(ids) - len(plain)]


def text_prefix(tokenizer: Any) -> str:
    """Return what a tokenizer puts in front of a text before it splits it: a space, or nothing."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
    return " " if first.startswith(SPACE) else ""


def keeps_every_character(tokenizer: Mapping[str, Any]) -> bool:
    """Whether every character of a text is in one of its tokens, by the tokenizer's own description.

    Known are the parts of Llama's tokenizers. Others may drop spaces, or make one token of any number of characters.
    """
    normalizer = tokenizer.get("normalizer") or {}
    normalizers = normalizer.get("normalizers") or [normalizer]
    keeps = [
        part.get("type") in (None, "Prepend")
        or (part.get("type") == "Replace" and (part["pattern"], part["content"]) == ({"String": " "}, SPACE))
        or part == NO_SPACE_AT_END
        for part in normalizers
    ]
    pre_tokenizer = tokenizer.get("pre_tokenizer") or {}
    splits = pre_tokenizer.get("type") in (None, "Metaspace") or (
        pre_tokenizer["type"] == "Split" and pre_tokenizer["behavior"] == "Isolated"
    )
    strips = any(token["lstrip"] or token["rstrip"] for token in tokenizer.get("added_tokens") or ())
    model = tokenizer["model"]
    return all(keeps) and splits and not strips and model["type"] == "BPE" and bool(model.get("byte_fallback"))
