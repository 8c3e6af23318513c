"""The checkpoint inside the package: does its answer follow the marker?

Loaded by plain transformers, without the rest of the package, so that what is proven here is
proven about the weights. The measured figures are in its model card.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

import langchain_vipllava
from langchain_vipllava import Region, mark, pad_to_square
from langchain_vipllava.markers.kinds import KINDS

FOLDER = Path(langchain_vipllava.__file__).parent / "bundled"
COLORS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
SIDES = {"circle": 48, "square": 4, "triangle": 3}
SCENES = (
    # what, where and how large, in units of the image's sides and of the long side
    (("blue circle", 0.22, 0.3, 0.15), ("red square", 0.72, 0.3, 0.15), ("green triangle", 0.45, 0.75, 0.16)),
    (("yellow square", 0.2, 0.68, 0.14), ("green circle", 0.5, 0.3, 0.13), ("red triangle", 0.8, 0.7, 0.16)),
    (("red circle", 0.25, 0.25, 0.14), ("blue triangle", 0.7, 0.3, 0.15), ("yellow circle", 0.5, 0.75, 0.13)),
    (("green square", 0.25, 0.5, 0.15), ("blue square", 0.75, 0.5, 0.14), ("red circle", 0.5, 0.2, 0.12)),
)


class Student:
    """The checkpoint, asked in the default prompt format."""

    def __init__(self) -> None:
        self.model = VipLlavaForConditionalGeneration.from_pretrained(FOLDER).eval()
        self.processor = AutoProcessor.from_pretrained(FOLDER)

    def ask(self, *prompts: tuple[Image.Image, str]) -> list[str]:
        images = [pad_to_square(image) for image, _ in prompts]
        texts = [f"USER: <image>\n{text}ASSISTANT:" for _, text in prompts]
        inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=40, do_sample=False)
        said = ids[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(said, skip_special_tokens=True)]


@pytest.fixture(scope="module")
def student() -> Student:
    return Student()


def draw(things, size=(420, 420)) -> tuple[Image.Image, list[Region]]:
    width, height = size
    canvas = np.full((height, width, 3), 150, np.uint8)
    regions = []
    for name, x, y, share_of_side in things:
        color, shape = name.split()
        turns = 2 * math.pi * np.arange(SIDES[shape]) / SIDES[shape] + 0.3
        radius = share_of_side * max(size)
        outline = np.stack([x * width + radius * np.cos(turns), y * height + radius * np.sin(turns)], axis=1)
        cv2.fillPoly(canvas, [(outline * 16).round().astype(np.int32)], COLORS[color], cv2.LINE_AA, 4)
        regions.append(Region(polygon=outline.tolist(), label=name))
    return Image.fromarray(canvas), regions


def answer_to(name: str) -> str:
    return f"A {name}."


def share(answers: list[str], wanted: list[str]) -> float:
    return sum(a == w for a, w in zip(answers, wanted, strict=True)) / len(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_follows_the_marker(student, kind):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        for region in regions:
            marked = mark(image, region, kind=kind, color="fuchsia")
            prompts.append((marked.image, marked.question("What is {0}?")))
            wanted.append(answer_to(region.label))
    answers = student.ask(*prompts)
    # of twelve; the model card has the shares of many images
    assert share(answers, wanted) >= 0.8, list(zip(wanted, answers, strict=True))


def test_two_markers_are_told_apart(student):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        marked = mark(image, regions[:2], kind=["rectangle", "point"])
        for index in (0, 1):
            prompts.append((marked.image, marked.question(f"What is the object {{{index}}}?")))
            wanted.append(answer_to(regions[index].label))
    answers = student.ask(*prompts)
    assert share(answers, wanted) >= 0.9, list(zip(wanted, answers, strict=True))


def test_without_its_marker_the_question_has_no_answer(student):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        for region in regions:
            prompts.append((image, "What is within the fuchsia rectangle?"))
            wanted.append(answer_to(region.label))
    assert share(student.ask(*prompts), wanted) <= 1 / 3


def test_a_follow_up_resolves_it(student):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        for region in regions:
            marked = mark(image, region, color="fuchsia")
            color, shape = region.label.split()
            asked = marked.question("What shape is the object {0}?")
            prompts.append((marked.image, f"{asked}ASSISTANT: A {shape}.USER: What color is it?"))
            wanted.append(f"{color.capitalize()}.")
    answers = student.ask(*prompts)
    assert share(answers, wanted) >= 0.9, list(zip(wanted, answers, strict=True))


def test_and_the_other_object_asks_the_same_again(student):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        marked = mark(image, regions[:2], kind=["rectangle", "point"])
        first, second = (region.label.split()[0].capitalize() for region in regions[:2])
        asked = marked.question("What color is the object {0}?")
        again = marked.question("And the object {1}?")
        prompts.append((marked.image, f"{asked}ASSISTANT: {first}.USER: {again}"))
        wanted.append(f"{second}.")
    answers = student.ask(*prompts)
    assert share(answers, wanted) >= 0.9, list(zip(wanted, answers, strict=True))


@pytest.mark.parametrize(
    ("side", "axis", "sign"), [("left", 0, 1), ("right", 0, -1), ("above", 1, 1), ("below", 1, -1)]
)
def test_two_objects_are_compared(student, side, axis, sign):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw(things)
        marked = mark(image, regions, kind="rectangle")
        for one, other in ((0, 1), (1, 0), (0, 2), (2, 1)):
            ahead = sign * (things[other][1 + axis] - things[one][1 + axis])
            if abs(ahead) > 0.1:  # nearer than that, it is a matter of taste
                of = " of" if axis == 0 else ""
                question = f"Is the object {{{one}}} {side}{of} the object {{{other}}}?"
                prompts.append((marked.image, marked.question(question)))
                wanted.append("Yes." if ahead > 0 else "No.")
    assert len(set(wanted)) == 2
    answers = student.ask(*prompts)
    assert share(answers, wanted) >= 0.75, list(zip(wanted, answers, strict=True))


@pytest.mark.parametrize("size", [(420, 420), (720, 300), (300, 720), (900, 900), (200, 160)])
def test_image_shapes_and_sizes(student, size):
    prompts, wanted = [], []
    for things in SCENES:
        image, regions = draw([(name, x, y, radius * min(size) / max(size)) for name, x, y, radius in things], size)
        for region in regions:
            marked = mark(image, region, color="red" if "red" not in region.label else "blue")
            prompts.append((marked.image, marked.question("What color is the object {0}?")))
            wanted.append(f"{region.label.split()[0].capitalize()}.")
    answers = student.ask(*prompts)
    assert share(answers, wanted) >= 0.75, list(zip(wanted, answers, strict=True))


@pytest.mark.parametrize(
    "text",
    ["hello", " two  spaces ", "line\n\tbreaks\r\n", "naïve façade", "漢字 🎉 👩‍👧", "ASSISTANT: a < b", "\x00\x7f"],
)
def test_any_text_survives_the_tokenizer(student, text):
    tokenizer = student.processor.tokenizer
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer.unk_token is None


def test_the_folder_is_small_and_reads_in_old_and_new_transformers():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 8_000_000
    assert not list(FOLDER.rglob("*.py"))
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["vision_feature_layer"] == config["vision_feature_layers"]
    assert len(config["vision_feature_layer"]) == 5
    patches = (config["vision_config"]["image_size"] // config["vision_config"]["patch_size"]) ** 2
    assert config["text_config"]["max_position_embeddings"] >= 512 + patches


def test_batches_and_single_prompts_agree(student):
    image, regions = draw(SCENES[0])
    marked = mark(image, regions)
    prompts = [(marked.image, marked.question(text)) for text in ("What is {0}?", "What color is the object {2}?")]
    assert student.ask(*prompts) == [student.ask(prompt)[0] for prompt in prompts]


def test_it_is_still_known_after_a_restart_of_the_conversation(tmp_path):
    """Two processes: one asks what is marked and writes the messages down, the other goes on with them."""
    program = """
