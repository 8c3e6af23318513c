"""The error tree: every message is bounded and printable, by construction."""

from __future__ import annotations

import pickle

import pytest

from langchain_vipllava import errors

TREE = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.VipLlavaError)]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_messages_are_bounded_and_printable(error):
    message = str(error("no image " + "\x1b[2J\u202e" * 5000 + "; expected one that is open."))
    assert len(message) <= 2000
    assert message.startswith("no image \\x1b[2J\\u202e")
    assert message.endswith("; expected one that is open.")
    assert message.isprintable()


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_messages_hold_no_passwords_of_urls(error):
    message = "block {'url': 'https://anna:secret@example.org:80/@a?b@c'} at ftp://:secret@h, anna@example.org"
    assert str(error(message)) == "block {'url': 'https://example.org:80/@a?b@c'} at ftp://h, anna@example.org"


PASSWORDS = ["p@ss", "it's", 'a"b', "a<b>", "s" * 3000, "", "%40"]


@pytest.mark.parametrize("password", PASSWORDS, ids=lambda password: password[:5])
def test_passwords_with_any_characters_are_left_out(password):
    url = f"https://anna:{password}@example.org/a.png"
    assert str(errors.VipLlavaError(f"no {url} here")) == "no https://example.org/a.png here"
    assert errors.describe_error(ValueError(f"no {url}")) == "ValueError: no https://example.org/a.png"


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_messages_survive_pickling(error):
    assert str(pickle.loads(pickle.dumps(error("a\nb")))) == "a\nb"


LONG_VALUES = {
    "text": "x" * 10**7,
    "bytes": b"x" * 10**7,
    "number": 10**5000,
    "list": ["long"] * 10**5,
    "bidi": "\ud800\u202e",
}


@pytest.mark.parametrize("value", LONG_VALUES.values(), ids=list(LONG_VALUES))
def test_shortened_values_are_bounded_and_printable(value):
    shown = errors.shorten(value)
    assert 0 < len(shown) <= 120
    assert shown.isprintable()


def test_a_value_nested_too_deep_is_named_by_its_type():
    nested: list = []
    for _ in range(10**5):
        nested = [nested]
    assert len(errors.shorten(nested)) <= 120
