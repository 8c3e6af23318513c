"""What a checkpoint's own generation settings mean here."""

from __future__ import annotations

from typing import Any


def end_ids(model: Any) -> tuple[int, ...]:
    """Tokens that end an answer of this model."""
    for config in (model.generation_config, model.config.text_config):
        ids = config.eos_token_id
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


_CHANGE_GREEDY = (
    "repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_new_tokens",
    "min_length", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "sequence_bias", "exponential_decay_length_penalty", "guidance_scale",
)  # fmt: skip
"""Settings with which plain `generate` would answer otherwise even without sampling."""


def ignored_settings(model: Any) -> list[str]:
    """Generation settings of a checkpoint that would change its greedy answers and are not applied by the engine."""
    plain = type(model.generation_config)()
    settings = ((name, getattr(model.generation_config, name, None)) for name in _CHANGE_GREEDY)
    return [
        f"{name}={value!r}"
        for name, value in settings
        if value is not None and value != getattr(plain, name, None) and value not in (0, 1, 1.0)
    ]
