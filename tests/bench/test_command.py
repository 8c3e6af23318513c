"""`langchain-vipllava bench`, with a model of this process and a served one."""

from __future__ import annotations

import json

import pytest

from langchain_vipllava.backends import served
from tests.support.command_line import run
from tests.support.model_server import ModelServer, fails

JUDGE = '''
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Strict(BaseChatModel):
    """Grades 1.0 where the prediction begins with the truth."""

    def _generate(self, messages, stop=None, run_manager=None, **settings):
        assert settings["max_tokens"] == 3
        _, truth, prediction, _ = messages[-1].text.rsplit("\\n", 1)[1].split(" | ")
        grade = "1.0" if prediction.startswith(truth.split(" <OR> ")[0]) else "0.0"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(grade))])

    @property
    def _llm_type(self):
        return "strict"


strict = Strict()
'''


@pytest.fixture
def server(bundled):
    served._clients.clear()
    with ModelServer(bundled.runner) as server:
        yield server


def test_a_served_model_is_run_as_one_of_this_process_and_an_outage_is_gone_on_from(sets, server, monkeypatch):
    monkeypatch.setattr(served, "MAX_RETRIES", 0, raising=False)
    data = sets / "gar-bench"
    local = run("bench", "gar-bench", "--data", data, "--answers", "option", "--name", "local")
    assert local.returncode == 0, local.stderr
    arguments = ("bench", "gar-bench", "--data", data, "--answers", "option", "--base-url", server.base_url)
    server.faults.extend([None] * 5 + [fails(401)] * 40)
    down = run(*arguments, "--batch", 2)
    assert down.returncode == 1
    assert down.stderr.strip().splitlines()[-1].startswith("ServerError: ")
    before = len((data / "answers" / "bundled_vqa.jsonl").read_text().splitlines())
    assert 1 <= before <= 6
    server.faults.clear()
    done = run(*arguments, "--batch", 2)
    assert (done.returncode, done.stdout) == (0, local.stdout), done.stderr
    assert f"bundled_vqa.jsonl has {before} answers." in done.stderr.replace("answer.", "answers.")
    written = [json.loads((data / "model_outputs" / f"{name}_vqa.json").read_text()) for name in ("local", "bundled")]
    assert written[0] == written[1]


def test_a_judge_of_the_program_grades_and_the_official_tables_are_written(sets, tmp_path):
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "__init__.py").touch()
    (tmp_path / "judges" / "mine.py").write_text(JUDGE)
    judged = ("--judge", "judges.mine:strict", "--runs", 2)
    out = tmp_path / "out"
    done = run("bench", "vip-bench", "--data", sets / "vip-bench", "--out", out, *judged, python_path=tmp_path)
    assert done.returncode == 0, done.stderr
    head, *_, total = [line.split() for line in done.stdout.splitlines()]
    assert head == ["category", "items", "graded", "by", "judges.mine:strict", "spread"]
    assert total == ["total", "12", "100.0", "0.0"]
    stem = out / "results" / "bundled-bbox_judges.mine_strict-cap-score-2runs.csv"
    assert stem.read_text().splitlines()[1].startswith("bundled,100.0,")
    again = run(
        "bench", "vip-bench", "--data", sets / "vip-bench", "--out", out, *judged, "--json", python_path=tmp_path
    )
    record = json.loads(again.stdout)
    assert record["scores"]["total"] == {"items": 12, "score": 100.0, "spread": 0.0, "runs": [100.0, 100.0]}
    assert (record["questions"], record["unanswered"], len(record["files"])) == (12, 0, 3)


def test_markers_of_another_kind_are_asked_for_by_their_name(sets):
    data = sets / "vip-bench"
    done = run("bench", "vip-bench", "--data", data, "--split", "source", "--kind", "ellipse", "--limit", 4)
    assert done.returncode == 0, done.stderr
    prompts = [
        json.loads(line)["prompt"] for line in (data / "answers" / "bundled-source.jsonl").read_text().splitlines()
    ]
    assert len(prompts) == 4
    assert all(" ellipse" in prompt and "<obj" not in prompt for prompt in prompts)
    changed = run("bench", "vip-bench", "--data", data, "--split", "source", "--kind", "arrow")
    assert changed.returncode == 1
    assert "has 4 answers with --kind ellipse, now --kind arrow" in changed.stderr
    assert "--restart" in changed.stderr


def test_a_question_without_its_image_is_told_at_the_end_and_tried_again(sets):
    data = sets / "visual7w"
    image = data / "visual7w" / "images" / "v7w_3.png"
    content = image.read_bytes()
    image.unlink()
    done = run("bench", "visual7w", "--data", data)
    assert done.returncode == 1
    assert "1 question could not be asked" in done.stderr
    assert "v7w-3: ImageError" in done.stderr
    assert len((data / "results" / "v7w-test-bundled.json").read_text().splitlines()) == 12
    image.write_bytes(content)
    again = run("bench", "visual7w", "--data", data)
    assert again.returncode == 0, again.stderr
    assert "has 11 answers." in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vip-bench", "--data", "none"), "BenchmarkError: there is no folder 'none'"),
        (
            ("vip-bench", "--data", ".", "--split", "test"),
            "BenchmarkError: --split 'test'; expected bbox, human or source",
        ),
        (("vip-bench", "--data", ".", "--kind", "arrow"), "--kind beside --split bbox"),
        (("vip-bench", "--data", ".", "--runs", 3), "--runs without --judge"),
        (("vip-bench", "--data", ".", "--judge", "no.such:judge"), "cannot import the judge 'no.such:judge'"),
        (("vip-bench", "--data", ".", "--judge", "nobody:judge"), "--judge 'nobody:judge': "),
        (("gar-bench", "--data", "gar-bench", "--answers", "words"), "--answers 'words'; expected letter or option"),
        (("gar-bench", "--data", "gar-bench", "--kind", "star"), "unknown marker kind 'star'"),
        (("gar-bench", "--data", "gar-bench", "--batch", 0), "--batch 0; expected"),
        (("gar-bench", "--data", "gar-bench", "--name", "../x"), "--name '../x'; expected a plain name"),
        (
            ("gar-bench", "--data", "gar-bench", "--device", "cpu", "--base-url", "http://x"),
            "--device beside --base-url",
        ),
        (("vp-bench", "--data", "gar-bench"), "has no vp_bench_stage_1.tsv"),
    ],
)
def test_a_wrong_use_is_one_line_in_the_words_of_the_command_line(sets, arguments, message):
    done = run("bench", *arguments, cwd=sets)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert message in line
    assert len(line) < 400


def test_a_terminal_shows_a_bar_and_a_log_a_line_for_every_tenth(sets, monkeypatch):
    arguments = ("bench", "gar-bench", "--data", sets / "gar-bench")
    logged = run(*arguments, "--limit", 4)
    assert logged.stderr.count(" of 4 answered") == 4
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    shown = run(*arguments)
    assert "12/12" in shown.stderr
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown.stderr
    assert " of 12 answered" not in shown.stderr
    assert run(*arguments, "--quiet").stderr == ""
