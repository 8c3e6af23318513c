"""`CheckpointFiles`: the files of a checkpoint that an export takes over, in a folder or from the hub."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_vipllava.errors import CheckpointError, describe_error, shorten
from langchain_vipllava.protocol.load_options import LoadOptions

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"

_MAX_HEADER = 100 * 2**20
"""Bytes of the header of a safetensors file: the bound of the format itself."""


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint.

    Attributes:
        folder: where they are.
        weights: names of the safetensors files; with the index, where there are several.
        shapes: shape of each tensor by its name.
    """

    folder: Path
    weights: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def find(cls, options: LoadOptions) -> CheckpointFiles:
        """Find the files of a checkpoint; one of the hub is downloaded where the cache has it not.

        Args:
            options: pinned to a commit.

        Raises:
            CheckpointError: files are missing, damaged, or pickles.
        """
        folder = Path(options.source)
        if not folder.is_dir():
            folder = _download(options)
        names = _weight_files(folder, options.model)
        shapes: dict[str, tuple[int, ...]] = {}
        for name in names:
            if name.endswith(".safetensors"):
                shapes |= _read_shapes(folder / name)
        if _INDEX in names:
            missing = sorted(set(_read_index(folder / _INDEX)) - shapes.keys())
            if missing:
                raise CheckpointError(
                    f"{options.model!r} lacks {len(missing)} of its weights, such as {shorten(missing[0])}; expected a "
                    "complete checkpoint. Download or save it again."
                )
        return cls(folder, names, shapes)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file of settings; empty if there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = self.folder / name
        return _read_mapping(path) if path.is_file() else {}

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum((self.folder / name).stat().st_size for name in self.weights)


def _download(options: LoadOptions) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # only for checkpoints of the hub

    try:
        return Path(
            snapshot_download(
                options.source,
                revision=options.revision,
                allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer.model"],
                local_files_only=options.local_files_only,
            )
        )
    except Exception as error:
        raise CheckpointError(
            f"cannot download {options.model!r}: {describe_error(error)}. Expected a reachable hub, or a folder."
        ) from error


def _weight_files(folder: Path, model: str) -> tuple[str, ...]:
    if (folder / _INDEX).is_file():
        shards = sorted(set(_read_index(folder / _INDEX).values()))
        for name in shards:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CheckpointError(f"{_INDEX} names {shorten(name)}; expected safetensors files beside it.")
            if not (folder / name).is_file():
                raise CheckpointError(f"{model!r} lacks its file {name}; download or save it again.")
        return (*shards, _INDEX)
    if (folder / _SINGLE).is_file():
        return (_SINGLE,)
    raise CheckpointError(
        f"{model!r} has no {_SINGLE}; expected weights as safetensors. Older ones as pickles (*.bin) can run code when "
        "they are read: convert them with VipLlavaForConditionalGeneration.from_pretrained(folder, "
        "use_safetensors=False).save_pretrained(folder)."
    )


def _read_index(path: Path) -> dict[str, str]:
    files = _read_mapping(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()) or not files:
        raise CheckpointError(f"{path.name} has no weight_map; expected file names by names of tensors.")
    return files


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the header of a safetensors file, and check that the file is as long as it says."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max(entry["data_offsets"][1] for entry in header.values())
        if path.stat().st_size != end:
            raise ValueError(f"{path.stat().st_size} bytes, where its header says {end}")
        return {name: tuple(entry["shape"]) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise CheckpointError(
            f"{path.name} is not a complete safetensors file ({describe_error(error)}); download or save it again."
        ) from error


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {describe_error(error)}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds a {type(value).__name__}; expected a mapping.")
    return value
