"""`SessionLimits`: how much a workspace remembers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from langchain_vipllava.errors import SessionError, expect_positive

MAX_QUESTION = 20_000
"""Characters of a question. Chosen: above what fits into the model's 4096 tokens, whose error then says by how much."""


@dataclass(frozen=True)
class SessionLimits:
    """How much a workspace remembers. What is used least is forgotten first.

    Attributes:
        max_sessions: sessions in memory.
        max_images: images per session, marked ones included.
        max_session_bytes: memory of a session's images: as files and as pixels, with their markers, masks and
            conversations. Chosen: 14 photographs of 12 megapixels (36 MB of pixels each).
        max_bytes: the same of all sessions together. Chosen: four full ones.
        max_turns: questions about one image. Chosen: more than the context of a model with 4096 tokens holds.

    Raises:
        SessionError: a limit that is not a whole number of at least 1.
    """

    max_sessions: int = 64
    max_images: int = 32
    max_session_bytes: int = 512 * 2**20
    max_bytes: int = 2 * 2**30
    max_turns: int = 200

    def __post_init__(self) -> None:
        expect_positive(self, (field.name for field in fields(self)), SessionError)
