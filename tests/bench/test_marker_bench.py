"""`bench markers`: one question in every look, on scenes whose answers are known."""

from __future__ import annotations

import asyncio
import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks import vote
from benchmarks.hard_scenes import write_set
from langchain_vipllava import Region, mark
from langchain_vipllava.bench.answer_log import AnswerLog
from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.item import Marking
from langchain_vipllava.bench.marker_bench import MarkerBench, MarkerLook, MarkerLooks
from langchain_vipllava.bench.runner import RunSettings, run_benchmark
from langchain_vipllava.errors import BenchmarkError, MarkerError
from langchain_vipllava.markers.kinds import COLORS, KINDS
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest
from tests.support.command_line import run

GRAY = (120, 120, 120)


class ColorSeer:
    """A fake model whose perception is known: it answers rightly where some pixel has just the color of the marker."""

    name = "seer"

    def generate(self, request, *, timeout=None):
        turn = request.conversation.turns[-1]
        color = re.search(rf"the ({'|'.join(COLORS)}) ", turn.question)[1]
        sees = (np.asarray(turn.images[0].decode()) == COLORS[color]).all(axis=2).any()
        return Answer("a RED square" if sees else "Nothing.", 1, 1, "stop")


@pytest.fixture
def folder(tmp_path):
    """Four questions about two gray squares on a gray ground."""
    Image.new("RGB", (336, 336), GRAY).save(tmp_path / "gray.png")
    regions = [{"box": [100, 100, 200, 200]}, {"polygon": [[220, 220], [300, 220], [300, 300]]}]
    row = {"image": "gray.png", "regions": regions, "question": "What is {0}, and {1}?", "answer": "A red square."}
    rows = [{**row, "group": f"g{index % 2}"} for index in range(4)]
    (tmp_path / "markers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def answer(folder, looks, backend):
    benchmark, outputs = MarkerBench(Data(folder), looks), Outputs(folder, "m")
    settings = RunSettings(ChatRequest(Conversation(())), benchmark.marking, batch=1)
    with AnswerLog(benchmark.answers_file(outputs), "m", {}) as log:
        answered = run_benchmark(benchmark, backend, settings, log)
    return benchmark, answered, outputs


def test_every_combination_is_a_look_but_that_masks_have_no_width():
    looks = list(MarkerLooks())
    assert len(looks) == 7 * 9 * 3 * 3 + 9 * 3
    assert len({str(look) for look in looks}) == len(looks)


def test_a_look_is_drawn_as_mark_draws_it(folder):
    regions = [Region(box=(100, 100, 200, 200)), Region(polygon=[(220, 220), (300, 220), (300, 300)])]
    looks = MarkerLooks(("arrow", "point", "mask"), ("gold",), (6.0,), (0.5,), per_look=1)
    expected = {
        "arrow": mark(
            Image.new("RGB", (336, 336), GRAY), regions, kind="arrow", color=["gold", None], width=6, opacity=0.5
        ),
        "point": mark(
            Image.new("RGB", (336, 336), GRAY), regions, kind="point", color=["gold", None], radius=16, opacity=0.5
        ),
        "mask": mark(Image.new("RGB", (336, 336), GRAY), regions, kind="mask", color=["gold", None], opacity=64 / 255),
    }
    items = list(MarkerBench(Data(folder), looks).items())
    for item, (kind, marked) in zip(items, expected.items(), strict=True):
        posed = item.pose(Marking("ellipse"))
        assert posed.prompt == f"What is {marked.phrases[0]}, and {marked.phrases[1]}?"
        assert np.array_equal(posed.image.decode(), marked.image), kind


def test_the_tables_say_what_the_model_perceives(folder):
    looks = MarkerLooks(("rectangle", "mask"), ("red", "blue"), (1.0, 4.0), (0.4, 1.0), per_look=3)
    benchmark, answered, outputs = answer(folder, looks, ColorSeer())
    assert len(answered) == benchmark.count() == (2 * 2 * 2 + 2 * 2) * 3
    scores = {each.group: each.mean for each in benchmark.score(answered).groups}
    assert (scores["opacity 0.4"], scores["kind mask"], scores["kind rectangle"]) == (0, 0, 50)  # a mask is half clear
    assert list(scores)[:4] == ["kind rectangle", "kind mask", "color red", "color blue"]
    assert {"group g0", "group g1", "total"} < set(scores)
    table, tables = benchmark.write(answered, outputs)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {(row["kind"], row["opacity"]): row["right"] for row in rows} == {
        ("rectangle", "0.4"): "0", ("rectangle", "1"): "3", ("mask", "0.4"): "0", ("mask", "1"): "0",
    }  # fmt: skip
    assert tables.read_text().split("\n\n")[2].strip().splitlines() == [
        "| opacity | 0.4 | 1 | all |",
        "|---|---|---|---|",
        "| rectangle | 0.0 | 100.0 | 50.0 |",
        "| mask | 0.0 | 0.0 | 0.0 |",
        "| all | 0.0 | 66.7 | 33.3 |",
    ]


def test_a_run_goes_on_where_it_was(folder):
    looks = MarkerLooks(("rectangle",), ("red",), (3.0,), (1.0,), per_look=4)

    class Failing(ColorSeer):
        left = 2

        def generate(self, request, *, timeout=None):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("killed")
            return super().generate(request, timeout=timeout)

    with pytest.raises(RuntimeError, match="killed"):
        answer(folder, looks, Failing())
    kept = (folder / "answers" / "m_markers.jsonl").read_text().splitlines()
    assert len(kept) == 2
    _, answered, _ = answer(folder, looks, ColorSeer())
    assert [each.text for each in answered] == ["a RED square"] * 4
    assert (folder / "answers" / "m_markers.jsonl").read_text().splitlines()[:2] == kept


@pytest.mark.parametrize(
    ("change", "error_text"),
    [
        ({"regions": []}, "has 0 regions"),
        ({"regions": [{"box": [1, 2, 3]}]}, "cannot be read"),
        ({"regions": [{"box": [0, 0, 9, 9]}] * 10}, "has 10 regions"),
        ({"question": "What is {2}?"}, r"\{2\} in line 1"),
        ({"question": 5}, "'question'"),
        ({"answer": None}, "'answer'"),
    ],
)
def test_a_damaged_question_is_named(folder, change, error_text):
    first, *rest = (folder / "markers.jsonl").read_text().splitlines()
    (folder / "markers.jsonl").write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]))
    with pytest.raises(BenchmarkError, match=error_text) as caught:
        MarkerBench(Data(folder), MarkerLooks()).count()
    assert len(str(caught.value)) < 400


