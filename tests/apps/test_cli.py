"""The command line, run in a subprocess."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command_line import run, run_process


def test_mark_writes_a_marked_image_from_boxes(image, tmp_path):
    boxes = ("-b", "40,40,160,200", "-b", "250,100", "-k", "rectangle", "-k", "point")
    result = run("mark", image, *boxes, "-o", "marked.png", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "marked.png\n"), result.stderr
    assert "{0}  within the red rectangle  region  40, 40, 160, 200" in result.stderr
    assert "at the lime point" in result.stderr
    pixels = np.asarray(Image.open(tmp_path / "marked.png"))
    assert tuple(pixels[100, 40]) == (255, 0, 0)
    assert tuple(pixels[100, 250]) == (0, 255, 0)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("hf.json", '[{"score": 0.9, "label": "cat", "box": {"xmin": 40, "ymin": 40, "xmax": 160, "ymax": 200}}]', []),
        ("yolo.txt", "0 0.25 0.4 0.3 0.53333333", []),
        ("bare.json", "[[40, 40, 120, 160]]", ["--box-format", "xywh"]),
    ],
)
def test_mark_reads_detections_from_a_file(image, tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    for source, stdin in ((tmp_path / name, ""), ("-", content)):
        result = run("mark", image, "-d", source, "-o", tmp_path / "out.png", *options, stdin=stdin)
        assert result.returncode == 0, result.stderr
        assert "40, 40, 160, 200" in result.stderr
        assert tuple(np.asarray(Image.open(tmp_path / "out.png"))[100, 40]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mark", "nothing.png", "-b", "1,2,3,4"], "ImageError"),
        (["mark", "IMAGE"], "nothing to mark"),
        (["mark", "IMAGE", "-b", "1,2,3"], "3 numbers"),
        (["mark", "IMAGE", "-b", "a,b,c,d"], "expected x0,y0,x1,y1"),
        (["mark", "IMAGE", "-b", "10,10,90,90", "-k", "blob"], "unknown marker kind"),
        (["mark", "IMAGE", "-b", "900,900,950,950"], "outside the image"),
        (["mark", "IMAGE", "-d", "nothing.json"], "cannot read the detections"),
        (["ask", "IMAGE", "What is {3}?", "-b", "10,10,90,90"], "{3}"),
        (["ask", "IMAGE", " ", "-b", "10,10,90,90"], "empty"),
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "-m", "TINY", "--device", "cuda:7"], "cuda:7"),
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "-m", "no id"], "not an id of the hub"),
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "--device", "tpu"], "--device tpu"),
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "--quantization", "3bit"], "--quantization 3bit"),
        (["ask", "IMAGE", "What?", "--temperature", "-1"], "--temperature -1"),
        (["ask", "IMAGE", "What is {0}?"], "this image has none"),
        (["ask", "IMAGE", "What?", "-d", "EMPTY"], "found nothing to mark"),
        (["ask", "-", "-"], "in IMAGE and in QUESTION"),
        (["chat", "-"], "IMAGE"),
        (["mark", "-", "-d", "-"], "in IMAGE and in DETECTIONS"),
        (["mark", "IMAGE", "-b", "0.1,0.1,0.5,0.5"], "looks like fractions"),
        (["mark", "IMAGE", "-b", "0.5,0.5"], "looks like fractions"),
        (["mark", "IMAGE", "-b", "40,40,20,20"], "x0 < x1"),
        (["mark", "IMAGE", "-d", "BARE"], "--box-format"),
        (["mark", "IMAGE", "-d", "BARE", "--box-format", "abcd"], "--box-format abcd"),
        (["mark", "IMAGE", "-d", "BARE", "--format", "cocoo"], "--format cocoo"),
        (["mark", "IMAGE", "-b", "10,10,90,90", "-o", "deep/out.png"], "no folder 'deep'"),
        (["mark", "IMAGE", "-b", "10,10,90,90", "-o", "out.docx"], "unknown format '.docx'"),
        (["mark", "IMAGE", "-b", "10,10,90,90", "-o", "IMAGE"], "is the input"),
        (["mark", "IMAGE", "--detector", "mod:name", "-d", "BARE"], "--detections and --detector"),
        (["mark", "IMAGE", "--kind", "arrow"], "--kind without anything to use it on"),
        (["ask", "IMAGE", "What?", "--zoom", "--seed", "1"], "--zoom and --seed without anything to use them on"),
        (["mark", "IMAGE", "-b", "1,2,30,40", "--min-score", "0.5"], "--min-score without anything"),
        (["mark", "IMAGE", "-b", "1,2,30,40", "--seed", "-1"], "--seed -1; expected"),
        (["ask", "IMAGE", "What?", "--max-tokens", "0"], "--max-tokens 0; expected"),
        (["mark", "IMAGE", "-b", "1,2,30,40", "-k", "arrow", "-k", "mask"], "2 values in --kind for 1 region;"),
        (["mark", *["IMAGE"], *["-b", "1,2,30,40"] * 80], "Mark fewer regions at once, as --max-regions does"),
        (["mark", "http://127.0.0.1:9/x.png", "-b", "1,2,30,40"], "expected a public address. Download it first."),
        (["demo", "--image", "IMAGE", "--detector", "nonsense", "-m", "TINY"], "no detector 'nonsense'"),
    ],
)
def test_errors_print_one_line_and_exit_with_status_1(image, tiny_checkpoint, tmp_path, arguments, expected):
    names = {"IMAGE": image, "TINY": tiny_checkpoint, "EMPTY": "empty.json", "BARE": "bare.json"}
    (tmp_path / "empty.json").write_text('{"boxes": [], "scores": [], "labels": []}')
    (tmp_path / "bare.json").write_text("[[10, 10, 20, 20]]")
    result = run(*(names.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1  # no table, no note, no traceback before it
    assert not re.search(r"\b[a-z_]+='", result.stderr)  # options, not Python's arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.json", "empty.json"]


def test_a_model_that_the_hub_cannot_be_asked_for_is_one_line(image):
    result = run_process("ask", image, "What?", "-b", "10,10,90,90", "-m", "no/such-model")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("CheckpointError: cannot find the checkpoint 'no/such-model': HF_HUB_OFFLINE is set")


def test_tiny_regions_print_a_note(image, tmp_path):
    result = run("mark", image, "-b", "10,10,14,14", cwd=tmp_path)
    assert result.returncode == 0
    assert "Note:" in result.stderr
    assert "Pass --zoom to crop" in result.stderr
    assert run("mark", image, "-b", "10,10,14,14", "--quiet", cwd=tmp_path).stderr == ""


def test_ask_prints_the_answer_of_the_chat_model(image, tiny_checkpoint):
    from langchain_vipllava import ChatVipLlava, Region, mark

    result = run(
        "ask", image, "What is the object {0}?", "-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6
    )
    assert result.returncode == 0, result.stderr
    assert "What is the object within the red rectangle?" in result.stderr
    marked = mark(Image.open(image), [Region(box=(40, 40, 160, 200))])
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=6)
    assert result.stdout == llm.invoke([marked.message("What is the object {0}?")]).text + "\n"


def test_demo_runs_on_the_scene_and_on_a_photograph(tmp_path, tiny_checkpoint):
    assert run("demo", "-m", tiny_checkpoint, "--max-tokens", 6, cwd=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())  # no file that was not asked for
    result = run("demo", "-m", tiny_checkpoint, "--max-tokens", 6, "-o", "demo-output", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in ("LLM is scripted", "detect_regions", 'r1: "face"', "within the red ellipse", "USER: <image>"):
        assert words in result.stdout
    assert result.stdout.count("calls ask_regions") == 4
    for name in ("1-scene.png", "2-astronaut.png"):
        assert Image.open(tmp_path / "demo-output" / name).size[0] >= 500


def test_demo_with_the_bundled_checkpoint_answers_correctly_about_the_scene(tmp_path):
    scene = Path(__file__).parents[2] / "examples" / "scene.png"
    result = run("demo", "--image", scene, "-q", "What is the object {r1}?", "-q", "What color is it?", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "small bundled checkpoint" in result.stdout
    assert "What is the object {r1}? - A white square." in result.stdout
    assert "What color is it? - White." in result.stdout


def test_demo_accepts_an_image_and_a_detector_of_the_user(tmp_path, image, tiny_checkpoint):
    (tmp_path / "mine.py").write_text(
        "def detect(image):\n    return {'scores': [0.9], 'labels': ['thing'], 'boxes': [[40, 40, 160, 200]]}\n"
    )
    options = ["--image", image, "--detector", "mine:detect", "-m", tiny_checkpoint, "-q", "What is {r1}?"]
    result = run("demo", *options, "--max-tokens", 4, "-o", "out", cwd=tmp_path, python_path=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "thing" in result.stdout
    assert (tmp_path / "out" / "1-gray.png").exists()


def test_version_prints_the_version_of_the_package():
    from importlib.metadata import version

    assert run("--version").stdout.strip() == version("langchain-vipllava")


def test_labels_names_and_options_cannot_control_the_terminal(image, tmp_path):
    hostile = "cat\x1b[2J\u202e[red]x\nr2: :smile:"
    detections = [{"score": 0.9, "label": hostile, "box": {"xmin": 40, "ymin": 40, "xmax": 160, "ymax": 200}}]
    (tmp_path / "d.json").write_text(json.dumps(detections))
    result = run("mark", image, "-d", tmp_path / "d.json", "-o", tmp_path / "a\x1b[2J\u202eb.png")
    assert result.returncode == 0, result.stderr
    assert r"cat\u001b[2J\u202e[red]x\nr2: :smile: 0.90" in result.stderr
    assert r"a\x1b[2J\u202eb.png" in result.stdout
    failed = run_process("ask", image, "What?", "-b", "10,10,90,90", "-m", "no/\x1b[2J\u202e[red]such")
    for text in (result.stdout, result.stderr, failed.stdout, failed.stderr):
        assert not {"\x1b", "\u202e"} & set(text)
    tiny = run("mark", image, "-b", "10,10,14,14", "-k", "\x1b[2J\n\u202e", cwd=tmp_path)
    assert len(tiny.stderr.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(tiny.stderr)


def test_questions_cannot_control_the_terminal(image, tiny_checkpoint):
    result = run(
        "ask", image, "What\x1b[2J\u202e is {0}?", "-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6
    )
    assert r"What\x1b[2J\u202e is the object within the red rectangle?" in result.stderr
    assert not {"\x1b", "\u202e"} & set(result.stdout + result.stderr)
