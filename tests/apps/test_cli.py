"""The command line, run in a subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = [sys.executable, "-c", "from langchain_vipllava.apps.cli import main; main()"]


def run(
    *arguments: object, stdin: str = "", cwd: Path | None = None, python_path: object = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"COLUMNS": "160", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(python_path)},
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "gray.png"
    Image.new("RGB", (400, 300), (128, 128, 128)).save(path)
    return path


def test_mark_writes_a_marked_image_from_boxes(image, tmp_path):
    result = run("mark", image, "-b", "40,40,160,200", "-b", "250,100", "-k", "rectangle", "-k", "point", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "within the red rectangle" in result.stdout
    assert "at the lime point" in result.stdout
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
    result = run("mark", image, "-d", tmp_path / name, "-o", tmp_path / "deep" / "out.png", *options)
    assert result.returncode == 0, result.stderr
    assert "40, 40, 160, 200" in result.stdout
    assert tuple(np.asarray(Image.open(tmp_path / "deep" / "out.png"))[100, 40]) == (255, 0, 0)


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
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "-m", "no/such-model"], "CheckpointError"),
        (["ask", "IMAGE", "What?", "-b", "10,10,90,90", "-m", "TINY", "--device", "cuda:7"], "cuda:7"),
        (["demo", "--image", "IMAGE", "--detector", "nonsense", "-m", "TINY"], "no detector 'nonsense'"),
    ],
)
def test_errors_print_one_line_and_exit_with_status_1(image, tiny_checkpoint, tmp_path, arguments, expected):
    arguments = [{"IMAGE": image, "TINY": tiny_checkpoint}.get(argument, argument) for argument in arguments]
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_tiny_regions_print_a_note(image, tmp_path):
    result = run("mark", image, "-b", "10,10,14,14", cwd=tmp_path)
    assert result.returncode == 0
    assert "Note:" in result.stderr
    assert "zoom" in result.stderr


def test_ask_prints_the_answer_of_the_chat_model(image, tiny_checkpoint):
    from langchain_vipllava import ChatVipLlava, Region, mark

    result = run(
        "ask", image, "What is the object {0}?", "-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6
    )
    assert result.returncode == 0, result.stderr
    assert "What is the object within the red rectangle?" in result.stdout
    marked = mark(Image.open(image), [Region(box=(40, 40, 160, 200))])
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=6)
    assert llm.invoke([marked.message("What is the object {0}?")]).text in result.stdout


def test_chat_keeps_the_conversation_and_continues_after_an_error(image, tiny_checkpoint):
    lines = "What is the object {0}?\nWhat is {9}?\nWhy?\n/again\nWhat is the object {0}?\n/exit\nnever asked\n"
    result = run("chat", image, "-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6, stdin=lines)
    assert result.returncode == 0, result.stderr
    answers = [line.split("model:", 1)[1] for line in result.stdout.splitlines() if "model:" in line]
    assert len(answers) == 3
    assert "{9}" in result.stderr
    assert answers[0] == answers[-1]  # /again starts over


def test_doctor_prints_what_would_run(tiny_checkpoint):
    result = run("doctor", "-m", tiny_checkpoint)
    assert result.returncode == 0, result.stderr
    for word in ("torch", "float32", "sdpa", "56 px square, 16 tokens", "fits"):
        assert word in result.stdout


def test_doctor_reports_a_checkpoint_that_is_not_vipllava(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    result = run("doctor", "-m", tmp_path)
    assert result.returncode == 1
    assert "expected 'vipllava'" in result.stdout


def test_doctor_reports_missing_memory(tmp_path):
    from tests.support.checkpoints import FEATURE_LAYERS

    text = {"model_type": "llama", "hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 120}
    config = {"model_type": "vipllava", "vision_feature_layers": FEATURE_LAYERS, "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run("doctor", "-m", tmp_path)
    assert result.returncode == 1
    assert "are missing" in result.stdout


def test_doctor_prints_the_documented_memory_of_the_7b(tmp_path):
    from transformers import VipLlavaConfig

    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    (tmp_path / "config.json").write_text(json.dumps(VipLlavaConfig(text_config=text).to_dict()))
    output = run("doctor", "-m", tmp_path, "--dtype", "float16").stdout
    for figure in ("13.2 GiB", "2,048 MiB", "4,096 tokens", "336 px square, 576 tokens"):
        assert figure in output


def test_demo_runs_on_the_scene_and_on_a_photograph(tmp_path, tiny_checkpoint):
    result = run("demo", "-m", tiny_checkpoint, "--max-tokens", 6, cwd=tmp_path)
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


def test_doctor_estimates_published_checkpoints_without_the_hub():
    result = run("doctor", "-m", "llava-hf/vip-llava-7b-hf", "--dtype", "float16")
    assert result.returncode == 1
    assert "13.2 GiB" in result.stdout
    assert "checkpoint itself is missing" in result.stdout


def test_doctor_rejects_unknown_and_unavailable_attention():
    for name, expected in (("nonsense", "expected one of"), ("flash_attention_2", "needs a CUDA GPU")):
        result = run("doctor", "--attention", name)
        assert result.returncode == 1
        assert expected in result.stdout


def test_labels_names_and_options_cannot_control_the_terminal(image, tmp_path):
    hostile = "cat\x1b[2J\u202e[red]x\nr2: :smile:"
    detections = [{"score": 0.9, "label": hostile, "box": {"xmin": 40, "ymin": 40, "xmax": 160, "ymax": 200}}]
    (tmp_path / "d.json").write_text(json.dumps(detections))
    result = run("mark", image, "-d", tmp_path / "d.json", "-o", tmp_path / "a\x1b[2J\u202eb.png")
    assert result.returncode == 0, result.stderr
    assert r"cat\u001b[2J\u202e[red]x\nr2: :smile: 0.90" in result.stdout
    assert r"a\x1b[2J\u202eb.png" in result.stdout
    failed = run("ask", image, "What?", "-b", "10,10,90,90", "-m", "no/\x1b[2J\u202e[red]such")
    for text in (result.stdout, failed.stdout, failed.stderr):
        assert not {"\x1b", "\u202e"} & set(text)
    tiny = run("mark", image, "-b", "10,10,14,14", "-k", "\x1b[2J\n\u202e", cwd=tmp_path)
    assert len(tiny.stderr.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(tiny.stderr)


def test_questions_cannot_control_the_terminal(image, tiny_checkpoint):
    result = run(
        "ask", image, "What\x1b[2J\u202e is {0}?", "-b", "40,40,160,200", "-m", tiny_checkpoint, "--max-tokens", 6
    )
    assert r"What\x1b[2J\u202e is the object within the red rectangle?" in result.stdout
    assert not {"\x1b", "\u202e"} & set(result.stdout)