def test_wrong_looks_are_refused():
    with pytest.raises(MarkerError, match="opacity"):
        MarkerLooks(opacities=(1.5,))
    with pytest.raises(MarkerError, match="width"):
        MarkerLooks(widths=(-1.0,))
    with pytest.raises(BenchmarkError, match="at least 1"):
        MarkerLooks(per_look=0)
    assert str(MarkerLook("arrow", "red", 1.5, 1.0)) == "red arrow, 1.5 px, 1"


def test_the_command_runs_on_scenes_of_the_bundled_world(tmp_path):
    write_set(tmp_path, 3, seed=5)
    looks = (
        "--kind",
        "ellipse",
        "--kind",
        "Mask",
        "--color",
        "red",
        "--width",
        "3",
        "--opacity",
        "1",
        "--per-look",
        "6",
    )
    first = run("bench", "markers", "--data", tmp_path, *looks)
    assert first.returncode == 0, first.stderr
    rows = dict(re.findall(r"^(kind \w+|total) +(\d+) ", first.stdout, re.MULTILINE))
    assert rows == {"kind ellipse": "6", "kind mask": "6", "total": "12"}
    again = run("bench", "markers", "--data", tmp_path, *looks)
    assert again.stdout == first.stdout
    assert "bundled_markers.jsonl has 12" in again.stderr
    wrong = run("bench", "markers", "--data", tmp_path, "--kind", "box")
    assert wrong.returncode == 1
    assert "unknown marker kind 'box'" in wrong.stderr


def test_the_vote_is_measured_on_hard_scenes():
    asked = asyncio.run(vote.measure(seed=11, count=1))
    assert [each.difficulty for each in asked] == ["small", "overlapping", "low contrast"]
    assert all(set(each.by_kind) == set(KINDS) and len(each.by_color) == 5 for each in asked)
    lines = vote.table(asked).splitlines()
    assert len(lines) == 2 + 8 + 3
    assert "standard error" in vote.comparison(asked)
    right = np.mean([each.is_right(["ellipse"]) for each in asked])
    assert f"| {right:.1%} |" in lines[3]
