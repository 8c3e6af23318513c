"""`ImageByteStore`: an `ImageStore` as one of LangChain's byte stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.stores import BaseStore

from langchain_vipllava.images.store import ImageStore


class ImageByteStore(BaseStore[str, bytes]):
    """Lets LangChain code that takes a `ByteStore` use an `ImageStore`.

    Example:
        >>> from langchain_vipllava import ImageStore
        >>> from langchain_vipllava.chat.byte_store import ImageByteStore
        >>> byte_store = ImageByteStore(ImageStore())
        >>> byte_store.mset([("key", b"bytes")])
        >>> byte_store.mget(["key", "another"])
        [b'bytes', None]
    """

    def __init__(self, store: ImageStore) -> None:
        self.store = store

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each key, None for a missing one."""
        return self.store.mget(keys)

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store bytes under keys."""
        self.store.mset(key_value_pairs)

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete keys; a missing one is not an error."""
        self.store.mdelete(keys)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yield all keys with a prefix."""
        yield from self.store.yield_keys(prefix=prefix)
