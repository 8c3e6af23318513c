"""Make small benchmarks of regions in their official layouts: `python -m benchmarks.region_sets FOLDER`.

Their images are scenes of the bundled checkpoint's world, so every answer is known. `langchain-vipllava bench` reads
the folders as it reads the real ones: FOLDER/vip-bench, vp-bench, gar-bench and visual7w.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco  # type: ignore[import-untyped]  # no stubs

from training.questions import Asker
from training.scene import PAINT_NAMES, SHAPES, Look, Scene, draw_looks, draw_scene, mark_scene

COUNT = 48
"""Questions of each set. Chosen: some seconds of the bundled checkpoint on one CPU core."""

_LETTERS = "ABCD"


def make_sets(folder: Path, count: int = COUNT, seed: int = 0) -> None:
    """Write the four sets.

    Args:
        folder: it is made.
        count: questions of each.
        seed: of the scenes.
    """
    for number, make in enumerate((vip_bench, vp_bench, gar_bench, visual7w)):
        make(folder / make.__name__.replace("_", "-"), count, np.random.default_rng([seed, number]))


def vip_bench(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write a set in the layout of ViP-Bench: rec asks what, rel which of two is left or has the same color."""
    meta: dict[str, Any] = {}
    rows: dict[str, list[dict[str, Any]]] = {"bbox": [], "human": []}
    for number, (scene, looks) in enumerate(_scenes(rng, count, marked=2)):
        kind = "identify" if number % 2 == 0 else str(rng.choice(["left", "same_color"]))
        asked = Asker(rng, scene, looks, _WORDINGS)
        turn = None if kind == "identify" else asked.ask_two(kind)
        if turn is None:  # also where the objects are neither left nor right of one another
            turn, kind = asked.ask_one(0, "identify"), "identify"
        key, image = f"v1_{number}", f"v1_{number}.png"
        template = turn.question
        for index in range(len(looks)):
            template = template.replace(asked.phrase(index), f"<obj{index}>")
        meta[key] = {
            "image_source": image,
            "image": image,
            "question": template,
            "answer": f"{turn.answer.strip('.')}<OR>{turn.answer}",
            "capability": ["rec"] if kind == "identify" else ["rec", "rel"],
        }
        for split, seed in (("bbox", None), ("human", int(rng.integers(2**31)))):
            rows[split].append({"question_id": number, "image": image, "text": turn.question, "category": "default"})
            _save(mark_scene(rng, scene, looks, seed).image, folder / split / "images" / image)
        _save(Image.fromarray(scene.image), folder / "source_image" / image)
        _write(folder / "source_image" / f"v1_{number}.json", _labelme(scene, looks, image))
    _write(folder / "vip-bench-meta-data.json", meta)
    for split, lines in rows.items():
        (folder / split / "questions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def vp_bench(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write a set in the layout of VP-Bench, stage 1: which shape is marked."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "vp_bench_stage_1.tsv").open("w", newline="") as file:
        names = ["index", "hint", "question", *_LETTERS, "answer", "image", "vp_amount", "vp_shape", "vp_properties"]
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for number, (scene, looks) in enumerate(_scenes(rng, count, marked=1)):
            asked = Asker(rng, scene, looks, {"shape": _WORDINGS["shape"]}).ask_one(0, "shape")
            texts, letter = _choices(rng, scene.things[looks[0].thing].shape, SHAPES)
            buffer = io.BytesIO()
            mark_scene(rng, scene, looks).image.save(buffer, "PNG")
            writer.writerow(
                {
                    "index": number + 1,
                    "hint": "",
                    "question": asked.question,
                    **dict(zip(_LETTERS, texts, strict=True)),
                    "answer": letter,
                    "image": base64.b64encode(buffer.getvalue()).decode(),
                    "vp_amount": 1,
                    "vp_shape": looks[0].kind,
                    "vp_properties": f"color: {looks[0].color}",
                }
            )


