"""What tools say when something goes wrong: in an LLM's terms, and what it can do next."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from langchain_core.tools import ToolException

import langchain_vipllava
from langchain_vipllava import errors
from langchain_vipllava.tools.advice import advise
from langchain_vipllava.tools.base import errors_for_llm
from tests.tools import transcripts
from tests.tools.test_hostile_arguments import CALLS
from tests.tools.test_tool_arguments import INVALID_ARGUMENTS

PACKAGE = Path(langchain_vipllava.__file__).parent
ROOMS = ("images", "regions", "markers", "prompt", "workspace", "protocol", "engine", "backends", "chat")
TOOLS = ("open_image", "detect_regions", "mark_regions", "ask_regions")

PYTHON = re.compile(
    r"\b(?!image_id\b)[a-z_]+=|\bRegion\(|\bregions_from\b|\bmark_pages\b|\b[A-Z]\w+Error\b|\bnp\.|\bmodel_copy\b|\bself\b"
    r"|\bPass\b|\bkwargs\b|\btorch\b|\b[A-Z]\w+\([\w*]|`|\bmax_(?!regions)[a-z_]+|\bthread_id\b"
)
"""Python in a message: arguments of functions, calls, classes, names of settings."""


def in_python(message):
    """What of a message is Python; what the LLM wrote itself, in quotes, does not count."""
    return PYTHON.search(re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}", "", message))


def raised_messages():
    """Every message that the package raises, as (where, kind, text), with x for what is filled in."""
    for path in sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                kind = getattr(errors, node.exc.func.id, None)
                if isinstance(kind, type) and issubclass(kind, errors.VipLlavaError) and node.exc.args:
                    yield f"{path.name}:{node.lineno}", kind, text_of(node.exc.args[0])


def text_of(node):
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    return "x"


MESSAGES = list(raised_messages())


def test_the_package_has_messages():
    assert len(MESSAGES) > 150


@pytest.mark.parametrize("tool", TOOLS)
def test_no_message_of_the_package_reaches_the_llm_in_python(tool):
    wrong = [
        (where, advised)
        for where, kind, text in MESSAGES
        if not (advised := advise(kind(text), tool)).strip() or in_python(advised) or len(advised) > 700
    ]
    assert not wrong, "\n".join(f"{where}: {advised}" for where, advised in wrong)


def test_a_message_that_only_a_programmer_can_heed_names_a_tool():
    for where, kind, text in MESSAGES:
        advised = advise(kind(text), "mark_regions")
        if advised != text:
            assert re.search(r"open_image|mark_regions|ask_regions|tool|go on without", advised), (where, advised)


@pytest.mark.parametrize(("name", "arguments"), [(name, arguments) for name, arguments, _ in INVALID_ARGUMENTS] + CALLS)
def test_errors_of_arguments_are_in_terms_of_the_tools(caller, name, arguments):
    message = caller._invoke(name, **arguments) if all(isinstance(key, str) for key in arguments) else None
    if message is not None and message.status == "error":
        assert not in_python(message.content), message.content
        assert not re.match(r"\w+Error:", message.content)


def test_recorded_errors_are_in_terms_of_the_tools():
    replies = [call["reply"] for transcript in transcripts.load() for call in transcript["calls"]]
    assert not [reply for reply in replies if in_python(reply)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.BusyError("9 requests in flight; max_in_flight=8."), "later step"),
        (errors.PromptTooLongError("2423 tokens. Drop old turns."), "shorter question"),
        (errors.GenerationError("out of memory. Pass dtype='bfloat16'."), "go on without it"),
        (errors.CheckpointError("no such model. Pass model='bundled'."), "go on without it"),
        (errors.DetectionError("the detector is async. Pass a function."), "Mark boxes yourself"),
    ],
)
def test_an_error_says_what_to_do_next(error, said):
    tool = "detect_regions" if isinstance(error, errors.DetectionError) else "ask_regions"
    with pytest.raises(ToolException, match=said) as caught, errors_for_llm(tool):
        raise error
    assert not in_python(str(caught.value))
