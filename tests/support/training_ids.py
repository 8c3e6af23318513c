"""Token ids of a prompt as training made them, apart from the package's own code."""

from __future__ import annotations

from typing import Any

END = "</s>"


def training_ids(processor: Any, text: str, images: list[Any]) -> list[int]:
    """Tokenize a prompt's text, with `<image>` where an image stands, as ViP-LLaVA's training did.

    transformers' tokenizer begins the text behind `</s>` like a new one, with a space; that of the training did not.
    So each of these texts is tokenized behind a line break here, whose ids are cut off.
    """
    first, *others = text.split(END)
    tokenizer = processor.tokenizer
    ids = list(processor(text=[first], images=images or None)["input_ids"][0])
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    for other in others:
        ids.append(tokenizer.convert_tokens_to_ids(END))
        ids += tokenizer(f"\n{other}", add_special_tokens=False)["input_ids"][len(newline) :] if other else []
    return ids
