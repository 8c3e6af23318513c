"""One padded batch through the model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from langchain_vipllava.host.answer import AnswerWriter
from langchain_vipllava.host.encoding import EncodedPrompt
from langchain_vipllava.host.request import Sampling


class _Bookkeeper(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Hands every row's newest token to its writer, and stops a row when its answer is finished."""

    def __init__(self, writers: Sequence[AnswerWriter], cancelled: Sequence[Any]) -> None:
        self._writers = writers
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        del scores, kwargs
        for writer, cancelled, token in zip(self._writers, self._cancelled, input_ids[:, -1].tolist(), strict=True):
            if cancelled():
                writer.finish("cancelled")
            writer.add(token)
        done = [writer.finish_reason is not None for writer in self._writers]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def run_batch(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    writers: Sequence[AnswerWriter],
    samplings: Sequence[Sampling],
    cancelled: Sequence[Any],
    max_tokens: int,
) -> None:
    """Answer prompts together, left-padded; every row ends by itself.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        prompts: one per row.
        writers: take the tokens of their row and finish with it.
        samplings: how the tokens of a row are chosen.
        cancelled: one function per row that tells whether its answer is still wanted.
        max_tokens: most tokens that any row may get.
    """
    device = model.get_input_embeddings().weight.device
    width = max(len(prompt.ids) for prompt in prompts)
    pad = pad_id(model)
    ids = torch.tensor([[pad] * (width - len(p.ids)) + list(p.ids) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p.ids)) + [1] * len(p.ids) for p in prompts], device=device)
    pixels = [prompt.pixel_values for prompt in prompts if prompt.pixel_values is not None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if pixels:
        inputs["pixel_values"] = torch.cat(pixels).to(device=device, dtype=model.dtype)
    if any(row.temperature > 0 for row in samplings):
        from langchain_vipllava.host.sampling import SeededSampling  # noqa: PLC0415

        inputs["logits_processor"] = LogitsProcessorList([SeededSampling(samplings)])
    with torch.inference_mode():
        model.generate(
            **inputs,
            generation_config=_greedy(model, pad, max_tokens),
            stopping_criteria=StoppingCriteriaList([_Bookkeeper(writers, cancelled)]),
        )
    for writer in writers:
        writer.finish("length")


def end_ids(model: Any) -> tuple[int, ...]:
    """Tokens that end an answer of this model."""
    for config in (model.generation_config, model.config.text_config):
        ids = config.eos_token_id
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


def pad_id(model: Any) -> int:
    """Token that fills rows on the left; masked, so any would do."""
    for config in (model.generation_config, model.config.text_config):
        if config.pad_token_id is not None and config.pad_token_id >= 0:
            return int(config.pad_token_id)
    return (end_ids(model) or (0,))[0]


def _greedy(model: Any, pad: int, max_tokens: int) -> GenerationConfig:
    """The checkpoint's generation settings, without any sampling of its own."""
    config = copy.deepcopy(model.generation_config)
    config.do_sample = False
    config.num_beams = 1
    config.temperature = config.top_p = config.top_k = None
    config.pad_token_id = pad
    config.eos_token_id = list(end_ids(model)) or None
    config.max_new_tokens, config.max_length = max_tokens, None
    return config
