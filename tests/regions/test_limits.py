"""`RegionLimits`: hostile detections are refused before anything is parsed, decoded or drawn.

The tenth of a second is the project's own promise; every other bound is in bytes or counts.
"""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import DetectionError, MarkerError, Region, RegionError, mark, regions_from
from langchain_vipllava.chains.steps import DetectRegions, MarkRegions
from langchain_vipllava.regions import rle as rle_module
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.limits import RegionLimits

BOX = [1, 2, 30, 40]
HUGE = 10**5000
DEEP = reduce(lambda inner, _: [inner], range(3000), 1)
RLE = {"size": [2**14, 2**14], "counts": [0, 2**28]}
DUMP = dict.fromkeys(Region.model_fields) | {"mask": RLE, "box": BOX}


def circle(count, center=250.0, radius=200.0):
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([center + radius * np.cos(angles), center + radius * np.sin(angles)], axis=1)


def coco(segmentation, count=1):
    return [{"category_id": 1, "segmentation": segmentation} for _ in range(count)]


XYXY = {"box_format": "xyxy"}
REFUSED = {
    "boxes": (lambda: [BOX] * 10_000, XYXY, "max_rows"),
    "box dicts": (lambda: [{"box": BOX}] * 10_000, XYXY, "max_rows"),
    "box columns": (lambda: {"boxes": [BOX] * 10_000, "labels": ["a"] * 10_000}, {}, "max_rows"),
    "box array": (lambda: np.tile(BOX, (10_000, 1)), XYXY, "max_rows"),
    "many regions": (lambda: [BOX] * 4_000, XYXY, "max_regions=1000"),
    "endless rows": (lambda: itertools.repeat(BOX), XYXY, "max_rows"),
    "endless column": (lambda: {"boxes": [BOX], "scores": itertools.count(), "labels": ["a"]}, {}, "2 scores"),
    "10 MB of JSON": (lambda: "[" + "1," * 5_000_000 + "1]", {}, "max_text_bytes"),
    "10 MB of bytes": (lambda: b" " * 10_000_000, {}, "max_text_bytes"),
    "10 MB of XML": (lambda: "<annotation>" + " " * 10_000_000, {}, "max_text_bytes"),
    "wide characters": (lambda: "猫" * 3_000_000, {}, "max_text_bytes"),
    "YOLO lines": (lambda: "0 .5 .5 .2 .2\n" * 10**6, {"image_size": (99, 99)}, "max_text_bytes"),
    "fewer YOLO lines": (lambda: "0 .5 .5 .2 .2\n" * 6000, {"image_size": (99, 99)}, "max_rows"),
    "digits": (lambda: "9" * 50_000_000, {}, "max_text_bytes"),
    "XML elements": (lambda: "<annotation>" + "<a/>" * 160_000, {}, "max_rows"),
    "nested XML": (lambda: "<annotation>" + "<a>" * 100_000, {}, "max_depth"),
    "masks": (lambda: coco(RLE, 12), {}, "max_mask_bytes"),
    "masks as JSON": (lambda: json.dumps(coco(RLE, 12)), {}, "max_mask_bytes"),
    "dumped masks": (lambda: [DUMP] * 12, {}, "max_mask_bytes"),
    "segments": (
        lambda: {
            "segmentation": np.zeros((3000, 4000), np.uint8),
            "segments_info": [{"id": 0, "label_id": index} for index in range(100)],
        },
        {},
        "max_mask_bytes",
    ),
    "runs": (lambda: coco({"size": [4, 4], "counts": [1] * 900_000 + [0] * 200_000}), {}, "max_values"),
    "compressed runs": (lambda: coco({"size": [4, 4], "counts": "1" * 7_000_000}), {}, "max_values"),
    "rings over the whole image": (
        lambda: coco([[1, 1, 3999, 1, 3999, 2999]] * 6000),
        {"image_size": (4000, 3000)},
        "max_mask_bytes",
    ),
    "rings": (lambda: coco([[1, 1, 9, 1, 9, 9]] * 50_000), {"image_size": (40, 30)}, "max_polygon_points"),
    "an image of 10^18 pixels": (lambda: coco([[1, 1, 9, 1, 9, 9]] * 2), {"image_size": (10**9, 10**9)}, "pixels"),
    "polygon": (lambda: coco([[1.0, 2.0] * 10**6]), {}, "max_values"),
    "smaller polygon": (lambda: coco([[1.0, 2.0] * 30_000]), {}, "max_polygon_points"),
    "nested": (lambda: DEEP, {}, "max_depth"),
    "nested JSON": (lambda: "[" * 900 + "]" * 900, {}, "max_depth"),
    "open JSON": (lambda: "[" * 100_000, {}, "not JSON"),
    "huge integer": (lambda: [[HUGE, 1, 2, 3]], XYXY, "no known format"),
    "huge integer in JSON": (lambda: "[[" + "9" * 5000 + ",1,2,3]]", XYXY, "not JSON"),
    "huge size": (lambda: [BOX], {**XYXY, "image_size": (HUGE, 5)}, "image_size"),
    "infinity": (lambda: "[[Infinity, 1, 2, 3]]", XYXY, "infinity"),
    "overflow": (lambda: [[1e308] * 4], {"box_format": "xywh"}, "infinity"),
    "negative mask": (lambda: coco({"size": [-5, -5], "counts": [25]}), {}, "-5 x -5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_much_is_refused_in_little_memory(name, monkeypatch):
    monkeypatch.setattr(rle_module.np, "repeat", lambda *_: pytest.fail("a mask was decoded"))
    make, arguments, words = REFUSED[name]
    detections = make()
    tracemalloc.start()
    try:
        with pytest.raises(DetectionError, match=words) as caught:
            regions_from(detections, **arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20  # the largest text is 50 MB, and its copy
    assert len(str(caught.value)) <= 2000


@pytest.mark.parametrize("name", ["boxes", "box dicts", "10 MB of JSON", "10 MB of bytes", "masks"])
def test_boxes_and_texts_are_refused_in_a_tenth_of_a_second(name):
    make, arguments, _ = REFUSED[name]
    detections, seconds = make(), []
    for _ in range(3):
        start = time.process_time()  # of this process: other processes of the machine do not count
        with pytest.raises(DetectionError):
            regions_from(detections, **arguments)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


REGIONS = {
    "nested polygon": {"polygon": DEEP},
    "nested box": {"box": DEEP},
    "nested label": {"box": BOX, "label": DEEP},
    "nested mask": {"mask": DEEP},
    "endless polygon": {"polygon": itertools.repeat((1, 2))},
    "endless box": {"box": itertools.count()},
    "200,000 points": {"polygon": circle(200_000).tolist()},
    "200,000 points as an array": {"polygon": circle(200_000)},
    "words": {"polygon": [("a", "b")] * 50_000},
    "huge integer": {"box": (0, 0, HUGE, 5)},
    "huge point": {"point": (HUGE, 5)},
    "large integer": {"box": (0, 0, 10**400, 5)},
    "huge id": {"box": BOX, "id": HUGE},
    "a mask of any size": {"mask": {"size": [10**9, 10**9], "counts": [10**18]}},
    "a mask of huge size": {"mask": {"size": [HUGE, 1], "counts": [HUGE]}},
    "infinite": {"box": (0, 0, float("inf"), 5)},
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_of_anything_raises_a_region_error(name):
    with pytest.raises(RegionError) as caught:
        Region(**REGIONS[name])
    assert len(str(caught.value)) <= 2000


@pytest.mark.parametrize("text", ['{"polygon":' + "[" * 5000, '{"box":[0,0,' + "9" * 6000 + ",4]}", " " * 10_000_000])
def test_a_region_of_any_json_raises_a_region_error(text):
    with pytest.raises(RegionError):
        Region.model_validate_json(text)


def test_the_default_limits_admit_what_detectors_return():
    boxes = np.random.default_rng(0).uniform(0, 50, (900, 4)) + np.array((0, 0, 60, 60))
    output = {"boxes": boxes, "scores": np.ones(900), "labels": np.ones(900)}
    assert len(regions_from(output)) == 900
    best = regions_from(
        {name: np.tile(column, (5, *[1] * (column.ndim - 1))) for name, column in output.items()}, max_regions=300
    )
    assert len(best) == 300
    outline = circle(4000)
    (region,) = regions_from(coco([outline.ravel().tolist()]))
    assert region.polygon == tuple(map(tuple, outline.tolist()))
    masks = [
        {"segmentation": mask, "bbox": [0, 0, 400, 300], "predicted_iou": 0.9}
        for mask in np.ones((100, 300, 400), bool)
    ]
    assert len(regions_from(masks, limits=RegionLimits(max_mask_bytes=1))) == 100  # arrays are in memory already
    assert len(regions_from(coco({"size": [480, 640], "counts": [0, 480 * 640]}, 300))) == 300
    assert regions_from("0 .5 .5 .2 .2\n" * 300, image_size=(100, 100))[299].box == (40, 40, 60, 60)


def test_the_limits_are_arguments_of_whatever_reads_detections(photo):
    strict = RegionLimits(max_regions=1)
    two = [BOX, [2, 3, 40, 50]]
    readers = {
        "regions_from": lambda: regions_from(two, **XYXY, limits=strict),
        "options": lambda: DetectionOptions(**XYXY, limits={"max_regions": 1}).read(two),
        "detect step": lambda: DetectRegions(detector=lambda image: two, limits=strict, **XYXY).invoke(
            {"image": photo}
        ),
        "mark step": lambda: MarkRegions(limits=strict, **XYXY).invoke({"image": photo, "detections": two}),
    }
    for read in readers.values():
        with pytest.raises(DetectionError, match="2 regions; expected at most max_regions=1"):
            read()
    assert len(regions_from([BOX] * 10_000, **XYXY, limits=RegionLimits(max_rows=10_000, max_regions=10_000))) == 10_000
    with pytest.raises(DetectionError, match="max_rows=0"):
        replace(strict, max_rows=0)
    with pytest.raises(DetectionError, match="max_things"):
        DetectionOptions(limits={"max_things": 1})


def test_many_or_endless_regions_are_refused_before_the_image_is_opened():
    for regions in ([Region(box=BOX)] * 10_000, itertools.repeat(Region(box=BOX))):
        with pytest.raises(MarkerError, match="only 72 combinations"):
            mark("no such file", regions)
    for names in (["red"] * 10**6, itertools.repeat("red")):
        with pytest.raises(MarkerError, match="73 values in color="):
            mark(Image.new("RGB", (64, 64)), [Region(box=BOX)], color=names)


@pytest.mark.parametrize("kind", ["mask", "scribble", "point"])
def test_a_fine_outline_is_drawn_as_a_coarse_one(kind):
    photo = Image.new("RGB", (500, 500))
    fine, coarse = (mark(photo, Region(polygon=circle(count)), kind=kind).image for count in (100_000, 1000))
    different = np.abs(np.asarray(fine, int) - np.asarray(coarse, int)).max(axis=2) > 40
    assert different.mean() < 0.01
    assert np.asarray(fine).any()


def test_a_polygon_that_leaves_the_image_is_cut_at_its_edge():
    photo = Image.new("RGB", (100, 80))
    inside = mark(photo, Region(polygon=[(0, 0), (100, 0), (100, 80), (0, 80)]), kind="mask").image
    for far in (150.0, 1e9, 1e308):
        around = Region(polygon=[(-far, -far), (far, -far), (far, far), (-far, far)])
        assert mark(photo, around, kind="mask").image.tobytes() == inside.tobytes()


def test_objects_of_several_polygons_are_filled_as_before():
    rings = [
        [10, 10, 30, 10, 30, 30, 10, 30],
        [20, 20, 50, 20, 50, 40, 20, 40],
        [-20, 60, 20, 60, 20, 1e308, -20, 1e308],
    ]
    (region,) = regions_from(coco(rings), image_size=(64, 80))
    expected = np.zeros((80, 64), bool)
    expected[10:30, 10:30] = expected[20:40, 20:50] = expected[60:, :20] = True
    assert np.array_equal(region.mask, expected)


@pytest.mark.parametrize("name", [name for name, (*_, words) in REFUSED.items() if words.startswith("max_")])
def test_an_error_about_a_limit_says_how_to_raise_it(name):
    make, arguments, words = REFUSED[name]
    limit = words.partition("=")[0]
    with pytest.raises(DetectionError, match=rf"limits=RegionLimits\({limit}=\.\.\.\)"):
        regions_from(make(), **arguments)
