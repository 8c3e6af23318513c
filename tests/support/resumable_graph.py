"""A LangGraph graph around the chat model. Run as a program, it is killed in its third turn, or resumes after that."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_vipllava import ChatVipLlava, ImageStore, Region, keep_images, mark

CONFIG = {"configurable": {"thread_id": "a"}}


def build_graph(llm, saver, before=lambda state: None):
    """Build a graph of one node that answers. The node calls `before` before it calls the model."""

    def answer(state):
        before(state)
        return {"messages": [llm.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def kill_in_turn_three(state):
    """Kill this process in the third turn, as a crash does: no handler runs."""
    if sum(isinstance(message, HumanMessage) for message in state["messages"]) == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def main(checkpoint: str, folder: str, part: str) -> None:
    """Run turns 1 to 3 and be killed in the third, or resume it and print all answers and the prompt of a fourth."""
    store = ImageStore(Path(folder) / "images")
    llm = ChatVipLlava(model=checkpoint, max_tokens=12, image_store=store)
    with SqliteSaver.from_conn_string(str(Path(folder) / "checkpoints.sqlite")) as saver:
        if part == "start":
            graph = build_graph(llm, saver, kill_in_turn_three)
            first = mark(Path(folder) / "large.png", [Region(box=(100, 100, 300, 300))]).message(
                "What is the object {0}?"
            )
            for message in (*keep_images([first], store), HumanMessage("Why?"), HumanMessage("And then?")):
                graph.invoke({"messages": [message]}, CONFIG, durability="sync")
        else:
            prompts = []
            graph = build_graph(llm, saver, lambda state: prompts.append(llm.render_prompt(state["messages"])))
            graph.invoke(None, CONFIG)
            state = graph.invoke({"messages": [HumanMessage("Is it so?")]}, CONFIG)
            answers = [message.text for message in state["messages"][1:6:2]]
            print(*answers, prompts[-1], sep="\0", end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
