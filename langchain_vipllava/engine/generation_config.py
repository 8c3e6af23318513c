"""What the engine reads from a checkpoint's generation config."""

from __future__ import annotations

import math
from typing import Any

from langchain_vipllava.errors import CheckpointError, shorten


def eos_token_ids(model: Any) -> tuple[int, ...]:
    """Return the tokens that end an answer of this model."""
    for config in (model.generation_config, model.config.text_config):
        ids = config.eos_token_id
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


def confidence_temperature(model: Any) -> float:
    """Return what divides a model's logits before its confidences are computed: `make calibration` finds it.

    Raises:
        CheckpointError: the checkpoint's config.json has no positive number for it.
    """
    value = getattr(model.config, "confidence_temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise CheckpointError(
            f"confidence_temperature={shorten(value)} in the checkpoint's config.json; expected a positive number."
        )
    return float(value)


_NEUTRAL_VALUES = {
    "repetition_penalty": 1, "encoder_repetition_penalty": 1, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None, "min_new_tokens": 0, "min_length": 0,
    "suppress_tokens": None, "begin_suppress_tokens": None, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "sequence_bias": None, "exponential_decay_length_penalty": None, "guidance_scale": 1, "num_beams": 1,
    "num_beam_groups": 1, "penalty_alpha": None, "stop_strings": None,
}  # fmt: skip
"""Settings that change the answers of plain `generate` even without sampling, with the value that changes nothing."""


_NEUTRAL_SAMPLING = {
    "do_sample": False, "temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0, "typical_p": 1, "epsilon_cutoff": 0,
    "eta_cutoff": 0,
}  # fmt: skip
"""Settings with which plain `generate` samples, if the first one is True."""


def ignored_settings(model: Any) -> list[str]:
    """Return the settings of a checkpoint that would change its answers, and that the engine does not apply."""
    defaults = type(model.generation_config)()
    samples = bool(model.generation_config.do_sample)
    neutral = {**(_NEUTRAL_SAMPLING if samples else {}), **_NEUTRAL_VALUES}
    settings = {name: getattr(model.generation_config, name, None) for name in neutral}
    return [
        f"{name}={value!r}"
        for name, value in settings.items()
        if value is not None and value not in (getattr(defaults, name, None), neutral[name])
    ]
