"""What each command loads: `make bench-startup` times it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.app import app
from langchain_vipllava.apps.cli.wording import in_options
from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS
from tests.support.command_line import environment
from tests.support.versions import needs_lazy_typer

LOADED = """
import sys
from langchain_vipllava.apps.cli.app import run
status = run(sys.argv[1:])
print(status, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded_by(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=300, env=environment(),
    )  # fmt: skip
    status, *modules = done.stderr.splitlines()[-1].split()
    assert status == "0", done.stderr
    return set(modules)


def test_help_and_version_load_neither_numpy_nor_langchain():
    for arguments in (["--version"], ["--help"], ["ask", "--help"], ["doctor", "--help"]):
        modules = loaded_by(*arguments)
        assert not modules & {"numpy", "cv2", "PIL", "langchain_core", "torch", "transformers"}, arguments


@needs_lazy_typer
def test_mark_loads_no_torch_and_ask_no_chat_classes(tmp_path):
    marking = loaded_by("mark", SCENE, "-b", "59,378,164,483", "-o", tmp_path / "out.png")
    assert not marking & {"torch", "transformers", "httpx", "rich", "langsmith", "skimage"}
    asking = loaded_by("ask", SCENE, "What is the object {0}?", "-b", "59,378,164,483")
    assert "torch" in asking
    assert not asking & {"langsmith", "langgraph", "langchain", "skimage"}


def test_help_lists_the_kinds_and_the_colors():
    assert options.KINDS.split(", ") == list(KINDS)
    assert options.COLORS.split(", ") == list(COLOR_NAMES)
    commands = typer.main.get_command(app).commands
    for name in ("mark", "ask", "chat"):
        helps = {parameter.name: getattr(parameter, "help", "") for parameter in commands[name].params}
        assert options.KINDS in helps["kind"]
        assert options.COLORS in helps["color"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Pass zoom='auto' to crop around it.", "Pass --zoom to crop around it."),
        ("or pass kind='auto' without color.", "or pass --kind auto without color."),
        ("color='lime', or omit color", "--color lime, or omit color"),
        ("attn_implementation='flash_attention_2' on device 'cpu'", "--attention flash_attention_2 on device 'cpu'"),
        ("its box_format is ambiguous", "its --box-format is ambiguous"),
        ("use regions_from(..., box_format='xywh').", "use --detections FILE --box-format xywh."),
        ("kind='mask contour'", "--kind 'mask contour'"),
        ("quantization=None", "no --quantization"),
        ("dtype='float16'. `langchain-vipllava doctor`", "--dtype float16. `langchain-vipllava doctor`"),
        ("the image_format=5 and a model=", "the image_format=5 and a --model"),
    ],
)
def test_messages_name_options_in_place_of_arguments(message, shown):
    assert in_options(message) == shown
