"""`CarelessBackend`: writes any token that the form of an answer admits, whatever was asked. Needs no weights."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

import langchain_vipllava
from langchain_vipllava.engine.constraint import ConstraintFactory
from langchain_vipllava.engine.output_grammar import compile_output
from langchain_vipllava.protocol.answer import Answer
from tests.support.echo import EchoBackend


@lru_cache(1)
def _bundled():
    tokenizer = AutoTokenizer.from_pretrained(Path(langchain_vipllava.__file__).parent / "bundled")
    return tokenizer, ConstraintFactory(tokenizer, len(tokenizer), [tokenizer.eos_token_id])


class CarelessBackend(EchoBackend):
    """Answers at random: what it writes is all that a schema guarantees. The first answer is that of seed 0."""

    name = cache_key = "careless"

    def __init__(self):
        self._answers = 0

    def check_output(self, output):
        grammar = compile_output(output)
        if grammar is not None:
            _bundled()[1].start(grammar, 100)

    def stream(self, request, *, timeout=None):
        rng = random.Random(self._answers)
        self._answers += 1
        tokenizer, factory = _bundled()
        constraint = factory.start(compile_output(request.output), request.max_tokens)
        ids, text = [], ""
        while len(ids) < request.max_tokens and not constraint.is_complete:
            token = int(rng.choice(np.flatnonzero(constraint.allowed())))
            if token == tokenizer.eos_token_id:
                break
            constraint.accept(token)
            ids.append(token)
            written = tokenizer.decode(ids).lstrip()
            if not written.endswith("\ufffd"):
                yield written[len(text) :]
                text = written
        reason = "length" if len(ids) == request.max_tokens and not constraint.is_complete else "stop"
        yield Answer(text, 1, len(ids), reason)
