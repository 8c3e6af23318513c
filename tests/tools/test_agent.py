"""LangGraph agents with a checkpointer. The agents' LLMs are scripted; the vision model is real."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import Field

from langchain_vipllava import SessionError, VipLlavaToolkit
from langchain_vipllava.apps.scripted import ScriptedAgentModel
from langchain_vipllava.text import quote
from tests.support.tool_caller import DETECTIONS


class ScriptedLLM(BaseChatModel):
    """A fake LLM that returns its messages in order, whatever it reads, and records what it reads."""

    responses: list[Any]
    inputs: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.inputs.append(list(messages))
        response = self.responses[sum(isinstance(message, AIMessage) for message in messages)]
        return ChatResult(generations=[ChatGeneration(message=response.model_copy())])

    @property
    def _llm_type(self):
        return "script"


def calls(*tool_calls):
    """Return one message of the LLM with tool calls; several calls run in parallel."""
    return AIMessage(
        "", tool_calls=[{"name": name, "args": args, "id": f"{name}-{i}"} for i, (name, args) in enumerate(tool_calls)]
    )


def thread(name):
    return {"configurable": {"thread_id": name}}


def results(state, name=None):
    messages = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    return [message for message in messages if name in (None, message.name)]


@pytest.fixture
def image(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.fixture
def toolkit(llm, tmp_path):
    return VipLlavaToolkit(chat_model=llm, detector=lambda image: DETECTIONS, image_root=tmp_path)


QUESTIONS = ["What is the object {r1} doing to the object {r2}?", "Why?"]


def scripted(toolkit, image, checkpointer=None, questions=QUESTIONS):
    llm = ScriptedAgentModel(source=image, questions=questions)
    return create_agent(llm, toolkit.get_tools(), checkpointer=checkpointer or InMemorySaver())


def two_turns(first_answer):
    return (
        "USER: <image>\nWhat is the object within the red rectangle doing to the object within the lime rectangle?"
        f"ASSISTANT: {first_answer}USER: Why?ASSISTANT:"
    )


def test_the_second_question_is_the_second_turn_of_the_conversation(toolkit, image, llm):
    state = scripted(toolkit, image).invoke({"messages": [("human", "Look.")]}, thread("a"))
    names = [message.name for message in results(state)]
    assert names == ["open_image", "detect_regions", "mark_regions", "ask_regions", "ask_regions"]
    assert {message.status for message in results(state)} == {"success"}
    first, second = (message.artifact["answer"] for message in results(state, "ask_regions"))
    messages = toolkit.messages("marked1", thread_id="a")
    assert llm.render_prompt(messages[:-1]) == two_turns(first)
    assert second == messages[-1].text == llm.invoke(messages[:-1]).text
    assert state["messages"][-1].text.endswith(second)


async def test_the_second_question_is_the_second_turn_with_ainvoke(toolkit, image, llm):
    state = await scripted(toolkit, image).ainvoke({"messages": [("human", "Look.")]}, thread("a"))
    first, second = (message.artifact["answer"] for message in results(state, "ask_regions"))
    messages = toolkit.messages("marked1", thread_id="a")
    assert llm.render_prompt(messages[:-1]) == two_turns(first)
    assert second == messages[-1].text


def test_a_later_run_of_a_thread_continues_the_conversation(toolkit, llm, photo):
    toolkit.add_image(photo, detections=DETECTIONS)
    script = ScriptedLLM(
        responses=[
            calls(("mark_regions", {"image_id": "photo1", "regions": ["r1"]})),
            calls(("ask_regions", {"image_id": "marked1", "question": "What is {r1}?"})),
            AIMessage("Done."),
            calls(("ask_regions", {"image_id": "marked1", "question": "What color is it?"})),
            AIMessage("Done again."),
        ]
    )
    agent = create_agent(script, toolkit.get_tools(), checkpointer=InMemorySaver())
    agent.invoke({"messages": [("human", "Look.")]}, thread("a"))
    state = agent.invoke({"messages": [("human", "Color?")]}, thread("a"))
    first, _ = (message.artifact["answer"] for message in results(state, "ask_regions"))
    assert llm.render_prompt(toolkit.messages("marked1", thread_id="a")[:-1]) == (
        f"USER: <image>\nWhat is the object within the red rectangle?ASSISTANT: {first}"
        "USER: What color is it?ASSISTANT:"
    )


def test_threads_cannot_use_each_others_images(toolkit, image):
    checkpointer = InMemorySaver()
    scripted(toolkit, image, checkpointer).invoke({"messages": [("human", "Look.")]}, thread("a"))
    script = ScriptedLLM(
        responses=[
            calls(
                ("ask_regions", {"image_id": "marked1", "question": "What?"}),
                ("mark_regions", {"image_id": "img1", "regions": ["r1"]}),
                ("detect_regions", {"image_id": "img1"}),
            ),
            AIMessage("Nothing."),
        ]
    )
    agent = create_agent(script, toolkit.get_tools(), checkpointer=checkpointer)
    state = agent.invoke({"messages": [("human", "Look.")]}, thread("b"))
    assert [message.status for message in results(state)] == ["error"] * 3
    assert all("no image is open. Call open_image" in message.content for message in results(state))
    assert len(toolkit.messages("marked1", thread_id="a")) == 4


def test_parallel_tool_calls_of_one_message(toolkit, llm, photo):
    toolkit.add_image(photo, detections=DETECTIONS)
    script = ScriptedLLM(
        responses=[
            calls(*[("mark_regions", {"image_id": "photo1", "regions": [[i, i, i + 50, i + 50]]}) for i in range(6)]),
            calls(*[("ask_regions", {"image_id": f"marked{i}", "question": f"Q{i}"}) for i in range(1, 7)]),
            calls(
                ("ask_regions", {"image_id": "marked1", "question": "Q7"}),
                ("ask_regions", {"image_id": "nope", "question": "Q8"}),
                ("ask_regions", {"image_id": "marked1", "question": "Q9"}),
            ),
            AIMessage("Done."),
        ]
    )
    agent = create_agent(script, toolkit.get_tools(), checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("human", "Look.")]}, thread("a"))
    marked = results(state, "mark_regions")
    assert {message.artifact["image_id"] for message in marked} == {f"marked{i}" for i in range(1, 7)}
    ids = [message.artifact["markers"][0]["id"] for message in marked]
    assert sorted(ids) == [f"r{i}" for i in range(3, 9)]
    for message in marked:  # every image id belongs to the box of the same call
        box = toolkit.marked_image(message.artifact["image_id"], thread_id="a").regions[0].box
        assert list(box) == message.artifact["markers"][0]["box"]
    answers = results(state, "ask_regions")
    for i, message in enumerate(answers[:6], start=1):
        assert message.artifact["answer"] == llm.invoke(toolkit.messages(f"marked{i}", thread_id="a")[:1]).text
    assert [message.status for message in answers[6:]] == ["success", "error", "success"]
    assert len(toolkit.messages("marked1", thread_id="a")) == 6


def test_concurrent_threads_of_one_agent(toolkit, image):
    agent = scripted(toolkit, image)

    def run(name):
        state = agent.invoke({"messages": [("human", "Look.")]}, thread(name))
        return [message.content for message in results(state)]

    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(run, "abcd"))
    assert all(content == contents[0] for content in contents)
    assert len(contents[0]) == 5


async def test_concurrent_tasks_of_one_agent(toolkit, image):
    agent = scripted(toolkit, image)
    states = await asyncio.gather(*(agent.ainvoke({"messages": [("human", "Look.")]}, thread(name)) for name in "abcd"))
    contents = [[message.content for message in results(state)] for state in states]
    assert all(content == contents[0] for content in contents)
    assert len(contents[0]) == 5


def test_no_image_reaches_the_llm_or_the_checkpoints(toolkit, image, tmp_path):
    script = ScriptedLLM(
        responses=[
            calls(("open_image", {"source": image})),
            calls(("detect_regions", {"image_id": "img1"})),
            calls(("mark_regions", {"image_id": "img1", "regions": ["r1", "r2"]})),
            calls(("ask_regions", {"image_id": "marked1", "question": "What is {r1}?"})),
            calls(("ask_regions", {"image_id": "marked1", "question": "Why?"})),
            AIMessage("Done."),
        ]
    )
    with SqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as checkpointer:
        agent = create_agent(script, toolkit.get_tools(), checkpointer=checkpointer)
        state = agent.invoke({"messages": [("human", "Look.")]}, thread("a"))
        restored = agent.get_state(thread("a")).values
    llm_inputs = json.dumps(
        [[message.model_dump() for message in messages] for messages in script.inputs], default=repr
    )
    assert "base64" not in llm_inputs
    assert "<PIL" not in llm_inputs
    assert len(llm_inputs) < 60_000
    assert [message.artifact for message in results(restored)] == [message.artifact for message in results(state)]
    assert all(type(message.artifact.get("answer", "")) is str for message in results(restored))
    stored = (tmp_path / "c.sqlite").read_bytes()
    assert b"base64" not in stored
    assert b"\x89PNG" not in stored
    for message in results(state):
        json.dumps(message.artifact)


@pytest.mark.parametrize("is_async", [False, True])
async def test_tokens_of_the_vision_model_are_not_in_the_stream_of_the_agent(toolkit, image, is_async):
    agent = scripted(toolkit, image)
    inputs = {"messages": [HumanMessage("Look.")]}
    if is_async:
        streamed = [part async for part in agent.astream(inputs, thread("a"), stream_mode="messages")]
    else:
        streamed = list(agent.stream(inputs, thread("a"), stream_mode="messages"))
    kinds = [(type(message).__name__, meta["langgraph_node"]) for message, meta in streamed]
    assert [kind for kind in kinds if kind[1] == "tools"] == [("ToolMessage", "tools")] * 5
    assert all(message.response_metadata.get("model_provider") != "vipllava" for message, _ in streamed)
    answers = toolkit.messages("marked1", thread_id="a")
    assert len(answers) == 4


def test_calls_of_the_vision_model_are_children_of_the_tool_run(toolkit, image):
    """Tracers receive the calls of the vision model."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Recorder(BaseCallbackHandler):
        def __init__(self):
            self.tools, self.parents = {}, []

        def on_tool_start(self, serialized, input_str, *, run_id, **kwargs):
            self.tools[run_id] = serialized["name"]

        def on_chat_model_start(self, serialized, messages, *, parent_run_id=None, **kwargs):
            if kwargs["invocation_params"]["_type"] == "vipllava":
                self.parents.append(self.tools.get(parent_run_id))

    recorder = Recorder()
    scripted(toolkit, image).invoke({"messages": [HumanMessage("Look.")]}, {**thread("a"), "callbacks": [recorder]})
    assert recorder.parents == ["ask_regions", "ask_regions"]


