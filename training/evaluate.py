"""Score a checkpoint on images outside the training set: `python -m training.evaluate [CHECKPOINT]`.

Runs plain transformers with greedy decoding and left-padded batches, and answers as JSON through the package. An answer
counts only if it matches exactly.
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

from langchain_vipllava.engine.loading import load_checkpoint
from langchain_vipllava.protocol.load_options import LoadOptions, Quantization
from training.cases import (
    EITHER_ORDER,
    Case,
    aspect,
    chain,
    cropped,
    follow_up,
    identify,
    is_it,
    make_cases,
    moved,
    two_regions,
    unmarked,
    whether,
    whole_image,
)
from training.kinds import KINDS
from training.scene import PAINT_NAMES, SHAPES, ImageShape
from training.score_json import score_json
from training.wordings import SIDES

KIND_TARGETS = {"scribble": 0.95, "mask": 0.90}
Row = tuple[str, float, int, str]
"""Name of the test, accuracy, number of cases, and target."""


class Checkpoint:
    """A checkpoint, asked by plain transformers.

    Args:
        folder: folder with config, weights and processor.
        batch: number of questions per batch.
        quantization: "8bit" or "4bit", as the package loads it; None as it is saved.
    """

    def __init__(self, folder: Path, batch: int = 64, quantization: Quantization | None = None) -> None:
        if quantization is None:
            self.model = VipLlavaForConditionalGeneration.from_pretrained(folder).eval()
            self.processor = AutoProcessor.from_pretrained(folder)
        else:
            options = LoadOptions(str(folder), device="cpu", dtype="float32", quantization=quantization)
            self.model, self.processor = load_checkpoint(options)
        self.batch = batch

    def answer(self, cases: Sequence[Case]) -> list[str]:
        """Answer the last question of each case; the model's earlier answers stay in the conversation."""
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
        answers = ids[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(answers, skip_special_tokens=True)]

    def score(self, cases: Sequence[Case]) -> np.ndarray:
        """Return which answers match exactly: (cases,) bool."""
        return exact_matches(self.answer(cases), cases)


def exact_matches(answers: Sequence[str], cases: Sequence[Case]) -> np.ndarray:
    """Return which answers match exactly: (cases,) bool."""
    return np.array([answer == case.answer for answer, case in zip(answers, cases, strict=True)])


def score_kinds(checkpoint: Checkpoint, rng: np.random.Generator, count: int) -> list[Row]:
    """Score "What is ...?" for every kind of marker."""
    rows, all_cases, all_hits = [], [], []
    for kind in KINDS:
        cases = make_cases(partial(identify, rng, kind), count)
        answers = checkpoint.answer(cases)
        hits = exact_matches(answers, cases)
        parts = f"color {_share(answers, cases, PAINT_NAMES):.1%}, shape {_share(answers, cases, SHAPES):.1%}"
        target = KIND_TARGETS.get(kind, 0.97)
        rows.append((f"What is ...? {kind} ({parts})", hits.mean(), len(hits), f">= {target:.0%}"))
        all_cases += cases
        all_hits += hits.tolist()
    rows.append(("What is ...? all kinds", float(np.mean(all_hits)), len(all_hits), ">= 96%"))
    for style in ("constant", "hand-drawn"):
        styled = [hit for hit, case in zip(all_hits, all_cases, strict=True) if case.style == style]
        rows.append((f"What is ...? {style} markers", float(np.mean(styled)), len(styled), ""))
    return rows


def score_images(checkpoint: Checkpoint, rng: np.random.Generator, count: int) -> list[Row]:
    """Score "What is ...?" for each image shape and for moved markers, and run the controls."""
    rows = []
    shapes: tuple[tuple[str, ImageShape], ...] = (("square", "square"), ("3:1", "wide"), ("1:3", "tall"))
    for name, shape in shapes:
        hits = checkpoint.score(make_cases(partial(identify, rng, None, shape), count))
        rows.append((f"What is ...? {name} images", hits.mean(), count, ">= 94%"))
    pairs = [moved(rng) for _ in range(count)]
    both = checkpoint.score([pair[0] for pair in pairs]) & checkpoint.score([pair[1] for pair in pairs])
    rows.append(("marker moved: both answers", both.mean(), count, ">= 93%"))
    bare = make_cases(partial(unmarked, rng), count)
    limit = 1.2 * np.mean([1 / case.objects for case in bare])  # the chance of guessing the object, plus a fifth
    rows.append(("control: no marker", checkpoint.score(bare).mean(), count, f"<= {limit:.1%}"))
    pairs = [cropped(rng) for _ in range(count)]
    off_center = np.array([pair[0].is_off_center for pair in pairs])
    for index, name in enumerate(("padded", "center-cropped")):
        hits = checkpoint.score([pair[index] for pair in pairs])
        rows.append((f"control: 3:1 {name}, object at the sides", hits[off_center].mean(), int(off_center.sum()), ""))
        rows.append(
            (f"control: 3:1 {name}, object in the middle", hits[~off_center].mean(), int((~off_center).sum()), "")
        )
    return rows


