"""Ctrl-C, at chosen moments: a real signal to the process, from the process itself."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from langchain_vipllava.apps.assets import SCENE
from tests.support.command_line import CODE, environment

AT_IMPORT = f"""
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
{CODE}
"""

IN_CALL = f"""
import importlib, os, signal, sys
module, _, name = sys.argv.pop(1).partition(":")
holder = importlib.import_module(module)
*parents, last = name.split(".")
for parent in parents:
    holder = getattr(holder, parent)
called = getattr(holder, last)
def interrupted(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return called(*arguments, **options)
setattr(holder, last, interrupted)
{CODE}
"""

ASK = ("ask", str(SCENE), "What is the object {0}?", "-b", "59,378,164,483")


def interrupted(program, where, *arguments, stdin=""):
    done = subprocess.run(
        [sys.executable, "-c", program, where, *arguments],
        input=stdin, capture_output=True, text=True, timeout=300, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "A white square" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "KeyboardInterrupt" not in done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "langchain_vipllava.apps.cli.app", "typer", "langchain_vipllava.errors", "numpy", "cv2", "PIL.Image",
        "pydantic",         "torch", "torch.nn", "transformers", "transformers.modeling_utils",
        "transformers.models.vipllava.modeling_vipllava", "langchain_vipllava.engine.worker",
    ],
)  # fmt: skip
def test_ctrl_c_while_a_module_is_imported_ends_with_130(module):
    interrupted(AT_IMPORT, module, *ASK)


@pytest.mark.parametrize(
    "call",
    [
        "langchain_vipllava.images.load:load_image",
        "langchain_vipllava.engine.runner:load_checkpoint",
        "langchain_vipllava.engine.engine:Engine.step",  # in the engine's thread, while the main thread waits
        "langchain_vipllava.engine.encoding:PromptEncoder.encode",
    ],
)
def test_ctrl_c_while_an_image_or_a_model_is_loaded_or_answers_ends_with_130(call):
    interrupted(IN_CALL, call, *ASK)


@pytest.mark.parametrize(
    ("where", "arguments"),
    [
        ("rich.console", ("demo",)),
        ("langgraph", ("demo",)),
        ("torch", ("doctor",)),
        ("cv2", ("mark", *ASK[1:2], "-b", "1,2,30,40")),
    ],
)
def test_ctrl_c_ends_every_command_with_130(where, arguments):
    interrupted(AT_IMPORT, where, *arguments)


def test_ctrl_c_while_a_piped_chat_answers_ends_with_130():
    interrupted(IN_CALL, "langchain_vipllava.engine.engine:Engine.step", "chat", str(SCENE), stdin="What is it?\n")


def test_an_interrupt_that_is_ignored_stays_so():
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{AT_IMPORT}"  # as nohup does
    done = subprocess.run(
        [sys.executable, "-c", program, "typer", "--version"],
        capture_output=True, text=True, timeout=300, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
