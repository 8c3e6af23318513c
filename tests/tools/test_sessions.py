"""Whose images a tool call may use: the thread's, those of the run, or those of the program's one session."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from langchain_vipllava import ImageStore, SessionError, VipLlavaToolkit, Workspace
from langchain_vipllava.errors import shorten
from langchain_vipllava.images.store import image_id
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.session_id import MAX_ID, ProgramSession, RunSession
from langchain_vipllava.workspace.session_pool import SessionPool
from tests.support.tool_caller import DETECTIONS
from tests.tools.test_agent import ScriptedLLM, calls, results, thread

MESSAGE = {"messages": [("human", "Look.")]}
BOX = [1, 2, 300, 400]


@pytest.fixture
def toolkit(llm, photo):
    """A toolkit whose program shares one photo with every session."""
    toolkit = VipLlavaToolkit(chat_model=llm, detector=lambda image: DETECTIONS)
    toolkit.add_image(photo)
    return toolkit


def tool(toolkit, name):
    return next(tool for tool in toolkit.get_tools() if tool.name == name)


def mark_then(*more):
    """Return a script that marks the shared photo, twice in one step, and then makes other calls."""
    mark = ("mark_regions", {"image_id": "photo1", "regions": [BOX]})
    return ScriptedLLM(responses=[calls(mark, mark), *map(calls, more), AIMessage("Done.")])


ASK = ("ask_regions", {"image_id": "marked2", "question": "What is {r1}?"})


def test_the_calls_of_one_run_without_a_thread_id_share_a_session(toolkit):
    state = create_agent(mark_then(ASK, ASK), toolkit.get_tools()).invoke(MESSAGE)
    assert [message.status for message in results(state)] == ["success"] * 4
    assert {message.artifact["image_id"] for message in results(state, "mark_regions")} == {"marked1", "marked2"}


async def test_the_calls_of_one_awaited_run_share_a_session(toolkit):
    state = await create_agent(mark_then(ASK, ASK), toolkit.get_tools()).ainvoke(MESSAGE)
    assert [message.status for message in results(state)] == ["success"] * 4


def test_runs_without_a_thread_id_do_not_see_each_others_images(toolkit):
    agent = create_agent(mark_then(), toolkit.get_tools())
    ids = [[message.artifact["image_id"] for message in results(agent.invoke(MESSAGE))] for _ in range(3)]
    assert [sorted(found) for found in ids] == [["marked1", "marked2"]] * 3  # each run counts from one
    only_ask = ScriptedLLM(responses=[calls(ASK), AIMessage("Done.")])
    (answer,) = results(create_agent(only_ask, toolkit.get_tools()).invoke(MESSAGE))
    assert answer.status == "error"
    assert "no image 'marked2'; open images: photo1." in answer.text


def test_runs_in_parallel_threads_and_tasks_have_their_own_sessions(toolkit):
    agent = create_agent(mark_then(ASK), toolkit.get_tools())

    async def gather():
        return await asyncio.gather(*(agent.ainvoke(MESSAGE) for _ in range(6)))

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(agent.invoke, MESSAGE) for _ in range(6)]
        states = asyncio.run(gather()) + [future.result() for future in futures]
    for state in states:
        assert [message.status for message in results(state)] == ["success"] * 3
        assert {m.artifact["image_id"] for m in results(state, "mark_regions")} == {"marked1", "marked2"}


def test_a_subgraph_without_a_thread_id_is_a_run_of_its_own_and_with_one_shares_the_session(toolkit):
    helper = create_agent(mark_then(), toolkit.get_tools())
    ask = tool(toolkit, "ask_regions")
    graph = StateGraph(MessagesState)
    graph.add_node("helper", helper)
    call = {"type": "tool_call", "id": "a", "name": "ask_regions", "args": ASK[1]}
    graph.add_node("ask", lambda state: {"messages": [ask.invoke(call)]})
    graph.add_edge(START, "helper")
    graph.add_edge("helper", "ask")
    *_, own = results(graph.compile().invoke(MESSAGE))
    assert "no image 'marked2'" in own.text
    *_, shared = results(graph.compile(checkpointer=InMemorySaver()).invoke(MESSAGE, thread("a")))
    assert shared.status == "success"


def test_the_images_of_a_run_are_forgotten_when_it_ends(photo):
    class Run:
        """Stands in for what LangGraph makes for a run."""

    pool = SessionPool(SessionLimits())
    run = Run()
    session = RunSession(run)
    assert pool.get(session) is pool.get(RunSession(run))
    assert pool.get(RunSession(Run())) is not pool.get(session)
    del run
    gc.collect()
    assert session.ended
    kept = pool.get("another")
    assert pool.get("another") is kept
    assert pool.peek(session) is not pool.peek(session)


@pytest.mark.parametrize(
    "config", [None, {}, {"configurable": {"thread_id": None}}, {"run_id": UUID(int=5)}, {"metadata": {"run_id": "x"}}]
)
def test_a_call_outside_of_a_run_says_what_to_configure(toolkit, config):
    arguments = {"image_id": "photo1", "regions": [BOX]}
    with pytest.raises(SessionError, match=r"thread_id.*VipLlavaToolkit\(session='...'\)"):
        tool(toolkit, "mark_regions").invoke(arguments, config)
    with pytest.raises(SessionError, match="thread_id"):
        asyncio.run(tool(toolkit, "ask_regions").ainvoke({"image_id": "photo1", "question": "What?"}, config))


@pytest.mark.parametrize("runtime", [Runtime(), Runtime(stream_writer=print), "run", {"stream_writer": "x"}, 5])
def test_a_runtime_that_is_not_of_one_run_names_no_session(toolkit, runtime):
    config = {"configurable": {"__pregel_runtime": runtime}}
    with pytest.raises(SessionError, match="thread_id"):
        tool(toolkit, "mark_regions").invoke({"image_id": "photo1", "regions": [BOX]}, config)


def test_a_program_with_one_user_names_its_session(llm, photo, tmp_path):
    kit = VipLlavaToolkit(chat_model=llm, session="me", image_store=ImageStore(tmp_path))
    kit.add_image(photo)
    assert "marked1" in tool(kit, "mark_regions").invoke({"image_id": "photo1", "regions": [BOX]})
    assert tool(kit, "ask_regions").invoke({"image_id": "marked1", "question": "What?"})
    assert kit.messages("marked1")[0].text == "What?"
    assert kit.marked_image("marked1").regions[0].box == tuple(BOX)
    (run,) = results(create_agent(ScriptedLLM(responses=[calls(ASK), AIMessage("")]), kit.get_tools()).invoke(MESSAGE))
    assert "open images: photo1, marked1" in run.text  # runs without a thread id use it, too
    for thread_id in ("me", "program", str(ProgramSession("me")), repr(ProgramSession("me"))):
        with pytest.raises(SessionError, match="no image 'marked1'"):
            kit.marked_image("marked1", thread_id=thread_id)
    again = VipLlavaToolkit(chat_model=llm, session="me", image_store=ImageStore(tmp_path))
    assert again.messages("marked1") == kit.messages("marked1")
    assert VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path)).workspace.list(session="me") == ()


@pytest.mark.parametrize(
    "thread_id", [0, 7, UUID(int=7), "None", "\ud800", "a/b", "../..", "x" * MAX_ID, "\x1b[31m", "session-0"]
)
def test_thread_ids_of_any_kind_name_a_session_that_is_stored(llm, photo, tmp_path, thread_id):
    def mark_once():
        kit = VipLlavaToolkit(chat_model=llm, image_store=ImageStore(tmp_path))
        kit.add_image(photo)
        arguments = {"image_id": "photo1", "regions": [BOX]}
        return tool(kit, "mark_regions").invoke(arguments, {"configurable": {"thread_id": thread_id}})

    assert "as marked1" in mark_once()
    assert "as marked2" in mark_once()  # the second toolkit has read what the first one stored


@pytest.mark.parametrize(
    "thread_id", ["", "  ", True, 1.5, b"a", ["a"], {"a": 1}, "x" * (MAX_ID + 1), 10**5000], ids=shorten
)
def test_what_cannot_be_a_thread_id_is_refused(toolkit, thread_id):
    with pytest.raises(SessionError, match=r"thread_id.*expected"):
        tool(toolkit, "open_image").invoke({"source": "a.png"}, {"configurable": {"thread_id": thread_id}})
    with pytest.raises(SessionError, match=r"thread_id.*expected"):
        toolkit.marked_image("photo1", thread_id=thread_id)


def test_the_programs_own_session_is_reached_by_no_tool_call(llm, photo):
    kit = VipLlavaToolkit(chat_model=llm)
    kit.add_image(photo)
    mine = kit.workspace.mark("photo1", [BOX]).image_id  # session=None: the program's own
    assert kit.workspace.look(mine).phrases == ["within the red rectangle"]
    for thread_id in ("None", "null", "program", "shared", "0"):
        message = tool(kit, "ask_regions").invoke(
            {"type": "tool_call", "id": "a", "name": "ask_regions", "args": {"image_id": mine, "question": "What?"}},
            thread(thread_id),
        )
        assert message.status == "error"
    (message,) = results(
        create_agent(
            ScriptedLLM(responses=[calls(("ask_regions", {"image_id": mine, "question": "?"})), AIMessage("")]),
            kit.get_tools(),
        ).invoke(MESSAGE)
    )
    assert "no image 'marked1'" in message.text


def attacks(kit, victim):
    """Every argument of every tool with ids of another session, as they are and disguised."""
    images = kit.workspace.list(session=victim)
    ids = [summary.image_id for summary in images]
    stored = [image_id(kit.workspace.look(name, session=victim).encoded) for name in ids]
    names = [
        *ids,
        *stored,
        *(f"{prefix}{name}" for prefix in (victim + "/", victim + ":", "../", "session=", " ") for name in ids),
        *(str((victim, name)) for name in ids),
        *(json.dumps({"session": victim, "image_id": name}) for name in ids),
        victim,
        "*",
        "",
        "r1",
    ]
    for name in names:
        yield "ask_regions", {"image_id": name, "question": "What is it?"}
        yield "ask_regions", {"image_id": name, "question": "What is it?", "session": victim, "thread_id": victim}
        yield "mark_regions", {"image_id": name, "regions": [BOX]}
        yield "detect_regions", {"image_id": name}
        yield "open_image", {"source": name}
        # with an image of its own: another's as a region, a label or words
        yield "mark_regions", {"image_id": "img1", "regions": [name]}
        yield "mark_regions", {"image_id": "img1", "regions": [{"id": name}]}


def everything_of(kit, session):
    images = kit.workspace.list(session=session)
    return [(str(summary), str(kit.messages(summary.image_id, thread_id=session))) for summary in images]


def test_no_argument_of_any_tool_reaches_an_image_of_another_user(llm, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kit = VipLlavaToolkit(chat_model=llm, detector=lambda image: [], image_store=ImageStore(tmp_path / "store"))
    victim, attacker = "victim", "attacker"
    for name in ("victim", "attacker"):
        kit.add_image(photo if name == victim else photo.rotate(90), thread_id=name)
    for _ in range(3):
        marked = kit.workspace.mark("img1", [BOX], session=victim).image_id
    kit.workspace.ask(marked, "What is the secret?", session=victim)
    kit.workspace.add_image(photo, session=victim)
    before = everything_of(kit, victim)
    tools = {tool.name: tool for tool in kit.get_tools()}
    tried = 0
    for name, arguments in attacks(kit, victim):
        call = {"type": "tool_call", "id": "a", "name": name, "args": arguments}
        own_ids = {summary.image_id for summary in kit.workspace.list(session=attacker)}
        own = str(arguments.get("image_id", "")).strip() in own_ids  # the same id names an image of its own
        message = tools[name].invoke(call, thread(attacker))
        tried += 1
        assert isinstance(message, ToolMessage)
        assert message.status == "error" or own, (name, arguments, message)
        assert "secret" not in message.text
    assert tried > 200
    assert everything_of(kit, victim) == before
    for summary in kit.workspace.list(session=attacker):
        seen = kit.workspace.look(summary.image_id, session=attacker).original
        assert seen.tobytes() == photo.rotate(90).tobytes()


def test_ids_are_counted_per_session_and_say_nothing_about_others(photo):
    workspace = Workspace()
    for index, session in itertools.product(range(3), ("a", "b", 5, UUID(int=1), ProgramSession("a"))):
        assert workspace.add_image(photo, session=session) == f"img{index + 1}"


def test_a_run_without_a_thread_id_is_told_why_it_does_not_see_the_images_of_another(toolkit):
    graph = StateGraph(MessagesState)
    graph.add_node("marker", create_agent(mark_then(), toolkit.get_tools()))
    asks = ScriptedLLM(responses=[AIMessage(""), AIMessage(""), calls(ASK), AIMessage("Done.")])
    graph.add_node("asker", create_agent(asks, toolkit.get_tools()))
    graph.add_edge(START, "marker")
    graph.add_edge("marker", "asker")
    agents = graph.compile()
    answer = results(agents.invoke(MESSAGE), "ask_regions")[-1]
    assert answer.status == "error"
    assert "no image 'marked2'; open images: photo1. Use one of these, or call open_image." in answer.text
    assert "Without a thread_id, each run of an agent has images of its own." in answer.text
    answer = results(agents.invoke(MESSAGE, {"configurable": {"thread_id": "t"}}), "ask_regions")[-1]
    assert answer.status == "success"
