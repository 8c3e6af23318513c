"""`langchain-vipllava chat`, through a pipe and at a terminal."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava.apps.assets import SCENE
from tests.support.command_line import COMMAND, environment, run

SQUARE = ("-b", "59,378,164,483")


def chat(*lines, options=SQUARE):
    return run("chat", SCENE, *options, stdin="".join(f"{line}\n" for line in lines))


def test_answers_go_to_standard_output_and_piped_questions_are_echoed():
    result = chat("What is the object {0}?", "What is {9}?", "What color is it?", "/quit", "never asked")
    assert (result.returncode, result.stdout) == (0, "A white square.\nWhite.\n")
    echoed = [line for line in result.stderr.splitlines() if line.startswith("you: ")]
    assert echoed == ["you: What is the object {0}?", "you: What is {9}?", "you: What color is it?", "you: /quit"]
    assert "{9} names no marker; expected {0}." in result.stderr
    assert "{0}  within the red rectangle" in result.stderr


def test_again_starts_over(image, tiny_checkpoint):
    options = ("-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6)
    lines = "What is the object {0}?\nWhy?\n/again\nWhat is the object {0}?\n"
    result = run("chat", image, *options, "--json", stdin=lines)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == 3
    assert answers[0]["answer"] == answers[2]["answer"]
    assert answers[1]["input_tokens"] > answers[0]["input_tokens"]  # the conversation before it


def test_help_and_regions_are_no_questions():
    result = chat("/help", "/regions", "/zoom", "/markers", "/ mark")
    assert (result.returncode, result.stdout) == (0, "")
    for words in ("/mark x0,y0,x1,y1", "/regions", "/again", "/quit"):
        assert words in result.stderr
    assert result.stderr.count("{0}  within the red rectangle") == 2
    for unknown in ("'/zoom'", "'/markers'", "'/'"):
        assert f"unknown command {unknown}; expected /regions, /mark, /again, /help or /quit" in result.stderr


def test_mark_adds_a_region_and_starts_over(tmp_path):
    result = run(
        "chat", SCENE, *SQUARE, "--save", "seen.png", cwd=tmp_path,
        stdin="What is the object {0}?\n/mark 206,30,426,250 mask contour blue\nWhat is the object {1}?\n",
    )  # fmt: skip
    assert result.stdout == "A white square.\nA blue circle.\n", result.stderr
    assert "{1}  with the blue mask contour" in result.stderr
    assert "The new region is {1}" in result.stderr
    pixels = np.asarray(Image.open(tmp_path / "seen.png"))
    assert tuple(pixels[140, 206]) == (0, 0, 255)
    assert tuple(pixels[400, 59]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/mark", "/mark needs a box"),
        ("/mark 1,2,3", "/mark '1,2,3' has 3 numbers"),
        ("/mark 0.1,0.2,0.3,0.4", "looks like fractions"),
        ("/mark 10,10,90,90 pink", "'pink' is neither a kind"),
        ("/mark 900,900,950,950", "outside the image"),
        ("/mark 206,30,426,250 rectangle red", "red rectangle"),
    ],
)
def test_a_mark_that_cannot_be_drawn_changes_nothing(line, expected):
    result = chat(line, "What is the object {0}?")
    assert expected in result.stderr
    assert result.stdout == "A white square.\n"


def test_a_chat_without_regions_is_about_the_whole_image():
    result = chat("How many objects are there?", "/regions", options=())
    assert result.stdout == "Four.\n"
    assert "Ask about the image" in result.stderr
    assert "Nothing is marked" in result.stderr


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="this system has no pseudo-terminals")
def test_at_a_terminal_ctrl_c_leaves_the_prompt_with_130_and_a_terminal_in_order():
    import pty
    import termios

    process, terminal = pty.fork()
    if process == 0:
        arguments = [*COMMAND, "chat", str(SCENE), *SQUARE]
        os.execve(COMMAND[0], arguments, {**environment(), "TERM": "xterm"})
    before = termios.tcgetattr(terminal)
    seen = b""
    while b"you: " not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"What is the object {0}?\n")
    while seen.count(b"you: ") < 2:
        seen += os.read(terminal, 1000)
    assert b"A white square." in seen
    os.write(terminal, b"half a quest\x03")  # Ctrl-C
    with suppress(OSError):  # how Linux reports the end
        while piece := os.read(terminal, 1000):
            seen += piece
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    assert b"Traceback" not in seen
