"""Toolkit, workspace, chains and command line ask a server as they ask the model of this process."""

from __future__ import annotations

import json

import pytest

from langchain_vipllava import AskAboutRegions, Region, VipLlavaToolkit, Workspace, mark
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.backends.vision import BackendVision
from tests.support.command_line import run
from tests.support.tool_caller import ToolCaller

BOXES = ("-b", "59,378,164,483", "-b", "206,30,426,250")
QUESTION = "What is the object {0}?"


def test_the_command_line_asks_a_server(server):
    local = run("ask", SCENE, QUESTION, *BOXES)
    served = run("ask", SCENE, QUESTION, *BOXES, "--base-url", server.base_url)
    assert (served.returncode, served.stdout) == (0, local.stdout), served.stderr
    assert f"The model bundled answers, served at {server.base_url}" in served.stderr
    assert server.seen
    named = run("ask", SCENE, QUESTION, *BOXES, "--base-url", server.base_url, "--model", "bundled", "--json")
    record = json.loads(named.stdout)
    assert (record["answer"], record["model"]) == ("A white square.", "bundled")


def test_the_command_line_chats_with_a_server(server):
    lines = "What is the object {0}?\nWhat color is it?\n"
    results = [
        run("chat", SCENE, *BOXES, "--quiet", *more, stdin=lines) for more in ((), ("--base-url", server.base_url))
    ]
    assert results[0].stdout == results[1].stdout
    assert len(server.seen) == 2


def test_the_command_line_says_what_is_wrong_in_its_own_words(server):
    wrong = run("ask", SCENE, "What is it?", "--base-url", server.base_url, "--model", "shapes")
    assert wrong.returncode == 1
    assert "no model 'shapes'" in wrong.stderr
    assert "--tokenizer" in wrong.stderr
    server.api_key = "key"
    refused = run("ask", SCENE, "What is it?", "--base-url", server.base_url, "--model", "bundled")
    assert "VIPLLAVA_API_KEY" in refused.stderr
    both = run("ask", SCENE, "What is it?", "--base-url", server.base_url, "--device", "cpu")
    assert "--device beside --base-url" in both.stderr
    alone = run("ask", SCENE, "What is it?", "--tokenizer", "bundled")
    assert "--tokenizer without --base-url" in alone.stderr


def test_a_toolkit_asks_a_server(llm, local, server):
    answers = []
    for chat_model in (local, llm):
        toolkit = VipLlavaToolkit(chat_model=chat_model, detector=lambda image: [])
        image_id = toolkit.add_image(SCENE, thread_id="t")
        caller = ToolCaller(toolkit)
        marked = caller.call("mark_regions", image_id=image_id, regions=[[59, 378, 164, 483]])
        asked = caller.call("ask_regions", image_id=marked.artifact["image_id"], question="What is the object {r1}?")
        answers.append(asked.content)
    assert answers[0] == answers[1]
    assert "white square" in answers[0]
    assert server.seen


def test_a_workspace_asks_a_server(llm, local):
    replies = []
    for chat_model in (local, llm):
        workspace = Workspace(model=BackendVision(chat_model.backend))
        image_id = workspace.add_image(SCENE, session="s")
        marked = workspace.mark(image_id, [[59, 378, 164, 483]], session="s")
        replies.append(workspace.ask(marked.image_id, "What is the object {r1}?", session="s").answer)
    assert replies == ["A white square."] * 2


def test_a_chain_asks_a_server(llm, local):
    marked = mark(SCENE, [Region(box=(59, 378, 164, 483))])
    step_input = {"marked": marked, "question": QUESTION}
    assert [AskAboutRegions(llm=each).invoke(step_input)["answer"] for each in (local, llm)] == ["A white square."] * 2


def test_a_vote_asks_a_server(llm, local, server):
    votes = []
    for chat_model in (local, llm):
        workspace = Workspace(model=BackendVision(chat_model.backend))
        image_id = workspace.add_image(SCENE, session="s")
        marked = workspace.mark(image_id, [[59, 378, 164, 483]], session="s")
        votes.append(workspace.ask_vote(marked.image_id, "What is the object {r1}?", session="s"))
    assert [vote.answer for vote in votes[1].votes] == [vote.answer for vote in votes[0].votes]
    assert (votes[1].answer, votes[1].agreement) == ("A white square.", votes[0].agreement)
    assert votes[1].confidence == pytest.approx(votes[0].confidence, abs=0.01)
    assert len(server.seen) == 4