def gar_bench(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write a set in the layout of GAR-Bench-VQA: the color or shape of one of two masks."""
    rows = []
    for number, (scene, looks) in enumerate(_scenes(rng, count, marked=2)):
        aspect = "color" if number % 2 == 0 else "shape"
        asked = int(rng.integers(len(looks)))
        thing = scene.things[looks[asked].thing]
        texts, letter = _choices(rng, getattr(thing, aspect), PAINT_NAMES if aspect == "color" else SHAPES)
        _save(Image.fromarray(scene.image), folder / "images" / f"vqa_{number}.png")
        rows.append(
            {
                "image": f"images/vqa_{number}.png",
                "question": f"What is the {aspect} of <Prompt{asked}>?",
                "choices": [f"{each}. {text}" for each, text in zip(_LETTERS, texts, strict=True)],
                "answer": letter,
                "type": aspect,
                "mask_rles": [_compressed(_mask(scene, look)) for look in looks],
            }
        )
    _write(folder / "GAR-Bench-VQA.json", rows)


def visual7w(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Write a set in the layout of ViP-LLaVA's `v7w-test.json`: which of the boxes has an object."""
    rows = []
    for number in range(count):
        while True:
            scene = draw_scene(rng, 4, sides=(336, 800))
            if len({thing.name for thing in scene.things}) == len(scene.things):
                break
        boxes = [_box(scene, index) for index in rng.permutation(4).tolist()]
        index = int(rng.integers(4))
        image = f"visual7w/images/v7w_{number}.png"
        _save(Image.fromarray(scene.image), folder / image)
        question = f"Which object is {scene.things[index].name}?"
        rows.append(
            {"id": f"v7w-{number}", "image": image, "question": question, "bboxes": boxes, "answer": _box(scene, index)}
        )
    _write(folder / "v7w-test.json", rows)


_WORDINGS = {
    "identify": ("What is the object {0}?",),
    "shape": ("What shape is the object {0}?",),
    "left": ("Is the object {0} left of the object {1}?",),
    "same_color": ("Do the object {0} and the object {1} have the same color?",),
}
"""The wordings that the bundled checkpoint was trained on most."""


def _scenes(rng: np.random.Generator, count: int, marked: int) -> Iterator[tuple[Scene, list[Look]]]:
    for _ in range(count):
        while True:
            scene = draw_scene(rng, int(rng.integers(2, 5)), sides=(336, 800))
            looks = draw_looks(rng, scene, marked)
            if len({(look.kind, look.color) for look in looks}) == len(looks) == marked:
                break
        yield scene, looks


def _choices(rng: np.random.Generator, truth: str, names: tuple[str, ...]) -> tuple[list[str], str]:
    """Draw four options, and the letter of the right one."""
    others = [str(name) for name in rng.permutation([name for name in names if name != truth])[: len(_LETTERS) - 1]]
    place = int(rng.integers(len(_LETTERS)))
    return [*others[:place], truth, *others[place:]], _LETTERS[place]


def _box(scene: Scene, index: int) -> list[float]:
    outline = scene.things[index].outline
    return [round(float(number), 1) for number in (*outline.min(axis=0), *outline.max(axis=0))]


def _mask(scene: Scene, look: Look) -> np.ndarray:
    width, height = scene.size
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [(scene.things[look.thing].outline - 0.5).round().astype(np.int32)], (1,))
    return mask


def _compressed(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask as pycocotools writes it."""
    rle: dict[str, Any] = coco.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _labelme(scene: Scene, looks: list[Look], image: str) -> dict[str, Any]:
    shapes = [
        {
            "label": f"obj{number}",
            "points": scene.things[look.thing].outline.tolist(),
            "group_id": None,
            "shape_type": "polygon",
            "flags": {},
        }
        for number, look in enumerate(looks)
    ]
    width, height = scene.size
    return {
        "version": "5.3.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=1)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Make the sets, and say how to run them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help="questions of each set")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    make_sets(options.folder, options.count, options.seed)
    for name in ("vip-bench", "vp-bench", "gar-bench", "visual7w"):
        print(f"langchain-vipllava bench {name} --data {options.folder / name}")


if __name__ == "__main__":
    main()
