"""`python llama_worker.py GGUF THREADS exact|default`: greedy answers of llama.cpp, in and out as lines of JSON.

`benchmarks.llama_cpp` runs it in an environment that has only llama-cpp-python, gguf and numpy. `default` leaves all to
llama.cpp, which keeps keys and values in 16 bits and attends by its flash attention; `exact` does neither. Those of the
longest prefix that a prompt shares with the one before are kept.

Other commands: `write WEIGHTS GGUF` makes a GGUF file of an .npz file, `quantize GGUF GGUF` one in Q8_0.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 1024
"""Tokens that fit."""


def write_gguf(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a float32 GGUF file without a vocabulary.

    Args:
        weights: tensors by their names in GGUF, and the metadata, as arrays without dimensions, by their keys.
        path: of the file.
    """
    from gguf import GGUFWriter, LlamaFileType  # noqa: PLC0415  # tests have no gguf

    writer = GGUFWriter(path, "llama")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    for name, value in weights.items():
        if value.ndim:
            writer.add_tensor(name, value)
        elif value.dtype.kind == "f":
            writer.add_float32(name, float(value))
        else:
            writer.add_uint32(name, int(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, target: Path) -> None:
    """Write a GGUF file again in Q8_0."""
    import llama_cpp  # noqa: PLC0415

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(bytes(source), bytes(target), settings):
        raise SystemExit(f"llama.cpp could not quantize {source}.")


class Llama:
    """A model in llama.cpp, through its C API.

    Args:
        path: a GGUF file.
        threads: for prompts and for answers.
        exact: compute all in float32; its flash attention rounds also there.
    """

    def __init__(self, path: Path, threads: int, *, exact: bool) -> None:
        import llama_cpp  # noqa: PLC0415

        self._api: Any = llama_cpp
        self._api.llama_backend_init()
        self._model = self._api.llama_model_load_from_file(bytes(path), self._api.llama_model_default_params())
        settings = self._api.llama_context_default_params()
        settings.n_ctx = CONTEXT
        settings.n_threads = settings.n_threads_batch = threads
        if exact:
            settings.type_k = settings.type_v = self._api.GGML_TYPE_F32
            settings.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = self._api.llama_init_from_model(self._model, settings)
        if not self._context:
            raise SystemExit(f"llama.cpp could not load {path}.")
        self._size = self._api.llama_vocab_n_tokens(self._api.llama_model_get_vocab(self._model))
        self._held: list[int] = []

    def answer(self, ids: list[int], tokens: int) -> dict[str, Any]:
        """Continue a prompt.

        Returns:
            `ids` of the answer, seconds from the prompt to the `first` token and to the last (`whole`), prompt tokens
            whose keys and values were kept (`reused`), and the `logits` (vocabulary,) of the first token.
        """
        began = time.perf_counter()
        pairs = zip(self._held, ids[:-1], strict=False)
        reused = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._api.llama_memory_seq_rm(self._api.llama_get_memory(self._context), 0, reused, -1)
        self._held = ids[:reused]
        logits = first_logits = self._read(ids[reused:]).copy()
        answer = [int(logits.argmax())]
        first = time.perf_counter() - began
        while len(answer) < tokens:
            answer.append(int(self._read(answer[-1:]).argmax()))
        whole = time.perf_counter() - began
        return {"ids": answer, "first": first, "whole": whole, "reused": reused, "logits": first_logits.tolist()}

    def _read(self, ids: list[int]) -> np.ndarray:
        """Run token ids through the model, and return the logits (vocabulary,) behind the last, until the next run."""
        array = (self._api.llama_token * len(ids))(*ids)  # the batch only points to it
        if self._api.llama_decode(self._context, self._api.llama_batch_get_one(array, len(ids))):
            raise SystemExit(f"llama.cpp could not read {len(ids)} tokens behind {len(self._held)}.")
        self._held += ids
        return np.ctypeslib.as_array(self._api.llama_get_logits_ith(self._context, -1), (self._size,))


def main() -> None:
    """Run a command, or answer until standard input ends."""
    match sys.argv[1:]:
        case ["write", weights, path]:
            write_gguf(np.load(weights), Path(path))
        case ["quantize", source, target]:
            quantize(Path(source), Path(target))
        case [path, threads, "exact" | "default" as settings]:
            model = Llama(Path(path), int(threads), exact=settings == "exact")
            for line in sys.stdin:
                print(json.dumps(model.answer(**json.loads(line))), flush=True)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
