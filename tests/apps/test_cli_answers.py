"""The command line in scripts: standard input and output, JSON, several questions, saved images."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
from PIL import Image

from langchain_vipllava.apps.assets import SCENE
from tests.support.command_line import COMMAND, environment, run, run_process

BOXES = ("-b", "59,378,164,483", "-b", "206,30,426,250")
QUESTION = "What is the object {0}?"


def test_the_answer_is_alone_on_standard_output_and_quiet_writes_nothing_else():
    result = run_process("ask", SCENE, QUESTION, *BOXES)
    assert (result.returncode, result.stdout) == (0, "A white square.\n")
    assert "Loading" not in result.stderr  # a progress bar, for a moment
    assert "within the red rectangle" in result.stderr
    assert "small bundled checkpoint" in result.stderr
    quiet = run_process("ask", SCENE, QUESTION, *BOXES, "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("A white square.\n", "")


def test_the_image_comes_from_standard_input():
    result = run("ask", "-", QUESTION, *BOXES, "--quiet", stdin=SCENE.read_bytes())
    assert (result.returncode, result.stdout) == (0, "A white square.\n")
    empty = run("ask", "-", QUESTION, *BOXES)
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "standard input is empty; expected the bytes of an image" in empty.stderr


def test_detections_come_from_standard_input_also_as_utf_16(image):
    detections = json.dumps([{"score": 0.9, "label": "c\u00e9", "box": {"xmin": 4, "ymin": 4, "xmax": 99, "ymax": 99}}])
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        result = run("mark", image, "-d", "-", "--json", stdin=detections.encode(encoding))
        assert json.loads(result.stdout)["regions"][0]["label"] == "c\u00e9", result.stderr


def test_questions_come_from_standard_input_and_one_that_is_wrong_does_not_stop_the_others():
    lines = f"{QUESTION}\n\nWhat is the object {{7}}?\nWhat is the object {{1}}?\n"
    result = run("ask", SCENE, "-", *BOXES, stdin=lines)
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["A white square.", "", "A blue circle."]
    assert "{7} names no marker; expected {0} to {1}." in result.stderr
    as_json = run("ask", SCENE, "-", *BOXES, "--json", "--quiet", stdin=lines)
    first, wrong, last = map(json.loads, as_json.stdout.splitlines())
    assert (first["answer"], last["answer"]) == ("A white square.", "A blue circle.")
    assert (wrong["error"], wrong["question"]) == ("MarkerError", "What is the object {7}?")


def test_several_questions_are_answered_each_on_its_own():
    result = run("ask", SCENE, QUESTION, "What color is the object {1}?", *BOXES, "--quiet")
    assert result.stdout.splitlines() == ["A white square.", "Blue."]


def test_a_json_document_says_what_was_asked_of_what():
    result = run("ask", SCENE, QUESTION, *BOXES, "--json", "--quiet")
    record = json.loads(result.stdout)
    assert record.keys() == {
        "question", "asked", "answer", "finish_reason", "input_tokens", "output_tokens", "model", "image", "size",
        "crop", "regions", "saved",
    }  # fmt: skip
    assert record["asked"] == "What is the object within the red rectangle?"
    assert record["size"] == [640, 636]
    assert record["regions"][1] == {
        "index": 1, "id": None, "label": None, "score": None, "box": [206.0, 30.0, 426.0, 250.0], "kind": "rectangle",
        "color": "lime", "number": None, "phrase": "within the lime rectangle", "seen": [71.5, 71.5],
    }  # fmt: skip


def test_a_question_without_regions_is_about_the_whole_image():
    result = run("ask", SCENE, "How many objects are there?", "--json")
    record = json.loads(result.stdout)
    assert (record["answer"], record["regions"]) == ("Four.", [])
    assert "marked" not in result.stderr


def test_a_detector_finds_the_regions_and_the_marked_image_is_saved(tmp_path):
    result = run("ask", SCENE, QUESTION, "--detector", "shapes", "--save", "seen.png", "--numbers", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "{3}" in result.stderr
    assert Image.open(tmp_path / "seen.png").size == (640, 636)
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "seen.png")), np.asarray(Image.open(SCENE)))


def test_the_options_of_a_detector_apply(tmp_path):
    (tmp_path / "mine_scored.py").write_text(
        "def detect(image):\n    return {'scores': [0.9, 0.2], 'labels': ['a', 'b'], "
        "'boxes': [[40, 40, 160, 200], [1, 2, 30, 40]]}\n"
    )
    options = ("--detector", "mine_scored:detect", "--min-score", 0.5, "--json")
    result = run("mark", SCENE, *options, cwd=tmp_path, python_path=tmp_path)
    assert [region["label"] for region in json.loads(result.stdout)["regions"]] == ["a"], result.stderr


def test_mark_writes_a_png_to_standard_output_and_nothing_unless_asked(image, tmp_path):
    done = subprocess.run(
        [*COMMAND, "mark", str(image), "-b", "40,40,160,200", "-o", "-"],
        capture_output=True, check=True, env=environment(), timeout=300, cwd=tmp_path,
    )  # fmt: skip
    (tmp_path / "piped.png").write_bytes(done.stdout)
    assert tuple(np.asarray(Image.open(tmp_path / "piped.png"))[100, 40]) == (255, 0, 0)
    result = run("mark", image, "-b", "40,40,160,200", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    assert "Nothing was written: --out FILE" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["piped.png"]


def test_a_file_that_exists_is_overwritten(image, tmp_path):
    (tmp_path / "out.png").write_bytes(b"old")
    assert run("mark", image, "-b", "40,40,160,200", "-o", "out.png", cwd=tmp_path).returncode == 0
    assert Image.open(tmp_path / "out.png").size == (400, 300)


def test_answers_of_a_temperature_are_repeated_by_their_seed(image, tiny_checkpoint):
    def answer(*options):
        arguments = ("ask", image, "What?", "-m", tiny_checkpoint, "--max-tokens", 12, "--quiet", *options)
        return run(*arguments).stdout

    greedy, warm = answer(), answer("--temperature", 2, "--sampling-seed", 1)
    assert warm != greedy
    assert warm == answer("--temperature", 2, "--sampling-seed", 1)
    assert warm != answer("--temperature", 2, "--sampling-seed", 2)


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    lines = "What is it?\n" * 40
    shell = f"""{COMMAND[0]} -c '{COMMAND[2]}' ask {SCENE} - | head -1; echo "${{PIPESTATUS[0]}}" >&2"""
    done = subprocess.run(
        ["bash", "-c", shell], input=lines, capture_output=True, text=True, timeout=300, check=False, env=environment()
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert done.stderr.splitlines()[-1] == "141"


def test_help_whose_reader_is_gone_ends_quietly(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*COMMAND, "ask", "--help"], stdout=theirs, stderr=subprocess.PIPE, timeout=300, check=False, env=environment()
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")