def test_invalid_calls_return_error_messages_and_the_agent_continues(toolkit, image):
    script = ScriptedLLM(
        responses=[
            calls(
                ("open_image", {"source": "/no/such.png"}),
                ("open_image", {"path": image}),
                ("mark_regions", {"image_id": "img1", "regions": ["r1"]}),
                ("ask_regions", {"image_id": "marked1", "question": ""}),
                ("detect_regions", {"image_id": "img1", "labels": "face"}),
                ("zoom_image", {"image_id": "img1"}),
            ),
            calls(("open_image", {"source": image})),
            calls(("mark_regions", {"image_id": "img1", "regions": [[10, 10, 5, 5]]})),
            calls(("mark_regions", {"image_id": "img1", "regions": "[" * 50_000})),
            calls(("mark_regions", {"image_id": "img1", "regions": [[5, 5, 90, 90]]})),
            calls(("ask_regions", {"image_id": "marked1", "question": "What is {r1}?"})),
            AIMessage("Done."),
        ]
    )
    agent = create_agent(script, toolkit.get_tools(), checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("human", "Look.")]}, thread("a"))
    statuses = [message.status for message in results(state)]
    assert statuses == ["error"] * 6 + ["success", "error", "error", "success", "success"]
    assert state["messages"][-1].text == "Done."
    assert all(message.content.strip() for message in results(state))


