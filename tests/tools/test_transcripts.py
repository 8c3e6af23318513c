"""The recorded calls of LLMs: what each reply is, and the page of the documentation that shows them."""

from __future__ import annotations

import pytest

from tests.tools import transcripts

RECORDED = transcripts.load()


@pytest.fixture(scope="module")
def graph():
    return transcripts.graph_of(transcripts.toolkit())


@pytest.mark.parametrize("index", range(len(RECORDED)), ids=[f"{t['llm']}: {t['does']}" for t in RECORDED])
def test_a_transcript_has_the_recorded_replies(graph, index):
    recorded = RECORDED[index]
    replies = transcripts.replay(graph, recorded, str(index))
    got = [(reply.status, reply.text) for reply in replies]
    assert got == [(call["status"], call["reply"]) for call in recorded["calls"]]


def test_there_are_sixty_transcripts_of_all_families_good_and_bad():
    assert len(RECORDED) >= 60
    assert {t["llm"] for t in RECORDED} == {"GPT", "Claude", "Gemini", "Llama", "Qwen", "Mistral"}
    bad = [t for t in RECORDED if any(call["status"] == "error" for call in t["calls"])]
    assert len(bad) >= 15


def test_the_page_shows_the_transcripts():
    """If it fails: python -m tests.tools.transcripts"""
    assert transcripts.PAGE.read_text() == transcripts.write_page(RECORDED)
