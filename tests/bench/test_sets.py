"""Benchmarks in their official layouts: read, answered with the truth of the bundled world, and written."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from langchain_vipllava.bench.answer_log import AnswerLog
from langchain_vipllava.bench.benchmark import Data, Outputs
from langchain_vipllava.bench.gar_bench import GarBench
from langchain_vipllava.bench.item import Answered, Marking
from langchain_vipllava.bench.runner import RunSettings, run_benchmark
from langchain_vipllava.bench.vip_bench import VipBench
from langchain_vipllava.bench.visual7w import Visual7W
from langchain_vipllava.bench.vp_bench import VPBench
from langchain_vipllava.errors import BenchmarkError
from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.chat_request import ChatRequest
from tests.bench.oracle import Oracle
from tests.support.echo import EchoBackend

csv.field_size_limit(sys.maxsize)


def answer(benchmark, backend, outputs, **settings):
    """Answer a benchmark, and return the answers."""
    request = ChatRequest(Conversation(()), max_tokens=24)
    run = RunSettings(request, settings.pop("marking", benchmark.marking), **settings)
    with AnswerLog(benchmark.answers_file(outputs), outputs.model, run.record(backend)) as log:
        return run_benchmark(benchmark, backend, run, log)


@pytest.mark.parametrize("split", ["bbox", "human", "source"])
def test_vip_bench_is_answered_and_written_as_its_evaluation_reads_it(sets, bundled, split):
    folder = sets / "vip-bench"
    benchmark, outputs = VipBench(Data(folder), split), Outputs(folder, "bundled")
    answered = answer(benchmark, bundled, outputs)
    (written,) = benchmark.write(answered, outputs)
    assert written == folder / "results" / f"bundled-{split}.json"
    results = json.loads(written.read_text())
    meta = json.loads((folder / "vip-bench-meta-data.json").read_text())
    assert list(results) == list(meta)
    right = [results[key] in row["answer"].split("<OR>") for key, row in meta.items()]
    assert np.mean(right) >= 0.75
    scores = {each.group: each for each in benchmark.score(answered).groups}
    assert scores["total"].mean == pytest.approx(100 * np.mean(right))
    assert {group: each.count for group, each in scores.items()} == {
        "rec": 12, "rel": sum("rel" in row["capability"] for row in meta.values()), "total": 12,
    }  # fmt: skip


def test_vip_bench_asks_in_the_words_of_its_questions(sets):
    folder = sets / "vip-bench"
    answered = answer(VipBench(Data(folder), "human"), EchoBackend(), Outputs(folder, "echo"))
    rows = [json.loads(line) for line in (folder / "human" / "questions.jsonl").read_text().splitlines()]
    assert [each.prompt for each in answered] == [row["text"] for row in rows]


def test_vip_bench_draws_the_markers_of_source_images_in_the_kind_that_is_asked_for(sets):
    folder = sets / "vip-bench"
    meta = json.loads((folder / "vip-bench-meta-data.json").read_text())
    several = 0
    for item, row in zip(VipBench(Data(folder), "source").items(), meta.values(), strict=True):
        posed = item.pose(Marking("mask"))
        names = re.findall(r"<(obj\d)>", row["question"])
        words = re.escape(re.sub(r"<obj\d>", "#", row["question"])).replace("\\#", r"with the (\w+) mask")
        colors = re.fullmatch(words, posed.prompt).groups()
        shapes = json.loads((folder / "source_image" / row["image_source"]).with_suffix(".json").read_text())["shapes"]
        plain = np.asarray(Image.open(folder / "source_image" / row["image_source"])).astype(int)
        for name, color in zip(names, colors, strict=True):
            (points,) = [shape["points"] for shape in shapes if shape["label"] == name]
            x, y = np.mean(points, axis=0).astype(int)  # every shape has its center inside
            shown = np.asarray(posed.image.decode())[y, x]
            assert np.abs(shown - (plain[y, x] + np.array(COLORS[color])) / 2).max() <= 2
        several += len(names) > 1
    assert several >= 2


def test_vip_bench_that_lacks_a_question_says_which(sets):
    questions = sets / "vip-bench" / "bbox" / "questions.jsonl"
    questions.write_text("".join(questions.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(BenchmarkError, match=r"1 questions of vip-bench-meta-data.json are not in .*v1_0"):
        VipBench(Data(sets / "vip-bench")).count()
    with pytest.raises(BenchmarkError, match=r"no vip-bench-meta-data\.json"):
        VipBench(Data(sets))


def test_gar_bench_shows_the_masks_and_names_their_markers(sets):
    folder = sets / "gar-bench"
    benchmark = GarBench(Data(folder))
    rows = json.loads((folder / "GAR-Bench-VQA.json").read_text())
    for item, row in zip(benchmark.items(), rows, strict=True):
        posed = item.pose(Marking("mask", view_size=112))
        asked = int(row["question"].split("<Prompt")[1][0])
        color = posed.question.split("with the ")[1].split()[0]
        expected = [f"Question: What is the {row['type']} of the object with the {color} mask?", "Options:"]
        expected += [*row["choices"], "Answer with the correct option's letter directly."]
        assert posed.prompt.split("\n") == expected
        # what changed in the image is each mask, half covered with the color that the words name
        plain = np.asarray(Image.open(folder / row["image"])).astype(int)
        shown = np.asarray(posed.image.decode()).astype(int)
        masks = [coco.decode(rle).astype(bool) for rle in row["mask_rles"]]
        assert not (shown != plain).any(axis=2)[~np.any(masks, axis=0)].any()
        mixed = np.rint((plain + np.array(COLORS[color])) / 2)
        assert np.abs(shown - mixed)[masks[asked]].max() <= 2


def test_gar_bench_is_answered_by_option_and_written_with_the_output_of_the_model(sets, bundled):
    folder = sets / "gar-bench"
    benchmark, outputs = GarBench(Data(folder)), Outputs(folder / "out", "m")
    answered = answer(benchmark, bundled, outputs, form="option")
    (written,) = benchmark.write(answered, outputs)
    assert written == folder / "out" / "model_outputs" / "m_vqa.json"
    rows = json.loads((folder / "GAR-Bench-VQA.json").read_text())
    outputs_of = json.loads(written.read_text())
    assert [
        {**row, "model_output": out["model_output"]} for row, out in zip(rows, outputs_of, strict=True)
    ] == outputs_of
    right = [out["model_output"].lower() == out["answer"].lower() for out in outputs_of]
    assert np.mean(right) >= 0.75
    assert benchmark.score(answered).total.mean == pytest.approx(100 * np.mean(right))
    assert {each.group for each in benchmark.score(answered).groups} == {"color", "shape", "total"}
    wrong = answer(benchmark, EchoBackend(), Outputs(folder, "echo"))
    (written,) = benchmark.write(wrong, Outputs(folder, "echo"))
    assert [row["model_output"] for row in json.loads(written.read_text())] == [each.text for each in wrong]
    assert benchmark.score(wrong).total.mean == 0


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_vp_bench_is_answered_by_option_and_written_as_vlmevalkit_does(sets, bundled, form):
    folder = sets / "vp-bench"
    with (folder / "vp_bench_stage_1.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if form == "parquet":
        pytest.importorskip("pyarrow")
        import pandas

        frame = pandas.DataFrame(rows).rename(columns={"hint": "context"})
        frame["index"] = frame["index"].astype(int)
        frame.to_parquet(folder / "vp_bench_stage_1.parquet")
        (folder / "vp_bench_stage_1.tsv").unlink()
    benchmark, outputs = VPBench(Data(folder)), Outputs(folder, "m")
    assert benchmark.count() == 12
    answered = answer(benchmark, bundled, outputs, form="option")
    table, score = benchmark.write(answered, outputs)
    with table.open(newline="") as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    assert [row["question"] for row in written] == [row["question"] for row in rows]
    assert "image" not in written[0]
    right = np.mean([row["prediction"] == row["answer"] for row in written])
    assert right >= 0.75
    assert json.loads(score.read_text()) == {"total_accuracy": round(right, 4)}


def test_vp_bench_asks_as_vlmevalkit_does_and_follows_references_to_images(sets):
    file = sets / "vp-bench" / "vp_bench_stage_1.tsv"
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    rows[3] |= {"image": rows[7]["index"], "question": 'Which\nshape, "exactly"?', "hint": "Look twice."}
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    items = list(VPBench(Data(file)).items())
    posed = [item.pose(Marking()) for item in items]
    assert posed[3].image.sha256 == posed[7].image.sha256 != posed[4].image.sha256
    options = [f"{letter}. {rows[3][letter]}" for letter in "ABCD"]
    assert posed[3].prompt.split("\n") == [
        "Look twice.", "Which", 'shape, "exactly"?', *options,
        "Answer with the option\N{RIGHT SINGLE QUOTATION MARK}s letter from the given choices directly.",
    ]  # fmt: skip
    assert posed[4].prompt.startswith("What shape is the object ")
    assert [item.id for item in items] == list(range(1, 13))


@pytest.mark.parametrize(
    ("text", "is_right"),
    [("B", True), ("b.", True), ("(B) the square", True), ("Option B", True), ("A", False), ("", False), ("no", False)],
)
def test_vp_bench_takes_the_first_of_its_letters(sets, text, is_right):
    benchmark = VPBench(Data(sets / "vp-bench"))
    item = next(item for item in benchmark.items() if item.truth == "B").without_image()
    assert benchmark.score([Answered(item, "", text)]).total.mean == 100 * is_right


def test_visual7w_marks_each_box_in_the_color_that_its_option_names(sets):
    folder = sets / "visual7w"
    benchmark, outputs, oracle = Visual7W(Data(folder)), Outputs(folder, "m"), Oracle()
    answered = answer(benchmark, oracle, outputs)
    rows = json.loads((folder / "v7w-test.json").read_text())
    truths = ["ABCD"[row["bboxes"].index(row["answer"])] for row in rows]
    right = np.mean([each.text == truth for each, truth in zip(answered, truths, strict=True)])
    assert right >= 0.75  # the oracle is misled where objects share a color
    assert benchmark.score(answered).total.mean == pytest.approx(100 * right)
    prompt = answered[0].prompt.split("\n")
    assert prompt[0] == rows[0]["question"]
    assert [line[:17] for line in prompt[1:5]] == [f"{letter}. The object wit" for letter in "ABCD"]
    assert prompt[5] == "Answer with the option's letter from the given choices directly."
    (written,) = benchmark.write(answered, outputs)
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [(line["question_id"], line["text"]) for line in lines] == [
        (row["id"], each.text) for row, each in zip(rows, answered, strict=True)
    ]


def test_visual7w_takes_conversations_with_or_without_colors(sets):
    file = sets / "visual7w" / "v7w-test.json"
    rows = json.loads(file.read_text())[:2]
    for row, said in zip(
        rows, ["<image>\nWhat is the object <bbox2>?", "Is the gold rectangle, the red rectangle, "
               "the blue rectangle or the lime rectangle empty?"], strict=True,
    ):  # fmt: skip
        row["conversations"] = [{"from": "human", "value": said}, {"from": "gpt", "value": "Blue"}]
        del row["question"], row["answer"]
    file.write_text(json.dumps(rows))
    tagged, named = [item.pose(Marking()) for item in Visual7W(Data(file)).items()]
    assert tagged.prompt.startswith("What is the object within the ")
    for color, (x0, y0, x1, _) in zip(("gold", "red", "blue", "lime"), rows[1]["bboxes"], strict=True):
        edge = np.asarray(named.image.decode())[round(y0) : round(y0) + 4, round((x0 + x1) / 2)]
        assert (np.abs(edge.astype(int) - COLORS[color]).sum(axis=1) < 6).any(), color


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("gar-bench", "GAR-Bench-VQA.json", lambda rows: rows[1].pop("choices"), "question 1 of .* has no 'choices'"),
        ("gar-bench", "GAR-Bench-VQA.json", lambda rows: rows[2].update(question="<Prompt7>"), "which has 2 masks"),
        ("visual7w", "v7w-test.json", lambda rows: rows[0].update(answer=[1, 2, 3, 4]), "expected one of its 4 boxes"),
        ("visual7w", "v7w-test.json", lambda rows: rows[0].update(bboxes=[[1, 2]]), "expected .x0, y0, x1, y1."),
        ("visual7w", "v7w-test.json", lambda rows: rows.clear(), "no list of questions"),
        ("visual7w", "v7w-test.json", lambda rows: rows.insert(1, 7), "question 1 of .* is 7; expected an object"),
        ("vip-bench", "vip-bench-meta-data.json", lambda rows: rows.update(v1_0=7), "v1_0 is 7; expected an object"),
    ],
)
def test_damaged_data_is_refused_with_its_place(sets, name, file, change, message):
    path = sets / name / file
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
    benchmark = {"gar-bench": GarBench, "visual7w": Visual7W, "vip-bench": VipBench}[name](Data(path))
    with pytest.raises(BenchmarkError, match=message):
        list(benchmark.items())


@pytest.mark.parametrize(
    "name", ["../outside.png", "{}/outside.png", "http://127.0.0.1:1/a.png", "none.png", "linked.png"]
)
def test_no_image_outside_of_the_data_is_opened(sets, name):
    path = sets / "gar-bench" / "GAR-Bench-VQA.json"
    rows = json.loads(path.read_text())
    image = rows[5]["image"]
    shutil.copy(path.parent / image, sets / "outside.png")  # only its place is wrong
    (path.parent / "linked.png").symlink_to(sets / "outside.png")
    rows[5]["image"] = name.format(sets)
    path.write_text(json.dumps(rows))
    outputs = Outputs(sets / "gar-bench", "echo")
    answered = answer(GarBench(Data(path)), EchoBackend(), outputs)
    assert [each.error is None for each in answered] == [index != 5 for index in range(12)]
    assert "ImageError" in answered[5].error
    rows[5]["image"] = image
    path.write_text(json.dumps(rows))
    again = answer(GarBench(Data(path)), EchoBackend(), outputs)
    assert [each.error for each in again] == [None] * 12
    assert again[5].text.startswith("Question: What is the ")  # the error was kept as no answer


def test_paths_of_windows_are_read_and_a_missing_image_is_named_with_its_folder(sets):
    path = sets / "gar-bench" / "GAR-Bench-VQA.json"
    rows = json.loads(path.read_text())
    rows[1]["image"] = rows[1]["image"].replace("/", "\\")
    rows[2]["image"] = "images/none.png"
    rows[3]["image"] = "n" * 5000
    path.write_text(json.dumps(rows))
    answered = answer(GarBench(Data(path)), EchoBackend(), Outputs(sets, "echo"))
    assert [index for index, each in enumerate(answered) if each.error is not None] == [2, 3]
    assert re.search(r"there is no image 'images/none.png' in .*gar-bench", answered[2].error)


def test_an_empty_mask_fails_alone(sets):
    path = sets / "gar-bench" / "GAR-Bench-VQA.json"
    rows = json.loads(path.read_text())
    height, width = rows[0]["mask_rles"][0]["size"]
    rows[0]["mask_rles"][0] = {"size": [height, width], "counts": [height * width]}
    path.write_text(json.dumps(rows))
    answered = answer(GarBench(Data(path)), EchoBackend(), Outputs(sets, "echo"))
    assert "RegionError" in answered[0].error
    assert all(each.error is None for each in answered[1:])


def test_vp_bench_reads_questions_with_two_options_and_lists_of_shapes(sets):
    file = sets / "vp-bench" / "vp_bench_stage_1.tsv"
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))[:3]
    rows[0] |= {"A": "Yes", "B": "No", "C": "", "D": "", "answer": "B", "vp_shape": "['bbox', 'arrow', 'bbox']"}
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    first = next(VPBench(Data(file.parent)).items())
    assert (first.groups, dict(first.options)) == (("bbox", "arrow"), {"A": ("Yes",), "B": ("No",)})
    assert first.pose(Marking()).prompt.split("\n")[1:5] == ["A. Yes", "B. No", "C. ", "D. "]


def test_a_question_of_pointqa_is_asked_about_the_first_box_in_red(sets):
    file = sets / "visual7w" / "v7w-test.json"
    row = json.loads(file.read_text())[0]
    row |= {"id": "pointQA_twice-1", "general_question": "How many of these are there?", "answer": "2"}
    del row["question"]
    (file.parent / "pointQA_twice_test.json").write_text(json.dumps([row]))
    (item,) = Visual7W(Data(file.parent / "pointQA_twice_test.json")).items()
    posed = item.pose(Marking())
    assert posed.prompt == (
        "How many of these are there? The exemplary object is within the rectangle.\n"
        "Answer the question using a single word or phrase."
    )
    assert (item.truth, item.colors, len(item.regions)) == ("2", ("red",), 1)
    file.rename(file.with_name("v7w-val.json"))
    with pytest.raises(BenchmarkError, match="pass the file itself"):
        Visual7W(Data(file.parent))
