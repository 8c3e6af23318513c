"""No schema leads an answer where it cannot end, or to a value that does not fit: each is answered or refused."""

import json
import random
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from llguidance import LLMatcher
from transformers import AutoTokenizer

import langchain_vipllava
from langchain_vipllava import GenerationError
from langchain_vipllava.engine.constraint import ConstraintFactory
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.schemas.narrow_schema import narrow_schema

INT, TEXT = {"type": "integer"}, {"type": "string"}
NOTHING = {"type": "integer", "minimum": 5, "maximum": 4}


def an_object(properties, **keywords):
    return {"type": "object", "properties": properties, **keywords}


def a_node(required=(), **properties):
    node = an_object(properties, required=list(required))
    return {"$ref": "#/$defs/Node", "$defs": {"Node": node}}


NODE = {"$ref": "#/$defs/Node"}

ANSWERED = {
    "a pattern fits only what is named": an_object(
        {"score": INT}, patternProperties={"^score$": {}}, required=["score"], additionalProperties=False
    ),
    "a pattern fits two names and no more": an_object(
        {"score": INT, "name": TEXT}, patternProperties={"^(score|name)$": {}}, additionalProperties=False
    ),
    "a pattern bounds what is named": an_object(
        {"n": INT}, patternProperties={"^n$": {"minimum": 3, "maximum": 5}}, required=["n"], additionalProperties=False
    ),
    "a pattern fits what is named and more": an_object(
        {"score": INT}, patternProperties={"^s": INT}, required=["score"], additionalProperties=False
    ),
    "a pattern forbids an optional property": an_object(
        {"score": INT, "z": INT}, patternProperties={"^s": TEXT}, required=["z"]
    ),
    "two patterns of one name": an_object(
        {"a": INT, "ab": INT}, patternProperties={"^a$": {}, "^ab?$": {}}, additionalProperties=False
    ),
    "no further names possible": {"type": "object", "additionalProperties": NOTHING},
    "an optional property without a value": an_object({"a": NOTHING, "b": INT}, required=["b"]),
    "items without a value": {"type": "array", "items": NOTHING},
    "names by length": {"type": "object", "propertyNames": {"maxLength": 3}, "additionalProperties": INT},
    "names by enum beside properties": an_object(
        {"a": INT, "low": INT}, propertyNames={"enum": ["a", "b"]}, additionalProperties=INT
    ),
    "above 1 and at most 1.5": {"type": "number", "exclusiveMinimum": 1, "maximum": 1.5},
    "above 0 and at most 0.001": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.001},
    "below -1": {"type": "number", "exclusiveMaximum": -1, "minimum": -1.5},
    "above 0 in quarters": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.25, "maximum": 0.75},
    "a tree": a_node(["nodes"], nodes={"type": "array", "items": NODE}),
    "a chain that may end": a_node(["next"], next={"anyOf": [NODE, {"type": "null"}]}),
}

REFUSED = {
    "a pattern without a value": ({"type": "object", "patternProperties": {"^x": False}}, "patternProperties"),
    "a pattern with an impossible value": (
        {"type": "object", "patternProperties": {"^x": NOTHING}}, "patternProperties"),
    "a required name that a pattern forbids": (
        an_object({"score": INT}, patternProperties={"^s": TEXT}, required=["score"]), "score"),
    "a required name that is not allowed": (
        an_object({"low": INT}, required=["low"], propertyNames={"pattern": "^[A-Z]+$"}), "low"),
    "at least two different items": (
        {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "minItems": 2}, "different items"),
    "at least two names of any kind": (
        {"type": "object", "additionalProperties": INT, "minProperties": 2}, "minProperties"),
    "a node that requires a node": (a_node(["next"], next=NODE), "Node"),
    "a node that requires a list of nodes": (
        a_node(["next"], next={"type": "array", "items": NODE, "minItems": 1}), "Node"),
    "two that require each other": (
        {"$ref": "#/$defs/A", "$defs": {"A": an_object({"b": {"$ref": "#/$defs/B"}}, required=["b"]),
                                        "B": an_object({"a": {"$ref": "#/$defs/A"}}, required=["a"])}}, "A, B"),
    "itself": ({"$ref": "#"}, "itself"),
}  # fmt: skip


@pytest.fixture(scope="module")
def factory():
    tokenizer = AutoTokenizer.from_pretrained(Path(langchain_vipllava.__file__).parent / "bundled")
    return ConstraintFactory(tokenizer, len(tokenizer), [tokenizer.eos_token_id])


def walk(factory, schema, rng):
    """Write an answer token by token, as careless as a grammar allows: declared names and commas first."""
    guide = factory._guide
    matcher = LLMatcher(guide, Grammar.from_schema(narrow_schema(schema)).text, log_level=0)
    pieces = [guide.decode_bytes([token]) for token in range(guide.vocab_size)]
    text = b""
    while len(text) < 300 and not matcher.is_stopped():
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = [int(token) for token in np.flatnonzero(bits)[: len(pieces)]]
        assert allowed, (text, matcher.get_error()[:60])
        if guide.eos_token in allowed and (len(text) > 40 or rng.random() < 0.5):
            break
        single = [token for token in allowed if len(pieces[token]) == 1 and 32 <= pieces[token][0] < 127]
        wanted = b',"}]' if len(text) < 40 else b'}]"'
        likely = [token for token in single if pieces[token] in wanted] if rng.random() < 0.7 else []
        matcher.consume_token(token := rng.choice(likely or single or allowed))
        text += pieces[token]
    return json.loads(text)


@pytest.mark.parametrize("case", ANSWERED)
def test_every_way_through_a_schema_ends_in_a_value_that_fits(factory, case):
    rng = random.Random(0)
    for _ in range(40):
        jsonschema.validate(walk(factory, ANSWERED[case], rng), ANSWERED[case])


@pytest.mark.parametrize("case", REFUSED)
def test_a_schema_without_a_way_out_is_refused_when_it_is_bound(case):
    schema, words = REFUSED[case]
    with pytest.raises(GenerationError, match=words):
        Grammar.from_schema(narrow_schema(schema))
