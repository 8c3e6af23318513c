"""Calls of the agent tools as LLMs write them, with the replies: recorded, and written as a page of the documentation.

    python -m tests.tools.transcripts          # write docs/reference/tool-calls.md
    python -m tests.tools.transcripts record   # run the calls again, keep their replies, and write the page

Each transcript runs in a thread of its own, on a real `ToolNode`, the bundled checkpoint and the example image, whose
regions are r1 (a square), r2 (a circle), r3 and r4 (triangles).
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_vipllava import ChatVipLlava, Region, VipLlavaToolkit
from langchain_vipllava.apps.assets import SCENE

RECORD = Path(__file__).parent / "transcripts.json"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tool-calls.md"

DETECTIONS = [
    Region(box=(59, 378, 164, 483), label="square", score=0.98),
    Region(box=(206, 30, 426, 250), label="circle", score=0.95),
    Region(box=(450, 469, 575, 579), label="triangle", score=0.9),
    Region(box=(487, 78, 632, 217), label="triangle", score=0.4),
]

HEAD = """\
# Tool calls that LLMs write

{count} transcripts of calls, good and bad, with what the tools reply. `python -m tests.tools.transcripts` writes this
page from `tests/tools/transcripts.json`; a test runs every call on a real `ToolNode`, the bundled checkpoint and the
example image, and compares the replies. The image is photo1, its regions are r1 (a square), r2 (a circle), r3 and r4
(triangles).
Not shown: an `image_id` of `"photo1"`, and of `"marked1"` in `ask_regions`.

| written as by | what | call | reply |
|---|---|---|---|
"""


def load() -> list[dict[str, Any]]:
    """Return the recorded transcripts."""
    return json.loads(RECORD.read_text())


def toolkit() -> VipLlavaToolkit:
    """Return a toolkit that has the example image, with its regions, as photo1."""
    made = VipLlavaToolkit(
        chat_model=ChatVipLlava(model="bundled", max_tokens=24), detector=lambda image: DETECTIONS, max_threads=200
    )
    made.add_image(SCENE, detections=DETECTIONS)
    return made


def graph_of(made: VipLlavaToolkit):
    """Return a graph that runs the tool calls of a message."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(made.get_tools()))
    graph.add_edge(START, "tools")
    return graph.compile()


def replay(graph, transcript: dict[str, Any], thread: str) -> list[ToolMessage]:
    """Run the calls of a transcript one after the other."""
    replies = []
    for index, call in enumerate(transcript["calls"]):
        message = AIMessage("", tool_calls=[{"id": str(index), "name": call["tool"], "args": call["args"]}])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tiny regions, for the program; the reply says it too
            state = graph.invoke({"messages": [message]}, {"configurable": {"thread_id": thread}})
        replies.append(state["messages"][-1])
    return replies


def write_page(transcripts: list[dict[str, Any]]) -> str:
    """Return the page of the documentation: a row per call."""
    rows = []
    for transcript in transcripts:
        who, what = transcript["llm"], transcript["does"]
        for call in transcript["calls"]:
            status = "" if call["status"] == "success" else "**error** "
            rows.append(f"| {who} | {what} | {_call(call)} | {status}{_cell(call['reply'])} |\n")
            who = what = ""
    return HEAD.format(count=len(transcripts)) + "".join(rows)


def _call(call: dict[str, Any]) -> str:
    arguments = dict(call["args"])
    usual = "marked1" if call["tool"] == "ask_regions" else "photo1"
    if arguments.get("image_id") == usual:
        arguments.pop("image_id")
    text = json.dumps(arguments, ensure_ascii=False)
    return f"`{call['tool']}` {_code(text if len(text) <= 120 else f'{text[:116]} ...')}"


def _code(text: str) -> str:
    return "`` " + text.replace("|", "\\|") + " ``"


def _cell(text: str) -> str:
    lines = text.replace("<", "&lt;").replace("|", "\\|").splitlines()
    shown = lines if len(lines) <= 6 else [*lines[:5], "..."]
    return "<br>".join(shown)


def record() -> None:
    """Run all calls, and keep their replies."""
    transcripts = load()
    graph = graph_of(toolkit())
    for number, transcript in enumerate(transcripts):
        for call, reply in zip(transcript["calls"], replay(graph, transcript, str(number)), strict=True):
            call |= {"status": reply.status, "reply": reply.text}
    lines = ",\n".join(json.dumps(transcript, ensure_ascii=False) for transcript in transcripts)
    RECORD.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    PAGE.write_text(write_page(load()))
    print(PAGE)
