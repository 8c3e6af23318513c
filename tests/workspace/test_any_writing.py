"""Whatever an LLM writes for regions, kinds, colors and zoom, or asks: it is read, or refused in a short message."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress

import pytest
from PIL import Image

from langchain_vipllava import Region, Workspace
from langchain_vipllava.errors import VipLlavaError
from tests.workspace.test_references import SENTENCES
from tests.workspace.test_references import workspace as workspace_with_markers

KEYS = [
    *("box", "bbox", "point", "polygon", "label", "id", "region", "x", "y", "width", "height", "x1", "y1", "x2", "y2"),
    *(
        "xmin",
        "color",
        "kind",
        "score",
        "coordinates",
        "points",
        "regions",
        "boxes",
        "mask",
        "top_left",
        "bottom_right",
    ),
    *("segmentation", "size", "counts", "box_2d", "name", "5", 5, None),
]
ATOMS = [
    *("r1", "R2", "all", "cup", "dogs", "[1,2,30,40]", "(1,2)", "1", "2.5", "10%", "none", "r1-r3", "#1", "region 2"),
    *(
        "```json\n[1,2,3,4]\n```",
        "{'box': [1,2,3,4]}",
        "array([1,2,3,4])",
        "x=1,y=2",
        "",
        "{",
        "[[",
        "null",
        "\u201cr1\u201d",
    ),
    *(None, True, 1, 2, 50, 300, 700, 0.5, -3, 1e9, float("nan"), float("inf"), 10**30),
]


def value_of(rng, depth=0):
    """Return something that an LLM might write."""
    kind = rng.random()
    if depth > 3 or kind < 0.45:
        return rng.choice(ATOMS)
    if kind < 0.75:
        return [value_of(rng, depth + 1) for _ in range(rng.randint(0, 5))]
    return {rng.choice(KEYS): value_of(rng, depth + 1) for _ in range(rng.randint(0, 4))}


@pytest.mark.filterwarnings("ignore::UserWarning")  # tiny regions
@pytest.mark.parametrize("seed", range(8))
def test_arguments_are_read_or_refused(seed):
    rng = random.Random(seed)
    workspace = Workspace()
    regions = [
        Region(box=(10 + 190 * i, 10, 90 + 190 * i, 90), label=label) for i, label in enumerate(("cup", "dog", "dog"))
    ]
    workspace.add_image(Image.new("RGB", (640, 480), "white"), detections=regions)
    messages = []
    for _ in range(150):
        value = value_of(rng)
        written = json.dumps(value, skipkeys=True) if rng.random() < 0.3 else value
        looks = {name: value_of(rng, 2) for name in ("kind", "color", "zoom") if rng.random() < 0.25}
        try:
            workspace.mark("photo1", written, session="a", **looks)
        except VipLlavaError as error:
            messages.append(str(error))
    assert len(messages) < 145
    assert max(map(len, messages)) < 700


@pytest.mark.parametrize("seed", range(4))
def test_questions_are_read_or_refused(seed):
    rng = random.Random(seed)
    words = [word for question, _ in SENTENCES for word in question.split()]
    dresses = [
        "r1",
        "R2",
        "[r3]",
        "{r1}",
        "{{r2}}",
        "region 1",
        "#2",
        "r1's",
        "(r1)",
        "r1-r3",
        "r1/r2",
        "the",
        "both",
        "-",
        "in",
    ]
    workspace = workspace_with_markers()
    for _ in range(1500):
        parts = [rng.choice(words if rng.random() < 0.6 else dresses) for _ in range(rng.randint(1, 9))]
        question = " ".join(part for part in parts if not re.search("[\"'\u201c\u201d`]", part) or part == "r1's")
        if not question:
            continue
        with suppress(VipLlavaError):
            asked = workspace.ask("marked1", question).question
            assert not re.search(r"(?<![\w./@-])[rR][123](?![\w./-])", asked), (question, asked)
