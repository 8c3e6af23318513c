"""`RecordingBackend`: another backend, with every prompt that it was given."""

from __future__ import annotations

from typing import Any


class RecordingBackend:
    """Answers as another backend does, and keeps the prompts: their text, and the hashes of their images' pixels."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.prompts: list[tuple[str, tuple[str, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def _record(self, request: Any) -> None:
        images = tuple(image.pixel_digest.hex() for image in request.conversation.images)
        self.prompts.append((request.render().text, images))

    def generate(self, request: Any, **options: Any) -> Any:
        self._record(request)
        return self._backend.generate(request, **options)

    async def agenerate(self, request: Any, **options: Any) -> Any:
        self._record(request)
        return await self._backend.agenerate(request, **options)

    def stream(self, request: Any, **options: Any) -> Any:
        self._record(request)
        return self._backend.stream(request, **options)

    def astream(self, request: Any, **options: Any) -> Any:
        self._record(request)
        return self._backend.astream(request, **options)
