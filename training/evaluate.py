"""Score a checkpoint on images that training never saw: `python -m training.evaluate [CHECKPOINT]`.

Plain transformers, greedy, batches with left padding. Every answer has to be right word for word.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

from langchain_vipllava.markers.kinds import KINDS
from training.cases import Case, aspect, chain, cropped, follow_up, identify, many, moved, two, unmarked, whole
from training.scene import PAINT_NAMES, SHAPES, ImageShape
from training.wordings import SIDES

KIND_TARGETS = {"scribble": 0.95, "mask": 0.90}
Row = tuple[str, float, int, str]
"""What was asked, how much was right, of how many, and the target."""


class Student:
    """A checkpoint, loaded by plain transformers.

    Args:
        folder: config, weights and processor.
        batch: questions asked at a time.
    """

    def __init__(self, folder: Path, batch: int = 64) -> None:
        self.model = VipLlavaForConditionalGeneration.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.batch = batch

    def answer(self, cases: Sequence[Case]) -> list[str]:
        """Answers to each case's last question; those to earlier ones stay in the conversation."""
        prompts = ["USER: <image>\n"] * len(cases)
        answers = [""] * len(cases)
        for turn in range(max(len(case.questions) for case in cases)):
            for index, case in enumerate(cases):
                before = f"{prompts[index]} {answers[index]}USER: " if turn else prompts[index]
                prompts[index] = f"{before}{case.questions[turn]}ASSISTANT:"
            for start in range(0, len(cases), self.batch):
                part = slice(start, start + self.batch)
                answers[part] = self._generate(prompts[part], cases[part])
        return answers

    def _generate(self, prompts: list[str], cases: Sequence[Case]) -> list[str]:
        images = [case.image for case in cases]
        inputs = self.processor(text=prompts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=48, do_sample=False)
        said = ids[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(said, skip_special_tokens=True)]

    def right(self, cases: Sequence[Case]) -> np.ndarray:
        """Which cases are answered right, word for word."""
        return np.array([said == case.answer for said, case in zip(self.answer(cases), cases, strict=True)])


def score_kinds(student: Student, rng: np.random.Generator, count: int) -> list[Row]:
    """Score "What is ...?" for every kind of marker."""
    rows, everything, every_hit = [], [], []
    for kind in KINDS:
        cases = many(partial(identify, rng, kind), count)
        answers = student.answer(cases)
        hits = np.array([said == case.answer for said, case in zip(answers, cases, strict=True)])
        parts = f"color {_share(answers, cases, PAINT_NAMES):.1%}, shape {_share(answers, cases, SHAPES):.1%}"
        target = KIND_TARGETS.get(kind, 0.97)
        rows.append((f"What is ...? {kind} ({parts})", hits.mean(), len(hits), f">= {target:.0%}"))
        everything += cases
        every_hit += hits.tolist()
    rows.append(("What is ...? all kinds", float(np.mean(every_hit)), len(every_hit), ">= 96%"))
    for style in ("constant", "hand-drawn"):
        styled = [hit for hit, case in zip(every_hit, everything, strict=True) if case.style == style]
        rows.append((f"What is ...? {style} markers", float(np.mean(styled)), len(styled), ""))
    return rows


def score_images(student: Student, rng: np.random.Generator, count: int) -> list[Row]:
    """Score "What is ...?" per image shape, with a moved marker, and the controls."""
    rows = []
    shapes: tuple[tuple[str, ImageShape], ...] = (("square", "square"), ("3:1", "wide"), ("1:3", "tall"))
    for name, shape in shapes:
        hits = student.right(many(partial(identify, rng, None, shape), count))
        rows.append((f"What is ...? {name} images", hits.mean(), count, ">= 94%"))
    pairs = [moved(rng) for _ in range(count)]
    both = student.right([pair[0] for pair in pairs]) & student.right([pair[1] for pair in pairs])
    rows.append(("marker moved: both answers", both.mean(), count, ">= 93%"))
    bare = many(partial(unmarked, rng), count)
    most = 1.2 * np.mean([1 / case.objects for case in bare])
    rows.append(("control: no marker", student.right(bare).mean(), count, f"<= {most:.1%}"))
    pairs = [cropped(rng) for _ in range(count)]
    lost = np.array([pair[0].lost for pair in pairs])
    for index, name in enumerate(("padded", "center-cropped")):
        hits = student.right([pair[index] for pair in pairs])
        rows.append((f"control: 3:1 {name}, object at the sides", hits[lost].mean(), int(lost.sum()), ""))
        rows.append((f"control: 3:1 {name}, object in the middle", hits[~lost].mean(), int((~lost).sum()), ""))
    return rows


