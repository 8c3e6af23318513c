"""`tool_choice` in the words of every provider."""

import pytest

from langchain_vipllava import ChatVipLlava, GenerationError


def zoom(factor: bool) -> str:
    """Zoom in."""
    return str(factor)


def stop(now: bool) -> str:
    """Stop."""
    return str(now)


@pytest.fixture(scope="module")
def llm():
    return ChatVipLlava(model="bundled", max_tokens=60)


FORCED = {
    "a name": "stop",
    "OpenAI": {"type": "function", "function": {"name": "stop"}},
    "OpenAI Responses": {"type": "function", "name": "stop"},
    "Anthropic": {"type": "tool", "name": "stop", "disable_parallel_tool_use": True},
    "Bedrock": {"tool": {"name": "stop"}},
    "a wrapper alone": {"function": {"name": "stop"}},
    "Google": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["stop"]}},
    "Google in JavaScript": {"functionCallingConfig": {"mode": "any", "allowedFunctionNames": ["stop"]}},
    "OpenAI's allowed tools": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "stop"}}]},
    },
    "Responses' allowed tools": {
        "type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "stop"}]},
    "a list": ["stop"],
    "the function": stop,
}  # fmt: skip

ANY = ["any", "required", "ANY", True, {"type": "any"}, {"type": "required"}, {"any": {}}, ["zoom", "stop"],
       {"function_calling_config": {"mode": "ANY"}}]  # fmt: skip

FREE = ["auto", "AUTO", None, False, {"type": "auto"}, {"auto": {}}, {"function_calling_config": {"mode": "AUTO"}},
        {"type": "auto", "disable_parallel_tool_use": True}]  # fmt: skip

NONE = ["none", "NONE", {"type": "none"}, {"none": {}}, {"function_calling_config": {"mode": "NONE"}}]


@pytest.mark.parametrize("form", FORCED)
def test_every_form_of_one_tool_calls_it(llm, form):
    answer = llm.bind_tools([zoom, stop], tool_choice=FORCED[form]).invoke("Zoom in.")
    assert [call["name"] for call in answer.tool_calls] == ["stop"]
    assert isinstance(answer.tool_calls[0]["args"]["now"], bool)


@pytest.mark.parametrize("choice", ANY, ids=str)
def test_every_form_of_any_calls_a_tool(llm, choice):
    answer = llm.bind_tools([zoom, stop], tool_choice=choice).invoke("Hello.")
    assert answer.tool_calls[0]["name"] in ("zoom", "stop")


@pytest.mark.parametrize("choice", FREE, ids=str)
def test_every_form_of_auto_tells_of_the_tools_and_forces_nothing(llm, choice):
    bound = llm.bind_tools([zoom, stop], tool_choice=choice)
    plain = llm.bind_tools([zoom, stop])
    assert bound.invoke("Hello.").content == plain.invoke("Hello.").content


@pytest.mark.parametrize("choice", NONE, ids=str)
def test_every_form_of_none_answers_as_without_tools(llm, choice):
    answer = llm.bind_tools([zoom, stop], tool_choice=choice).invoke("Hello.")
    assert (answer.tool_calls, answer.content) == ([], llm.invoke("Hello.").content)


def test_allowed_tools_in_auto_mode_leave_the_others_out(llm):
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "zoom"}]}
    both = llm.bind_tools([zoom, stop], tool_choice=choice).invoke("Hello.")
    assert both.content == llm.bind_tools([zoom]).invoke("Hello.").content


@pytest.mark.parametrize(
    "choice",
    ["zom", {"type": "tool", "name": "zom"}, {"type": "sometimes"}, {}, 3, [], ["zoom", "zom"], {"name": 3}],
    ids=str,
)
def test_anything_else_names_the_bound_tools(llm, choice):
    with pytest.raises(GenerationError, match=r"zoom, stop") as caught:
        llm.bind_tools([zoom, stop], tool_choice=choice)
    assert len(str(caught.value)) < 400