def score_talk(checkpoint: Checkpoint, rng: np.random.Generator, count: int) -> list[Row]:
    """Score color, shape, conversations, two regions, counts and descriptions."""
    few = max(count // 2, 1)
    tests = [
        ("What color is the object ...?", partial(aspect, rng, "color"), few, ""),
        ("What shape is the object ...?", partial(aspect, rng, "shape"), few, ""),
        ("follow-up: What color is it?", partial(follow_up, rng, "it_color"), count, ">= 95%"),
        ("follow-up: What shape is it?", partial(follow_up, rng, "it_shape"), count, ">= 95%"),
        ("follow-up: And the object ...?", partial(follow_up, rng, "and"), count, ">= 95%"),
        ('follow-up: three turns, "it" is the second', partial(chain, rng), count, ">= 95%"),
        ("two regions: left, right, above, below", partial(two_regions, rng, SIDES), count, ">= 90%"),
        ("two regions: same color", partial(two_regions, rng, ("same_color",)), count, ">= 90%"),
        ("two regions: same shape", partial(two_regions, rng, ("same_shape",)), few, ""),
        ("How many objects are there?", partial(whole_image, rng, "count"), count, ">= 95%"),
    ]
    rows = [
        (name, checkpoint.score(make_cases(make, number)).mean(), number, target)
        for name, make, number, target in tests
    ]
    cases = make_cases(partial(whole_image, rng, "describe"), few)
    answers = checkpoint.answer(cases)
    either = np.array([answer in case.also for answer, case in zip(answers, cases, strict=True)])
    rows.append(("Describe the image.", exact_matches(answers, cases).mean(), few, ""))
    return [*rows, (f"Describe the image. ({EITHER_ORDER})", either.mean(), few, ">= 88%")]


def score_paraphrases(checkpoint: Checkpoint, rng: np.random.Generator, count: int) -> list[Row]:
    """Score wordings that the training set leaves out."""
    few = max(count // 3, 1)
    tests = [
        ("What is ...?", partial(identify, rng, held_out=True), count),
        ("color", partial(aspect, rng, "color", held_out=True), few),
        ("shape", partial(aspect, rng, "shape", held_out=True), few),
        ("it", partial(follow_up, rng, "it_color", held_out=True), few),
        ("and", partial(follow_up, rng, "and", held_out=True), few),
        ("two regions", partial(two_regions, rng, (*SIDES, "same_color"), held_out=True), few),
        ("count", partial(whole_image, rng, "count", held_out=True), few),
    ]
    rows: list[Row] = []
    hits: list[bool] = []
    for name, make, number in tests:
        matches = checkpoint.score(make_cases(make, number))
        rows.append((f"unseen wording: {name}", matches.mean(), number, ""))
        hits += matches.tolist()
    return [*rows, ("unseen wording: all", float(np.mean(hits)), len(hits), ">= 85%")]


def score_whether(checkpoint: Checkpoint, rng: np.random.Generator, count: int) -> list[Row]:
    """Score questions whether an object has the color or the shape that they name."""
    few = max(count // 2, 1)
    tests = [
        ("Is the object ... red?", partial(whether, rng, "is_color"), ">= 95%"),
        ("Is the object ... a star?", partial(whether, rng, "is_shape"), ">= 95%"),
        ("follow-up: Is it red? Is it a star?", partial(is_it, rng), ">= 95%"),
        ("unseen wording: Is the object ... red?", partial(whether, rng, "is_color", held_out=True), ""),
        ("unseen wording: Is the object ... a star?", partial(whether, rng, "is_shape", held_out=True), ""),
    ]
    return [(name, checkpoint.score(make_cases(make, few)).mean(), few, target) for name, make, target in tests]


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = ["| test | accuracy | cases | target | met |", "|---|---|---|---|---|"]
    for name, accuracy, number, target in rows:
        sign, _, limit = target.partition(" ")
        bound = float(limit.rstrip("%")) / 100 if limit else 0.0
        met = "" if not target else "yes" if (accuracy >= bound if sign == ">=" else accuracy <= bound) else "no"
        lines.append(f"| {name} | {accuracy:.1%} | {number} | {target} | {met} |")
    return "\n".join(lines)


def _share(answers: Sequence[str], cases: Sequence[Case], words: Sequence[str]) -> float:
    """Return the share of answers that have the correct one of these words."""

    def select(text: str) -> list[str]:
        return [word for word in text.lower().rstrip(".").split() if word in words]

    return float(np.mean([select(text) == select(case.answer) for text, case in zip(answers, cases, strict=True)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("langchain_vipllava/bundled"))
    parser.add_argument("--count", type=int, default=400, help="questions per row of the table")
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quantization", choices=("8bit", "4bit"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start, checkpoint = time.monotonic(), Checkpoint(options.checkpoint, quantization=options.quantization)
    rng = np.random.default_rng([options.seed, 777])
    rows = [
        row
        for score in (score_kinds, score_images, score_talk, score_paraphrases)
        for row in score(checkpoint, rng, options.count)
    ]
    rows += score_whether(checkpoint, np.random.default_rng([options.seed, 779]), options.count)
    json_rng = np.random.default_rng([options.seed, 778])
    rows += score_json(options.checkpoint, json_rng, max(options.count // 2, 1), options.quantization)
    print(table(rows))
    width = f" in {options.quantization}" if options.quantization else ""
    print(f"\n{options.checkpoint}{width}, seed {options.seed}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
