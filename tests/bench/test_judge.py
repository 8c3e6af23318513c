"""The judge and its scores, compared with the arithmetic of the official evaluator on recorded answers of a judge."""

from __future__ import annotations

import csv
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.grades import GradeFiles, Grades
from langchain_vipllava.bench.item import Answered, Item
from langchain_vipllava.bench.judge import Judge
from langchain_vipllava.bench.judge_shots import SHOTS
from langchain_vipllava.bench.presence import share_present
from langchain_vipllava.bench.scores import Scores
from langchain_vipllava.bench.vip_bench import VipBench
from langchain_vipllava.errors import BenchmarkError


class Recorded:
    """A judge that says what was recorded, and records what it is asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def invoke(self, prompt, **settings):
        self.asked.append((prompt, settings))
        return AIMessage(self.replies.pop(0), response_metadata={"model_name": "gpt-4-0613"})


def grade(*replies):
    recorded = Recorded(*replies)
    given = Judge(recorded, "judge").grade("What is within the red ellipse?", "What is <obj>?", "a<AND>b<OR>c", "A.")
    return given, recorded.asked


def test_the_judge_completes_the_last_row_of_a_table():
    given, [(prompt, settings)] = grade("0.5")
    assert (given.score, given.content, given.model, given.is_number) == (0.5, "0.5", "gpt-4-0613", True)
    assert settings == {"temperature": 0.0, "max_tokens": 3}
    assert prompt == f"{SHOTS}\nWhat is within the red ellipse? | a <AND> b <OR> c | A. | "
    table = SHOTS.split("\n\n")[1].strip().split("\n")
    assert table[0] == "Question | Ground truth | Prediction | Correctness"
    assert all(len(row.split(" | ")) == 4 for row in table)
    assert all(0 <= float(row.split(" | ")[3]) <= 1 for row in table[2:])


@pytest.mark.parametrize("nonsense", ["The", "1.5", "-0.1", "", "nan", "0.5."])
def test_what_is_no_grade_is_asked_again_hotter_and_is_0_at_the_sixth(nonsense):
    given, asked = grade(nonsense, "0.8 of")
    assert (given.score, given.content) == (0.8, "0.8")
    assert asked[1][0].endswith(
        "What is <obj>? | a <AND> b <OR> c | A. | \nPredict the correctness of the answer (digit): "
    )
    given, asked = grade(*[nonsense] * 5, "1.0")
    assert (given.score, given.content, given.is_number) == (0.0, "1.0", False)  # the sixth is not read
    assert [settings["temperature"] for _, settings in asked] == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0]


def test_a_judge_that_refuses_temperatures_above_1_is_asked_at_1():
    asked = []

    def invoke(prompt, *, temperature, max_tokens):
        asked.append(temperature)
        if temperature > 1:
            raise ValueError("temperature: must be at most 1")
        return AIMessage("The answer is right.")

    given = Judge(SimpleNamespace(invoke=invoke), "judge").grade("q", "q", "t", "p")
    assert (given.score, given.is_number) == (0.0, False)
    assert asked == [0.0, 0.0, 0.5, 1.0, 1.5, 1.0, 2.0, 1.0]


def test_grades_are_kept_while_the_first_one_is_waited_for(sets):
    files, answered = _files(sets, runs=1), _answered(sets)
    others_are_kept = threading.Event()

    def invoke(prompt, **settings):
        if "question 0 |" in prompt:
            assert others_are_kept.wait(60)
        return AIMessage("1.0")

    kept = []

    def on_grade():
        kept.append(list(json.loads(files.path("grade", ".json").read_text())))
        if len(kept) == 11:
            others_are_kept.set()

    Grades(files, answered).collect(Judge(SimpleNamespace(invoke=invoke), "judge"), on_grade)
    assert kept[10] == [f"v1_{number}" for number in range(1, 12)]
    assert kept[11] == [f"v1_{number}" for number in range(12)]  # in the order of the questions


def test_any_chat_model_of_langchain_judges():
    judge = Judge(GenericFakeChatModel(messages=iter([AIMessage([{"type": "text", "text": "1.0"}])])), "fake")
    assert judge.grade("q", "q", "t", "p").score == 1.0


def test_a_judge_that_fails_is_an_error_of_ours_and_keeps_the_grades(sets):
    files, answered = _files(sets, runs=1), _answered(sets)
    recorded = Recorded(*["1.0"] * 20)
    with pytest.raises(BenchmarkError, match="the judge 'judge': RuntimeError: 429 too many"):
        Grades(files, answered).collect(Judge(SimpleNamespace(invoke=_limited(recorded, 5)), "judge"))
    kept = json.loads(files.path("grade", ".json").read_text())
    assert 1 <= len(kept) <= 5
    Grades(files, answered).collect(Judge(recorded, "judge"))
    assert len(json.loads(files.path("grade", ".json").read_text())) == 12
    asked = len(recorded.asked)
    assert Grades(files, answered).collect(Judge(recorded, "judge")) == 0
    assert len(recorded.asked) == asked  # none a second time


def test_a_changed_answer_is_graded_again(sets):
    files, answered = _files(sets, runs=2), _answered(sets)
    Grades(files, answered).collect(Judge(Recorded(*["1.0"] * 24), "judge"))
    answered[3] = Answered(answered[3].item, answered[3].prompt, "Another answer.")
    recorded = Recorded("0.0", "0.2")
    Grades(files, answered).collect(Judge(recorded, "judge"))
    assert len(recorded.asked) == 2
    assert Grades(files, answered).scores().total.runs == pytest.approx((100 * 11 / 12, 100 * 11.2 / 12))


RECORDED = {  # grades of three runs, by question
    "v1_0": ([1.0, 1.0, 0.9], ["rec"]),
    "v1_1": ([0.0, 0.1, 0.0], ["ocr", "math"]),
    "v1_2": ([0.5, 0.5, 0.7], ["rec", "know"]),
    "v1_3": ([0.3, 0.0, 0.4], ["math", "ocr"]),
    "v1_4": ([1.0, 1.0, 1.0], ["rec"]),
}


def test_scores_are_those_of_the_official_evaluator(tmp_path):
    items = [Item(number, ("q",), "t", lambda: None, groups=tuple(caps), row={"key": key, "question": "q"})
             for number, (key, (_, caps)) in enumerate(RECORDED.items())]  # fmt: skip
    files = GradeFiles(Outputs(tmp_path, "vip"), "bbox", "gpt-4", 3)
    path = files.path("grade", ".json")
    path.parent.mkdir()
    # as the official evaluator writes it
    entries = {key: {"model": ["g"] * 3, "content": [str(s) for s in scores], "score": scores}
               for key, (scores, _) in RECORDED.items()}  # fmt: skip
    path.write_text(json.dumps(entries, indent=4))
    grades = Grades(files, [Answered(item, "q", "a") for item in items])
    grades.collect(Judge(Recorded(), "gpt-4"))  # nothing is missing
    assert [file.name for file in grades.write()] == [
        "vip-bbox_gpt-4-cap-score-3runs.csv", "vip-bbox_gpt-4-cap-int-score-3runs.csv",
    ]  # fmt: skip
    # what the official vip-bench_evaluator.py (commit e8f1ff2) wrote for this file of grades; pandas wrote its floats
    rows = [list(csv.reader((path.parent / f"vip-bbox_gpt-4-{what}-3runs.csv").open()))
            for what in ("cap-score", "cap-int-score")]  # fmt: skip
    assert rows[0] == [
        ["", "rec", "ocr", "math", "know", "total", "std", "runs"],
        ["vip", "84.4", "13.3", "13.3", "56.7", "56.0", "3.3", "[56.0, 52.0, 60.0]"],
    ]
    assert dict(zip(*rows[1], strict=True)) == {
        "": "vip", "rec": "98.3", "ocr_math": "13.3", "rec_know": "56.7", "total": "56.0", "std": "3.3",
        "runs": "[56.0, 52.0, 60.0]",
    }  # fmt: skip


def test_scores_per_capability_have_their_own_spread():
    runs = np.array([scores for scores, caps in RECORDED.values() if "rec" in caps]).mean(axis=0) * 100
    graded = [(caps, scores) for scores, caps in RECORDED.values()]
    rec = Scores.of(graded).groups[0]
    assert (rec.group, rec.count) == ("rec", 3)
    assert rec.runs == pytest.approx(tuple(runs))
    assert (rec.mean, rec.spread) == pytest.approx((runs.mean(), runs.std()))
    assert "rec           3   84.4     1.6" in Scores.of(graded).table("grade")


@pytest.mark.parametrize(
    ("truth", "said", "share"),
    [
        ("red", "It is RED.", 1), ("red", "It is covered.", 0), ("-1<AND>-5", "x = -1", 0.5),
        ("a cat<AND>a dog<AND>a cow", "A dog and a cat.", 2 / 3), ("3.65<OR>$3.65", "It costs $3.65.", 1),
        ("4<AND>5<OR>9", "nine, or 9", 1), ("", "anything", 0), ("11-22", "11-22", 1), ("11-22", "11", 0),
    ],
)  # fmt: skip
def test_the_share_of_a_truth_that_an_answer_has(truth, said, share):
    assert share_present(truth, said) == pytest.approx(share)


def _files(sets, runs):
    return GradeFiles(Outputs(sets / "vip-bench", "m"), "bbox", "judge", runs)


def _answered(sets):
    items = VipBench(Data(sets / "vip-bench")).items()
    return [Answered(item.without_image(), f"question {item.id}", "A red star.") for item in items]


def _limited(recorded, calls):
    def invoke(prompt, **settings):
        if len(recorded.asked) >= calls:
            raise RuntimeError("429 too many requests")
        return recorded.invoke(prompt, **settings)

    return invoke