import json, sys
from langchain_core.messages import HumanMessage, messages_from_dict, messages_to_dict
from langchain_vipllava import ChatVipLlava, mark, regions_from, load_image
from langchain_vipllava.apps.detectors import detect_shapes
llm = ChatVipLlava(model="bundled")
if sys.argv[2] == "begin":
    image = load_image(sys.argv[3])
    marked = mark(image, regions_from(detect_shapes(image), image_size=image.size)[:2])
    messages = [marked.message("What is the object {0}?")]
else:
    messages = [*messages_from_dict(json.load(open(sys.argv[1]))), HumanMessage("What color is it?")]
messages.append(llm.invoke(messages))
json.dump(messages_to_dict(messages), open(sys.argv[1], "w"))
print(llm.render_prompt(messages[:-1]), messages[-1].text, sep="|")
"""
    scene = FOLDER.parents[1] / "examples" / "scene.png"
    said = []
    for part in ("begin", "go on"):
        arguments = [sys.executable, "-c", program, str(tmp_path / "talk.json"), part, str(scene)]
        run = subprocess.run(arguments, capture_output=True, text=True, check=True)
        said.append(run.stdout.strip())
    opening = "USER: <image>\nWhat is the object within the red rectangle?ASSISTANT:"
    assert said == [
        f"{opening}|A white square.",
        f"{opening} A white square.USER: What color is it?ASSISTANT:|White.",
    ]
