"""A run goes on where it was: after a kill, after a failure, and never with answers of other settings."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from langchain_vipllava import Region
from langchain_vipllava.bench.answer_log import AnswerLog
from langchain_vipllava.bench.item import Item
from langchain_vipllava.bench.visual7w import Visual7W
from langchain_vipllava.errors import BenchmarkError, GenerationError
from tests.bench.test_sets import Data, GarBench, Outputs, VipBench, answer
from tests.support.command_line import CODE, environment, run
from tests.support.echo import EchoBackend

KILLED = f"""
import os, signal
from langchain_vipllava.bench.answer_log import AnswerLog
add = AnswerLog.add
def add_or_die(log, answered):
    if len(log) == 5:
        log._file.write(b'{{"question_id": 7, "prompt": "What is')  # cut in the middle of a line
        log._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    add(log, answered)
AnswerLog.add = add_or_die
{CODE}
"""


def test_a_run_that_is_killed_goes_on_and_writes_what_a_whole_run_writes(sets):
    data = sets / "vip-bench"
    arguments = ("bench", "vip-bench", "--data", str(data), "--name", "killed")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, timeout=300, check=False, env=environment()
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    log = data / "answers" / "killed-bbox.jsonl"
    before = log.read_bytes().split(b"\n")
    assert len(before) == 6
    assert not (data / "results").exists()
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "12 questions; " in done.stderr
    assert "killed-bbox.jsonl has 5 answers." in done.stderr
    lines = log.read_bytes().split(b"\n")
    assert lines[:5] == before[:5]
    assert sorted(json.loads(line)["question_id"] for line in lines[:-1]) == list(range(12))
    whole = run("bench", "vip-bench", "--data", data, "--name", "whole")
    assert "whole-bbox.jsonl has 0 answers." in whole.stderr
    assert whole.stdout == done.stdout
    results = [json.loads((data / "results" / f"{name}-bbox.json").read_text()) for name in ("killed", "whole")]
    assert results[0] == results[1]


def test_a_model_that_fails_ends_the_run_and_keeps_the_answers(sets):
    class Failing(EchoBackend):
        left = 4

        def generate(self, request, *, timeout=None):
            if not self.left:
                raise GenerationError("out of memory.")
            self.left -= 1
            return super().generate(request)

    outputs = Outputs(sets, "m")
    with pytest.raises(GenerationError, match="out of memory"):
        answer(GarBench(Data(sets / "gar-bench")), Failing(), outputs, batch=1)
    asked = []

    class Counting(EchoBackend):
        def generate(self, request, *, timeout=None):
            asked.append(request)
            return super().generate(request)

    answered = answer(GarBench(Data(sets / "gar-bench")), Counting(), outputs)
    assert (len(asked), len(answered)) == (8, 12)


def test_a_full_disk_is_an_error_of_ours_and_the_run_goes_on(sets):
    arguments = ["bench", "vip-bench", "--data", str(sets / "vip-bench")]
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))\n"
    full = subprocess.run(
        [sys.executable, "-c", limit + CODE, *arguments],
        capture_output=True, text=True, timeout=300, check=False, env=environment(),
    )  # fmt: skip
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert "BenchmarkError: cannot write" in full.stderr
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "bundled-bbox.jsonl has 0 answers" not in done.stderr
    answers = (sets / "vip-bench" / "answers" / "bundled-bbox.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["question_id"] for line in answers) == list(range(12))


def test_answers_that_come_while_a_run_ends_are_kept(sets, monkeypatch):
    ending = threading.Event()
    cancel = Future.cancel
    monkeypatch.setattr(Future, "cancel", lambda future: ending.set() or cancel(future))

    class OneFails(EchoBackend):
        numbers = itertools.count()

        def generate(self, request, *, timeout=None):
            if next(self.numbers) == 1:
                raise GenerationError("out of memory.")
            assert ending.wait(60)
            return super().generate(request)

    benchmark, outputs = GarBench(Data(sets / "gar-bench")), Outputs(sets, "m")
    with pytest.raises(GenerationError, match="out of memory"):
        answer(benchmark, OneFails(), outputs, batch=2)
    assert benchmark.answers_file(outputs).read_text().count("\n") >= 1


def test_another_mask_in_the_same_box_is_another_question():
    masks = [np.ones((8, 8), dtype=bool), np.eye(8, dtype=bool)]
    items = [Item(0, ("Is ", 0, "?"), "A", lambda: None, (Region(mask=mask),)) for mask in masks]
    assert items[0].digest != items[1].digest


def test_answers_of_other_settings_are_refused(sets):
    benchmark, outputs = VipBench(Data(sets / "vip-bench")), Outputs(sets / "vip-bench", "m")
    answer(benchmark, EchoBackend(), outputs)
    path = benchmark.answers_file(outputs)
    settings = json.loads(path.with_name(f"{path.name}.settings").read_text())
    with pytest.raises(BenchmarkError, match=r"has 12 answers with prompt_format='user_assistant', now .*'llava_v1'"):
        AnswerLog(path, "m", {**settings, "prompt_format": "llava_v1"})
    with AnswerLog(path, "m", {**settings, "prompt_format": "llava_v1"}, restart=True) as log:
        assert len(log) == 0


def test_two_runs_do_not_write_one_file(sets):
    with AnswerLog(sets / "a.jsonl", "m", {}), pytest.raises(BenchmarkError, match="another run writes"):
        AnswerLog(sets / "a.jsonl", "m", {})
    AnswerLog(sets / "a.jsonl", "m", {}).__exit__(None, None, None)


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"question_id": 1, "prompt": "a", "text": 3}\n', b"[1]\n"])
def test_a_damaged_line_is_named(sets, line):
    path = sets / "a.jsonl"
    path.write_bytes(b'{"question_id": 0, "prompt": "a", "text": "b"}\n' + line)
    with pytest.raises(BenchmarkError, match=r"line 2 of a\.jsonl"):
        AnswerLog(path, "m", {})
    assert path.read_bytes().endswith(line)


def test_a_question_that_has_changed_is_asked_again_and_no_other_one(sets):
    outputs = Outputs(sets / "vip-bench", "m")
    answer(VipBench(Data(sets / "vip-bench")), EchoBackend(), outputs)
    questions = sets / "vip-bench" / "bbox" / "questions.jsonl"
    questions.write_text(questions.read_text().replace("What is the object", "What is that object", 1))
    asked = []

    class Recording(EchoBackend):
        def generate(self, request, *, timeout=None):
            asked.append(request.conversation.turns[-1].question)
            return super().generate(request)

    answered = answer(VipBench(Data(sets / "vip-bench")), Recording(), outputs)
    assert len(asked) == 1
    assert asked[0].startswith("What is that object")
    assert [each.text for each in answered].count(asked[0]) == 1


def test_questions_of_one_id_are_told_apart(sets):
    path = sets / "visual7w" / "v7w-test.json"
    rows = [{**row, "id": "v7w-7"} for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    outputs = Outputs(sets, "m")
    first, second = (
        [each.text for each in answer(Visual7W(Data(path)), EchoBackend(), outputs, limit=limit)] for limit in (5, None)
    )
    assert second[:5] == first
    assert [row["question"] in text for row, text in zip(rows, second, strict=True)] == [True] * 12


def test_answers_of_llavas_own_evaluation_are_scored(sets):
    folder = sets / "vip-bench"
    benchmark, outputs = VipBench(Data(folder)), Outputs(folder, "vip-llava-7b")
    path = benchmark.answers_file(outputs)
    path.parent.mkdir()
    meta = json.loads((folder / "vip-bench-meta-data.json").read_text())
    rest = {"prompt": "p", "answer_id": "a", "model_id": "m", "metadata": {}}
    lines = [{"question_id": n, "text": row["answer"].split("<OR>")[0], **rest} for n, row in enumerate(meta.values())]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    class Silent(EchoBackend):
        def generate(self, request, *, timeout=None):
            raise AssertionError

    assert benchmark.score(answer(benchmark, Silent(), outputs)).total.mean == 100