def score_talk(student: Student, rng: np.random.Generator, count: int) -> list[Row]:
    """Color, shape, conversations, two regions, counts and descriptions."""
    few = max(count // 2, 1)
    cells = [
        ("What color is the object ...?", partial(aspect, rng, "color"), few, ""),
        ("What shape is the object ...?", partial(aspect, rng, "shape"), few, ""),
        ("follow-up: What color is it?", partial(follow_up, rng, "it_color"), count, ">= 95%"),
        ("follow-up: What shape is it?", partial(follow_up, rng, "it_shape"), count, ">= 95%"),
        ("follow-up: And the object ...?", partial(follow_up, rng, "and"), count, ">= 95%"),
        ('follow-up: three turns, "it" is the second', partial(chain, rng), count, ">= 95%"),
        ("two regions: left, right, above, below", partial(two, rng, SIDES), count, ">= 90%"),
        ("two regions: same color", partial(two, rng, ("same_color",)), count, ">= 90%"),
        ("two regions: same shape", partial(two, rng, ("same_shape",)), few, ""),
        ("How many objects are there?", partial(whole, rng, "count"), count, ">= 95%"),
        ("Describe the image.", partial(whole, rng, "describe"), few, ""),
    ]
    return [(name, student.right(many(make, number)).mean(), number, target) for name, make, number, target in cells]


def score_paraphrases(student: Student, rng: np.random.Generator, count: int) -> list[Row]:
    """The same in words that training never saw."""
    few = max(count // 3, 1)
    cells = [
        ("What is ...?", partial(identify, rng, held_out=True), count),
        ("color", partial(aspect, rng, "color", held_out=True), few),
        ("shape", partial(aspect, rng, "shape", held_out=True), few),
        ("it", partial(follow_up, rng, "it_color", held_out=True), few),
        ("and", partial(follow_up, rng, "and", held_out=True), few),
        ("two regions", partial(two, rng, (*SIDES, "same_color"), held_out=True), few),
        ("count", partial(whole, rng, "count", held_out=True), few),
    ]
    rows: list[Row] = []
    hits: list[bool] = []
    for name, make, number in cells:
        right = student.right(many(make, number))
        rows.append((f"unseen wording: {name}", right.mean(), number, ""))
        hits += right.tolist()
    return [*rows, ("unseen wording: all", float(np.mean(hits)), len(hits), ">= 85%")]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| asked | right | of | target | met |", "|---|---|---|---|---|"]
    for name, right, number, target in rows:
        sign, _, limit = target.partition(" ")
        bound = float(limit.rstrip("%")) / 100 if limit else 0.0
        met = "" if not target else "yes" if (right >= bound if sign == ">=" else right <= bound) else "no"
        lines.append(f"| {name} | {right:.1%} | {number} | {target} | {met} |")
    return "\n".join(lines)


def _share(answers: Sequence[str], cases: Sequence[Case], words: Sequence[str]) -> float:
    """How often the answer has the right one of these words."""

    def said(text: str) -> list[str]:
        return [word for word in text.lower().rstrip(".").split() if word in words]

    return float(np.mean([said(text) == said(case.answer) for text, case in zip(answers, cases, strict=True)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("langchain_vipllava/bundled"))
    parser.add_argument("--count", type=int, default=400, help="questions per line of the table")
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start, student = time.monotonic(), Student(options.checkpoint)
    rng = np.random.default_rng([options.seed, 777])
    rows = [
        row
        for score in (score_kinds, score_images, score_talk, score_paraphrases)
        for row in score(student, rng, options.count)
    ]
    print(table(rows))
    print(f"\n{options.checkpoint}, seed {options.seed}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
