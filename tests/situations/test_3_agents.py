"""Agents, middleware, graphs and checkpointers."""

from __future__ import annotations

import operator
import sqlite3
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from langchain_vipllava import ChatVipLlava, EncodedImage, ImageStore, MarkedImage, Region, keep_images, mark
from tests.situations.registry import situation, situations
from tests.support.versions import needs_allow_lists

THREAD: Any = {"configurable": {"thread_id": "1"}}
needs_profile = pytest.mark.skipif("profile" not in ChatVipLlava.model_fields, reason="an older langchain-core")


class Thing(BaseModel):
    """What is marked."""

    color: Literal["red", "white", "blue"]


@tool
def look(side: Literal["left", "right"]) -> str:
    """Look at a side."""
    return f"a star on the {side}"


class CallFirst(AgentMiddleware):
    """Makes the model call a tool in its first step, and answer in the next."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        called = any(isinstance(message, ToolMessage) for message in request.messages)
        return handler(request.override(tool_choice="none" if called else "any"))


AGENTS = "Agents and middleware"


@situation(AGENTS, "`create_agent(llm, tools=[])`", "its answer")
def test_agent_without_tools(llm, question):
    answer = create_agent(llm, tools=[]).invoke({"messages": [question]})["messages"][-1]
    assert "white square" in answer.text.lower()


@situation(
    AGENTS, "an agent whose middleware sets `tool_choice`", "the tool runs, and the model answers behind its result"
)
def test_agent_with_a_tool(llm):
    agent = create_agent(llm, tools=[look], middleware=[CallFirst()])
    messages = agent.invoke({"messages": [HumanMessage("Look.")]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[2].content.startswith("a star on the ")
    assert messages[3].tool_calls == []


@situations(
    AGENTS,
    ("`create_agent(response_format=Thing)`", "`structured_response` is its instance", Thing),
    ("`response_format=ProviderStrategy(Thing)`", "`structured_response` is its instance", ProviderStrategy(Thing)),
    ("`response_format=ToolStrategy(Thing)`", "`structured_response` is its instance", ToolStrategy(Thing)),
)
def test_agent_with_a_response_format(llm, question, case):
    result = create_agent(llm, tools=[], response_format=case[0]).invoke({"messages": [question]})
    assert isinstance(result["structured_response"], Thing)


@situation(AGENTS, "a `response_format` in an agent whose last message is an answer", "`Continue.` is asked behind it")
def test_structured_response_behind_an_answer(llm):
    history = [HumanMessage("Hi."), AIMessage("A red star.")]
    agent = create_agent(llm, tools=[], response_format=ProviderStrategy(Thing))
    assert isinstance(agent.invoke({"messages": history})["structured_response"], Thing)


@needs_profile
@situation(
    AGENTS,
    "`SummarizationMiddleware(trigger=('fraction', 0.3))`",
    "summarizes at that share of the checkpoint's context",
)
def test_summarization(llm):
    # LangChain's own prompt has some 2,000 tokens in the bundled vocabulary, whose context is 809
    middleware = SummarizationMiddleware(
        model=llm,
        trigger=("fraction", 0.3),
        keep=("messages", 2),
        summary_prompt="Summarize: {messages}",
        trim_tokens_to_summarize=200,
    )
    agent = create_agent(llm, tools=[], middleware=[middleware])
    short: list[Any] = [HumanMessage("Hi.")]
    assert len(agent.invoke({"messages": short})["messages"]) == 2
    long = [
        one for i in range(30) for one in (HumanMessage(f"What about number {i}?"), AIMessage(f"It is number {i}."))
    ]
    kept = agent.invoke({"messages": [*long, HumanMessage("Bye.")]})["messages"]
    assert len(kept) < 8
    assert "summary" in kept[0].text


@situation(AGENTS, "`ModelCallLimitMiddleware`, `ToolCallLimitMiddleware`", "count its calls")
def test_call_limits(llm):
    limits = [ModelCallLimitMiddleware(run_limit=1), ToolCallLimitMiddleware(run_limit=1)]
    agent = create_agent(llm, tools=[look], middleware=[CallFirst(), *limits])
    messages = agent.invoke({"messages": [HumanMessage("Look.")]})["messages"]
    assert "limit" in messages[-1].text.lower()


@situation(AGENTS, "`ModelFallbackMiddleware`", "another model answers where this one fails")
def test_model_fallback(llm, question):
    tiny = ChatVipLlava(model="bundled", timeout=1e-6)
    agent = create_agent(tiny, tools=[], middleware=[ModelFallbackMiddleware(llm)])
    assert "white square" in agent.invoke({"messages": [question]})["messages"][-1].text.lower()


@situation(AGENTS, "`agent.stream(stream_mode='messages')`", "the answer's tokens, one by one")
def test_stream_messages(llm, question):
    chunks = [
        chunk for chunk, _ in create_agent(llm, tools=[]).stream({"messages": [question]}, stream_mode="messages")
    ]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert len(chunks) > 2
    assert "white square" in "".join(chunk.text for chunk in chunks).lower()


@situation(AGENTS, "`await agent.ainvoke(...)`", "the same answer as `invoke`")
async def test_ainvoke(llm, question):
    agent = create_agent(llm, tools=[])
    answer = (await agent.ainvoke({"messages": [question]}))["messages"][-1]
    assert answer.text == llm.invoke([question]).text


@situation(AGENTS, "its call runs in a `ToolNode`", "the tool's result")
def test_tool_node(llm):
    call = llm.bind_tools([look], tool_choice="any").invoke("Look.")
    graph = StateGraph(MessagesState).add_node("tools", ToolNode([look])).add_edge(START, "tools").compile()
    assert graph.invoke({"messages": [call]})["messages"][-1].content.startswith("a star on the ")


STATE = "Graphs and checkpointers"


class State(TypedDict, total=False):
    marked: MarkedImage
    image: EncodedImage
    region: Region
    answers: Annotated[list[str], operator.add]


def savers():
    return {
        "memory": InMemorySaver(),
        "SQLite": SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False)),
    }


def graph_of(node: Any, state: Any, saver: Any = None) -> Any:
    return StateGraph(state).add_node("node", node).add_edge(START, "node").add_edge("node", END).compile(saver)


@pytest.mark.parametrize("saver", ["memory", "SQLite"])
@situations(
    STATE,
    ("a `MarkedImage` in a checkpointed state", "is there again, and answered alike", "marked"),
    ("an `EncodedImage` in a checkpointed state", "is there again, equal", "image"),
    ("a `Region` in a checkpointed state", "is there again, equal", "region"),
)
def test_values_in_a_state(llm, square, saver, case):
    values = {"marked": square, "image": square.encoded, "region": square.regions[0]}
    graph = graph_of(lambda state: {"answers": ["done"]}, State, savers()[saver])
    graph.invoke({case[0]: values[case[0]]}, THREAD)
    back = graph.get_state(THREAD).values[case[0]]
    if case[0] == "marked":
        assert back.markers == square.markers
        assert "white square" in llm.invoke([back.message("What is the object {0}?")]).text.lower()
    else:
        assert back == values[case[0]]


@needs_allow_lists
@situation(
    STATE, "`JsonPlusSerializer` that allows no types", "a `MarkedImage` comes back as its JSON, for `from_json`"
)
def test_strict_serializer(square):
    serializer = JsonPlusSerializer(allowed_msgpack_modules=None)
    graph = graph_of(lambda state: {"answers": ["done"]}, State, InMemorySaver(serde=serializer))
    graph.invoke({"marked": square}, THREAD)
    assert MarkedImage.from_json(graph.get_state(THREAD).values["marked"]).phrases == square.phrases


@situation(STATE, "a PIL image in a checkpointed state", "LangGraph's TypeError: put an `EncodedImage` there")
def test_pil_in_a_state(square):
    graph = graph_of(lambda state: {"answers": ["done"]}, State, InMemorySaver())
    with pytest.raises(TypeError, match="serializable"):
        graph.invoke({"image": square.original}, THREAD)
    graph.invoke({"image": EncodedImage.from_pixels(square.original)}, THREAD)


@situation(STATE, "a pydantic state with a `MarkedImage`", "is checkpointed, and validated from JSON")
def test_pydantic_state(square):
    class Held(BaseModel):
        marked: MarkedImage | None = None
        count: int = 0

    graph = graph_of(lambda state: {"count": len(state.marked)}, Held, InMemorySaver())
    assert graph.invoke({"marked": square.to_json()}, THREAD)["count"] == 1


@situation(STATE, "`Send` of a `MarkedImage` per region, with a checkpointer", "one answer per region")
def test_send(llm, square):
    boxes = [(59, 378, 164, 483), (59, 378, 150, 470)]

    def spread(state: State) -> list[Send]:
        return [Send("ask", mark(square.original, [Region(box=box)])) for box in boxes]

    def ask(marked: MarkedImage) -> State:
        return {"answers": [llm.invoke([marked.message("What is the object {0}?")]).text]}

    builder = StateGraph(State).add_node("ask", ask)
    builder.add_conditional_edges(START, spread, ["ask"]).add_edge("ask", END)
    answers = builder.compile(checkpointer=InMemorySaver()).invoke({"answers": []}, THREAD)["answers"]
    assert len(answers) == 2
    assert all("white" in answer.lower() for answer in answers)


@situation(STATE, "an interrupt before the question, resumed", "the image is there again")
def test_interrupt(llm, square):
    def ask(state: State) -> State:
        words = interrupt("Which question?")
        return {"answers": [llm.invoke([state["marked"].message(words)]).text]}

    graph = graph_of(ask, State, InMemorySaver())
    graph.invoke({"marked": square}, THREAD)
    answers = graph.invoke(Command(resume="What is the object {0}?"), THREAD)["answers"]
    assert "white square" in answers[0].lower()


@situation(STATE, "a thread goes on without the image in its new message", "the model still sees it")
def test_a_thread(llm, question):
    graph = graph_of(lambda state: {"messages": [llm.invoke(state["messages"])]}, MessagesState, InMemorySaver())
    graph.invoke({"messages": [question]}, THREAD)
    second = HumanMessage("What is the color of the object within the red rectangle?")
    answer = graph.invoke({"messages": [second]}, THREAD)["messages"][-1]
    assert "white" in answer.text.lower()


@situation(STATE, "`keep_images` in a node", "the checkpoint holds an id of 71 characters, and is answered alike")
def test_keep_images(llm, question):
    store = ImageStore()
    model = ChatVipLlava(model="bundled", image_store=store)
    graph = graph_of(lambda state: {"messages": [model.invoke(state["messages"])]}, MessagesState, InMemorySaver())
    messages = graph.invoke({"messages": keep_images([question], store)}, THREAD)["messages"]
    assert len(messages[0].content[0]["file_id"]) == 71
    assert messages[-1].text == llm.invoke([question]).text


@situation(STATE, "`RemoveMessage` of the first question", "the rest is a conversation that begins with an answer")
def test_remove_message(llm):
    def forget(state: MessagesState) -> Any:
        return {"messages": [RemoveMessage(id=str(state["messages"][0].id))]}

    graph = graph_of(forget, MessagesState)
    left = graph.invoke({"messages": [HumanMessage("Hi."), AIMessage("A"), HumanMessage("B")]})["messages"]
    assert llm.render_prompt(left) == "USER: ASSISTANT: AUSER: BASSISTANT:"


@situation(STATE, "one node's answer is the next node's input", "`Continue.` is asked behind it")
def test_pipeline(llm):
    def answer(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("a", answer).add_node("b", answer)
    graph = builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", END).compile()
    messages = graph.invoke({"messages": [HumanMessage("Hi.")]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "ai"]


@situation(STATE, "a structured answer in a checkpointed state", "is there again, equal")
def test_structured_in_a_state(llm):
    class Held(TypedDict, total=False):
        thing: Thing

    graph = graph_of(lambda state: {"thing": llm.with_structured_output(Thing).invoke("Hi.")}, Held, InMemorySaver())
    got = graph.invoke({}, THREAD)["thing"]
    back = graph.get_state(THREAD).values["thing"]
    assert (back if isinstance(back, Thing) else Thing.model_validate(back)) == got
