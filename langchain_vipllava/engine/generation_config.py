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


_CHANGE_GREEDY = {
    "repetition_penalty": 1, "encoder_repetition_penalty": 1, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None, "min_new_tokens": 0, "min_length": 0,
    "suppress_tokens": None, "begin_suppress_tokens": None, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "sequence_bias": None, "exponential_decay_length_penalty": None, "guidance_scale": 1, "num_beams": 1,
    "num_beam_groups": 1, "penalty_alpha": None, "stop_strings": None,
}  # fmt: skip
"""Settings with which plain `generate` would answer otherwise even without sampling, and what changes nothing."""


def ignored_settings(model: Any) -> list[str]:
    """Generation settings of a checkpoint that would change its greedy answers and are not applied by the engine."""
    plain = type(model.generation_config)()
    settings = {name: getattr(model.generation_config, name, None) for name in _CHANGE_GREEDY}
    return [
        f"{name}={value!r}"
        for name, value in settings.items()
        if value is not None and value not in (getattr(plain, name, None), _CHANGE_GREEDY[name])
    ]
