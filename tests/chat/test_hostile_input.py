"""Whatever comes into the chat model, what comes out is an answer or an error of LangChain's tree or ours."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import LangChainException
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_vipllava import ChatVipLlava, ImageStore, VipLlavaError, keep_images, trim_turns
from langchain_vipllava.chat.image_refs import restore_images
from tests.support.echo import EchoBackend


def nested(depth, key=None):
    value: object = "x"
    for _ in range(depth):
        value = [value] if key is None else {"type": key, key: value}
    return value


def broken(message, **fields):
    """A message with fields that its class would refuse, as a program or a damaged checkpoint can make it."""
    for name, value in fields.items():
        object.__setattr__(message, name, value)
    return message


class Odd:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


CYCLE: list = []
CYCLE.append(CYCLE)

MESSAGES = {
    "nested image blocks": [HumanMessage([nested(5000, "image")])],
    "nested sources": [HumanMessage([{"type": "image", "source": nested(5000, "source")}])],
    "nested non_standard": [HumanMessage([nested(5000, "value") | {"type": "non_standard"}])],
    "a nested text": [HumanMessage([{"type": "text", "text": nested(5000)}])],
    "a cycle": [broken(HumanMessage("x"), content=CYCLE)],
    "content None": [broken(HumanMessage("x"), content=None)],
    "content 5": [broken(HumanMessage("x"), content=5)],
    "content bytes": [broken(HumanMessage("x"), content=b"x")],
    "content odd": [broken(HumanMessage("x"), content=[Odd()])],
    "type odd": [HumanMessage([{"type": [1], "text": "x"}])],
    "half a character": [HumanMessage("\ud800")],
    "big digits": [HumanMessage([{"type": "image", "bytes": [10**5000]}])],
    "metadata odd": [HumanMessage("a"), broken(AIMessage("b"), response_metadata=5), HumanMessage("c")],
    "ids huge": [HumanMessage("a"), AIMessage("b", response_metadata={"token_ids": [10**5000, -1]}), HumanMessage("c")],
    "ids odd": [HumanMessage("a"), AIMessage("b", response_metadata={"token_ids": [True, 1.5]}), HumanMessage("c")],
    "metadata nested": [HumanMessage("a"), AIMessage("b", response_metadata={"x": nested(5000)}), HumanMessage("c")],
    "kwargs nested": [HumanMessage("a", additional_kwargs={"x": nested(5000)})],
    "calls odd": [HumanMessage("a"), broken(AIMessage("b"), tool_calls=[5]), HumanMessage("c")],
    "calls without args": [HumanMessage("a"), broken(AIMessage("b"), tool_calls=[{"name": "x"}]), HumanMessage("c")],
    "calls with sets": [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "x", "args": {"y": {1}}, "id": "1"}]),
        HumanMessage("c"),
    ],
    "calls nested": [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "x", "args": {"y": nested(5000)}, "id": "1"}]),
        HumanMessage("c"),
    ],
    "calls with digits": [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "x", "args": {"y": 10**5000}, "id": "1"}]),
        HumanMessage("c"),
    ],
    "tool result odd": [
        HumanMessage("a"),
        AIMessage("b"),
        broken(ToolMessage("x", tool_call_id="1"), content={"a": 1}),
    ],
    "system odd": [broken(SystemMessage("x"), content=object()), HumanMessage("c")],
    "no messages": [5, None],
    "a number": 5,
    "dictionaries": [{"role": "user", "content": 5}],
    "an unknown role": [{"role": "robot", "content": "x"}],
    "a nested dictionary": [{"role": "user", "content": [nested(5000, "image")]}],
    "None": None,
}


def ways(llm):
    async def collect(value):
        return [chunk async for chunk in llm.astream(value)]

    return {
        "invoke": llm.invoke,
        "ainvoke": lambda value: asyncio.run(llm.ainvoke(value)),
        "stream": lambda value: list(llm.stream(value)),
        "astream": lambda value: asyncio.run(collect(value)),
        "batch": lambda value: llm.batch([value]),
        "generate": lambda value: llm.generate([value]),
        "render_prompt": llm.render_prompt,
        "count": llm.get_num_tokens_from_messages,
        "trim_turns": lambda value: trim_turns(value, llm),
        "keep_images": lambda value: keep_images(value, ImageStore()),
        "restore_images": lambda value: restore_images(value, ImageStore()),
    }


WAYS = list(ways(ChatVipLlava(model="bundled")))


def check(call, *arguments, **settings):
    """Call something; what it raises is in one of the two trees, bounded, and without addresses."""
    try:
        call(*arguments, **settings)
    except (VipLlavaError, LangChainException) as raised:
        error = raised
    else:
        return None
    assert len(str(error)) <= 2000 or isinstance(error, LangChainException)
    assert " at 0x" not in str(error)
    return type(error).__name__


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MESSAGES)
def test_hostile_messages_are_answered_or_refused(name, way):
    check(ways(ChatVipLlava(backend=EchoBackend()))[way], MESSAGES[name])


REFUSED = [
    "nested image blocks",
    "nested sources",
    "nested non_standard",
    "a cycle",
    "content None",
    "content 5",
    "calls odd",
    "calls with sets",
    "calls nested",
    "no messages",
    "a number",
    "dictionaries",
    "None",
]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_as_a_prompt_error(name):
    assert check(ChatVipLlava(backend=EchoBackend()).invoke, MESSAGES[name]) == "PromptError"


def test_half_a_character_is_refused_by_the_tokenizer(llm):
    for way in ("invoke", "ainvoke", "stream", "astream", "count"):
        assert check(ways(llm)[way], MESSAGES["half a character"]) == "PromptError"


SETTINGS = [
    {"stop": 5},
    {"stop": [5]},
    {"stop": nested(5000)},
    {"stop": [""]},
    {"stop": ["\ud800"]},
    {"temperature": "hot"},
    {"temperature": nested(5000)},
    {"temperature": 10**5000},
    {"temperature": float("nan")},
    {"max_tokens": 10**5000},
    {"max_tokens": Odd()},
    {"top_k": []},
    {"seed": "x"},
    {"seed": 2**70},
    {"prompt_format": []},
    {"multi_image": {}},
    {"image_fit": nested(5000)},
    {"model": 5},
    {"tools": 5},
    {"tools": [5]},
    {"tools": [{"name": "x", "parameters": nested(5000, "items")}]},
    {"tool_choice": nested(5000)},
    {"response_format": nested(5000, "json_schema")},
    {"escape_turn_markers": []},
    {"unknown": Odd()},
    {"config": 5},
    {"config": {"callbacks": 5}},
    {"config": {"tags": 5, "metadata": 5}},
    {"config": {"run_name": 5, "configurable": 5}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=[f"{next(iter(s))} {i}" for i, s in enumerate(SETTINGS)])
def test_hostile_settings_are_refused(llm, settings):
    async def collect():
        return [chunk async for chunk in llm.astream("Hi", **settings)]

    check(llm.invoke, "Hi", **settings)
    check(lambda: list(llm.stream("Hi", **settings)))
    check(lambda: asyncio.run(llm.ainvoke("Hi", **settings)))
    check(lambda: asyncio.run(collect()))


SCHEMAS = [
    {"type": "object", "title": "x", "properties": {"a": nested(5000, "items")}},
    {"type": "array", "title": "x", "items": nested(5000, "items")},
    {"title": "x", "$ref": "#"},
    {"title": "x", "const": 10**5000},
    {"title": "x", "enum": [Odd()]},
    5,
    "x",
    [],
    object,
    {"title": 5, "type": 5},
    {"title": "\ud800", "type": "object", "properties": {"\ud800": {}}},
    {"title": "x", "pattern": "(" * 5000},
    dict,
    Odd,
    lambda: 5,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_hostile_schemas_are_refused_or_bound(schema):
    llm = ChatVipLlava(model="bundled")
    for method in ("json_schema", "json_mode", "function_calling"):
        check(llm.with_structured_output, schema, method=method)
    check(llm.bind_tools, [schema])
    check(llm.bind_tools, schema)
    check(llm.get_num_tokens_from_messages, [HumanMessage("Hi")], tools=[schema])


def test_an_answer_nested_deep_is_an_error_of_the_parser():
    class Nester(EchoBackend):
        def stream(self, request, *, timeout=None):
            from langchain_vipllava.protocol.answer import Answer

            yield Answer('{"a":' * 5000 + "1" + "}" * 5000, 1, 1, "stop")

    llm = ChatVipLlava(backend=Nester())
    for method in ("json_schema", "json_mode"):
        chain = llm.with_structured_output({"title": "x", "type": "object"}, method=method)
        assert check(chain.invoke, "Hi") == "OutputParserException"
    assert llm.bind_tools([{"name": "x"}]).invoke("Hi").content


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupts_pass_unharmed(interrupt):
    class Interrupted(EchoBackend):
        def stream(self, request, *, timeout=None):
            raise interrupt
            yield

    llm = ChatVipLlava(backend=Interrupted())
    with pytest.raises(interrupt):
        llm.invoke("Hi")
    with pytest.raises(interrupt):
        list(llm.stream("Hi"))


def test_what_a_callback_raises_is_the_programs():
    class Guardrail(BaseCallbackHandler):
        raise_error = True

        def on_chat_model_start(self, *args, **kwargs):
            raise PermissionError("not now")

    llm = ChatVipLlava(backend=EchoBackend())
    for call in (llm.invoke, lambda *args: list(llm.stream(*args))):
        with pytest.raises(PermissionError, match="not now"):
            call("Hi", {"callbacks": [Guardrail()]})


def test_what_a_backend_raises_is_a_generation_error():
    class Broken(EchoBackend):
        def stream(self, request, *, timeout=None):
            raise OSError(f"lost {object()!r}")
            yield

    llm = ChatVipLlava(backend=Broken())
    assert check(llm.invoke, "Hi") == check(lambda: list(llm.stream("Hi"))) == "GenerationError"


BAD_CONFIGS = [5, "x", [], [{}, {}], {"tags": 5}, {"configurable": 5}, {"callbacks": 5}]


@pytest.mark.parametrize("config", BAD_CONFIGS, ids=repr)
def test_batches_with_configs_that_are_none_are_answered_or_refused(config):
    llm = ChatVipLlava(backend=EchoBackend())
    calls = [
        lambda: llm.batch(["Hi"], config),
        lambda: asyncio.run(llm.abatch(["Hi"], config)),
    ]
    for call in calls:
        try:
            assert len(call()) == 1
        except (VipLlavaError, LangChainException) as error:
            assert len(str(error)) <= 2000  # noqa: PT017  # an answer is right too