def mark_and_ask(*questions):
    """Return a script that marks the first region of photo1 and asks about it."""
    mark = calls(("mark_regions", {"image_id": "photo1", "regions": ["r1"]}))
    asks = [calls(("ask_regions", {"image_id": "marked1", "question": question})) for question in questions]
    return [mark, *asks, AIMessage("Done.")]


def test_a_custom_graph_with_a_tool_node(toolkit, photo):
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    toolkit.add_image(photo, detections=DETECTIONS)
    script = ScriptedLLM(responses=mark_and_ask("What is {r1}?", "Why?"))
    graph = StateGraph(MessagesState)
    graph.add_node("llm", lambda state: {"messages": [script.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(toolkit.get_tools()))
    graph.add_edge(START, "llm")
    graph.add_conditional_edges("llm", tools_condition)
    graph.add_edge("tools", "llm")
    state = graph.compile(checkpointer=InMemorySaver()).invoke({"messages": [("human", "Look.")]}, thread("a"))
    assert [message.status for message in results(state)] == ["success"] * 3
    assert len(toolkit.messages("marked1", thread_id="a")) == 4
    assert state["messages"][-1].text == "Done."


def test_an_interrupted_agent_resumes(toolkit, photo):
    toolkit.add_image(photo, detections=DETECTIONS)
    script = ScriptedLLM(responses=mark_and_ask("What is {r1}?"))
    agent = create_agent(script, toolkit.get_tools(), checkpointer=InMemorySaver(), interrupt_before=["tools"])
    state = agent.invoke({"messages": [("human", "Look.")]}, thread("a"))
    assert not results(state)
    state = agent.invoke(None, thread("a"))
    assert [message.name for message in results(state)] == ["mark_regions"]
    state = agent.invoke(None, thread("a"))
    assert [message.name for message in results(state)] == ["mark_regions", "ask_regions"]
    assert state["messages"][-1].text == "Done."


def test_agents_that_are_tools_of_an_agent_do_not_share_images(toolkit, photo):
    from langchain_core.tools import tool

    toolkit.add_image(photo, detections=DETECTIONS)

    @tool
    def look(who: str, question: str) -> str:
        """Ask a helper agent."""
        helper = create_agent(
            ScriptedLLM(responses=mark_and_ask(question)), toolkit.get_tools(), checkpointer=InMemorySaver()
        )
        return results(helper.invoke({"messages": [("human", "Look.")]}, thread(who)), "ask_regions")[0].text

    both = calls(
        ("look", {"who": "one", "question": "What is {r1}?"}),
        ("look", {"who": "two", "question": "What color is {r1}?"}),
    )
    agent = create_agent(ScriptedLLM(responses=[both, AIMessage("Done.")]), [look], checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("human", "Look.")]}, thread("main"))
    for who, message in zip(("one", "two"), results(state, "look"), strict=True):
        assert quote(toolkit.messages("marked1", thread_id=who)[-1].text) in message.text
    with pytest.raises(SessionError):
        toolkit.messages("marked1", thread_id="main")


