"""LangChain's standard tests for byte stores, on `ImageStore` in memory and in a folder."""

from __future__ import annotations

import pytest
from langchain_core.stores import BaseStore
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests

from langchain_vipllava import ImageStore
from langchain_vipllava.chat.byte_store import ImageByteStore


class _Bytes:
    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", b"bar", b"baz"


class _InMemory(_Bytes):
    @pytest.fixture
    def kv_store(self) -> BaseStore[str, bytes]:
        return ImageByteStore(ImageStore())


class _InFolder(_Bytes):
    @pytest.fixture
    def kv_store(self, tmp_path) -> BaseStore[str, bytes]:
        return ImageByteStore(ImageStore(tmp_path / "images"))


class TestInMemory(_InMemory, BaseStoreSyncTests[bytes]): ...


class TestInFolder(_InFolder, BaseStoreSyncTests[bytes]): ...


class _Async:
    @pytest.fixture
    async def kv_store(self) -> BaseStore[str, bytes]:
        return ImageByteStore(ImageStore())


class TestInMemoryAwaited(_Bytes, _Async, BaseStoreAsyncTests[bytes]): ...


class TestInFolderAwaited(_InFolder, BaseStoreAsyncTests[bytes]): ...
