"""What went wrong in the engine, for the caller whose request it was."""

from __future__ import annotations

import traceback

import torch

from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.errors import GenerationError, VipLlavaError, shorten

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""What torch says in a plain RuntimeError: its CPU allocator the first two, cuBLAS, cuDNN and MPS the last."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def release_device_memory() -> None:
    """Return the memory that torch keeps for later tensors, but does not use, to the devices."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def forget_frames(error: BaseException) -> None:
    """Turn the traceback of an error into a note: its frames would keep tensors alive."""
    if error.__traceback__ is not None and not isinstance(error, VipLlavaError):  # once, if many callers get it
        error.add_note("".join(traceback.format_exception(error)))
    _drop_tracebacks(error)


def explain(error: BaseException, sequence: Sequence) -> Exception:
    """Return the error for the caller of a sequence, without tracebacks."""
    forget_frames(error)
    if isinstance(error, VipLlavaError):
        return error
    if is_out_of_memory(error):
        message = (
            f"out of memory with a prompt of {sequence.length} tokens; use quantization='8bit' or '4bit', fewer images "
            "or shorter texts."
        )
    else:
        message = f"the model failed: {type(error).__name__}: {_text_of(error)}"
    explained = GenerationError(message)
    explained.__cause__ = error
    return explained


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # such as of a damaged error; the caller must not wait for it
        return shorten(error)


def _drop_tracebacks(error: BaseException) -> None:
    """Remove the tracebacks of an error and of its causes and contexts."""
    chain: list[BaseException] = [error]
    for link in chain:
        link.__traceback__ = None
        chain += [other for other in (link.__cause__, link.__context__) if other is not None and other not in chain]