async def test_astream_events_contains_the_tools_and_both_models(toolkit, image):
    agent = scripted(toolkit, image)
    inputs = {"messages": [("human", "Look.")]}
    events = [event async for event in agent.astream_events(inputs, thread("a"), version="v2")]
    tools = [event["name"] for event in events if event["event"] == "on_tool_end"]
    assert tools == ["open_image", "detect_regions", "mark_regions", "ask_regions", "ask_regions"]
    ended = [event for event in events if event["event"] == "on_chat_model_end"]
    vision_events = [event for event in ended if event["metadata"].get("ls_provider") == "vipllava"]
    assert len(vision_events) == 2
    assert {event["metadata"]["ls_model_type"] for event in vision_events} == {"chat"}
    assert {event["metadata"]["ls_model_name"] for event in vision_events} == {toolkit.chat_model.model}
    assert {event["metadata"]["ls_max_tokens"] for event in vision_events} == {12}
    assert all("nostream" in event["tags"] for event in vision_events)
    assert all(event["data"]["output"].usage_metadata["input_tokens"] > 0 for event in vision_events)


async def test_a_cancelled_question_is_not_recorded_and_the_model_stays_usable(llm, photo):
    toolkit = VipLlavaToolkit(chat_model=llm.model_copy(update={"max_tokens": 400}))
    toolkit.add_image(photo, detections=DETECTIONS, thread_id="a")
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    await tools["mark_regions"].ainvoke({"image_id": "img1", "regions": ["r1"]}, thread("a"))
    ask = {"image_id": "marked1", "question": "What is {r1}?"}
    started = llm.backend.runner.stats().requests
    tasks = [asyncio.create_task(tools["ask_regions"].ainvoke(ask, thread("a"))) for _ in range(20)]
    while llm.backend.runner.stats().requests == started:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    assert toolkit.messages("marked1", thread_id="a") == []
    assert await tools["ask_regions"].ainvoke(ask, thread("a"))
    assert len(toolkit.messages("marked1", thread_id="a")) == 2


