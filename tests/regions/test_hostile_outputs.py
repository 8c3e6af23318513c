"""Unknown, broken and hostile input raises a DetectionError, and nothing else."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace as Stand

import numpy as np
import pytest

from tests.regions.samples import CAT, DOG, coco_dataset, hf_object_detection, outline, refused


def test_unknown_output_is_described():
    refused({"foo": 1, "bar": [1]}, "dict with 2 keys", "foo", "bar", "no known format", "docs/reference/detections.md")
    refused(np.zeros((3, 9)), "ndarray", "(3, 9)", "float64")
    refused(["a", "b"], "list of 2 items", "str")
    refused("annotations/0001.txt", "A path is not opened in a string")
    refused(dict.fromkeys(map(str, range(1000)), "x" * 10**6), "1000 keys")
    refused(None, "[]")
    refused(b"\xff\xfe\x00", "UTF-8")
    refused('{"a": ', "not JSON")
    refused("<annotation><object>", "not XML")
    refused("<svg></svg>", "<svg>")


class Thorny:
    def __getattr__(self, name):
        raise RuntimeError("do not touch")


class ThornyArray:
    shape = property(lambda self: 1 / 0)

    def __array__(self, *_, **__):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError


class ThornyDict(dict):
    def __getitem__(self, key):
        raise RuntimeError("no")

    get = __getitem__


def recursive_list():
    found = []
    found.append(found)
    return found


def recursive_dict():
    found = {}
    found["annotations"] = found["shapes"] = found["boxes"] = found["labels"] = found["predictions"] = found
    return found


def failing():
    yield hf_object_detection(1)[0]
    raise OSError("camera lost")


@pytest.mark.parametrize(
    "found",
    [
        Thorny(),
        [Thorny()],
        ThornyArray(),
        [ThornyArray(), ThornyArray()],
        ThornyDict(boxes=1, labels=2, bbox=3),
        [ThornyDict(bbox=1, category_id=2)],
        {1: 2, None: 3, (4, 5): ThornyArray()},
        np.array([object(), None], dtype=object),
        np.array([[1, 2, 3, "x"]], dtype=object),
        recursive_list(),
        recursive_dict(),
        failing(),
        object(),
        object,
        7,
        True,
        float("nan"),
        [None],
        [[[[]]]],
        {"boxes": recursive_list(), "labels": []},
        {"boxes": "abcd", "scores": [1]},
        {"masks": [1, 2], "scores": [1, 2]},
        {"instances": 3, "pred_boxes": 4},
        Stand(xyxy="abcd"),
        Stand(xyxy=np.zeros((2, 7))),
        Stand(boxes=Thorny(), names=None),
        {"<OD>": {"bboxes": [[1, 2, 3]], "labels": ["x"]}},
        {"annotations": [7], "images": 3},
        {"shapes": [{"points": "xyz"}]},
        {"Labels": [7]},
        {"responses": [7, 8]},
        {"detections": [{"bounding_box": {}}]},
        [{"segmentation": 5, "bbox": [1, 2, 3], "predicted_iou": {}}],
        [{"category_id": 1, "segmentation": {"size": "ab", "counts": []}}],
        [{"category_id": 1, "segmentation": [[1, 2, 3], ["a"]]}],
        [{"mask": 3, "label": 4}],
        (np.zeros((2, 4)), np.zeros(2)),
        "[" * 100_000,
        "9" * 100_000,
        "1" * 5000 + " .5 .5 .1 .1",
        "[" + "9" * 10_000 + "]",
        '{"boxes": [[NaN, 1, 2, 3]], "labels": [1], "scores": [1]}',
    ],
    ids=lambda found: f"{type(found).__name__}",
)
def test_hostile_input_raises_nothing_but_a_detection_error(found):
    refused(found)


def test_entities_cannot_unfold():
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation><object>&l11;</object></annotation>'
    refused(bomb, "DOCTYPE")
    # Broken off after the declaration: a parser that reads on, to where entities unfold, finds no XML instead.
    refused(bomb.partition("&l11;")[0], "DOCTYPE")
    refused('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE")


class CountedBytes(bytes):
    """Counts how many of its bytes are read, one by one."""

    read = 0

    def __iter__(self):
        for byte in super().__iter__():
            self.read += 1
            yield byte


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [2, 2], "counts": [2**62] * 4 + [4]},
        {"size": [2, 2], "counts": "o" * 500_000},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [-4, 8]},
        {"size": [float("inf"), 2], "counts": [4]},
    ],
    ids=["huge", "overflowing", "endless", "too-many", "negative", "infinite"],
)
def test_run_lengths_cannot_eat_the_memory(rle, monkeypatch):
    monkeypatch.setattr(np, "repeat", lambda *_: pytest.fail("the mask was unpacked"))
    tracemalloc.start()
    try:
        refused([{"category_id": 1, "segmentation": rle}], "row 0 of the COCO result", "mask")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_compressed_count_without_an_end_is_not_read_to_its_end():
    counts = CountedBytes(b"o" * 500_000)
    refused([{"category_id": 1, "segmentation": {"size": [2, 2], "counts": counts}}], "row 0 of the COCO result")
    assert 0 < counts.read < 20  # 64 bits are 13 characters


def test_a_dataset_cannot_claim_an_image_that_eats_the_memory():
    dataset = coco_dataset(1)
    dataset["images"][0] |= {"width": 10**6, "height": 10**6}
    dataset["annotations"][0]["segmentation"] = [outline(CAT), outline(DOG)]
    refused(dataset, "1000000 x 1000000")
