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