async def test_marking_does_not_wait_for_a_pending_answer(llm, photo):
    release, started = threading.Event(), threading.Event()

    class SlowModel(ScriptedLLM):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            started.set()
            while not release.is_set():
                await asyncio.sleep(0)
            return self._generate(messages)

    toolkit = VipLlavaToolkit(chat_model=SlowModel(responses=[AIMessage("Yes.")] * 2))
    toolkit.add_image(photo, detections=DETECTIONS, thread_id="a")
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    ask = {"image_id": "img1", "question": "What is it?"}
    asking = [asyncio.create_task(tools["ask_regions"].ainvoke(ask, thread("a"))) for _ in range(2)]
    while not started.is_set():
        await asyncio.sleep(0)
    # more calls than the thread pool has threads
    marks = [tools["mark_regions"].ainvoke({"image_id": "img1", "regions": ["r1"]}, thread("a")) for _ in range(40)]
    async with asyncio.timeout(60):
        assert all("Marked img1" in content for content in await asyncio.gather(*marks))
        release.set()
        assert await asyncio.gather(*asking) == ['The vision model answered: "Yes."'] * 2


async def test_concurrent_questions_are_answered_one_after_the_other(toolkit, photo):
    toolkit.add_image(photo, detections=DETECTIONS, thread_id="a")
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    await tools["mark_regions"].ainvoke({"image_id": "img1", "regions": ["r1"]}, thread("a"))
    ask, questions = tools["ask_regions"], [f"Is it {number}?" for number in range(10)]
    inputs = [{"image_id": "marked1", "question": question} for question in questions]
    coroutines = [ask.ainvoke(item, thread("a")) for item in inputs[::2]]
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(ask.invoke, item, thread("a")) for item in inputs[1::2]]
        await asyncio.gather(*coroutines, *map(asyncio.wrap_future, futures))
    messages = toolkit.messages("marked1", thread_id="a")
    assert sorted(message.text for message in messages[::2]) == sorted(questions)
    assert all(isinstance(message, AIMessage) for message in messages[1::2])
    assert len(messages) == 20
