"""`ProfiledModel`: a chat model whose `profile` is that of its backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from langchain_vipllava.chat.guard import TreeErrors
from langchain_vipllava.chat.profile import Profile
from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.protocol.backend import Backend

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile


class ProfiledModel(TreeErrors):
    """A chat model that completes the `profile` that it was passed by what is known of its backend."""

    @property
    def backend(self) -> Backend:
        """What answers."""
        raise NotImplementedError

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, which checks nothing; a copy with another model has that model's profile."""
        copied = super().model_copy(update=update, deep=deep)
        if "model" in (update or {}):
            with suppress(CheckpointError):  # which the first call raises
                copied._complete_profile(copied.backend)
        return copied

    def _complete_profile(self, backend: Backend) -> None:
        if "profile" in type(self).model_fields:  # older langchain-core reads it elsewhere
            given: Any = self.profile if "profile" in self.model_fields_set else None
            given = given.given if isinstance(given, Profile) else given
            object.__setattr__(self, "profile", Profile(backend, given))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if name not in ("profile", "metadata")]

    def _resolve_model_profile(self) -> ModelProfile | None:
        return None  # `_complete_profile` sets it when the whole model is there
