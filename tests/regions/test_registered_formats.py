"""`register_format`: formats that users add."""

from __future__ import annotations

import threading

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.recognition import register_format
from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.row import Row
from tests.regions.samples import CAT, DOG, SIZE, at, hf_object_detection, refused


def test_registered_formats_come_first_and_can_be_removed():
    def read(found, context):
        for row in found:
            box = list(row["box"].values())
            yield Row(box=box, box_format=context.box_format_or("xyxy"), class_id=17, score=row["score"])

    remove = register_format("mine", lambda found: found[0]["label"] == "cat", read)
    try:
        regions = regions_from(hf_object_detection(2), labels={17: "tiger"}, image_size=SIZE, min_score=0.7)
        assert [(r.label, r.box) for r in regions] == [("tiger", CAT)]
        refused(at((500, 500, 600, 600)), "row 0 of the mine", "200 x 100", image_size=SIZE)
        refused({"unknown": 1}, "mine", "matches() of the format 'mine' raised KeyError")
    finally:
        remove()
    remove()
    assert regions_from(hf_object_detection(1))[0].label == "cat"


def test_a_registered_format_may_give_regions_and_replaces_its_namesake():
    first = register_format("mine", lambda found: found == "x", lambda found, context: [Region(box=CAT)])
    second = register_format("mine", lambda found: found == "x", lambda found, context: [Region(box=DOG)])
    try:
        first()
        assert regions_from("x") == [Region(box=DOG)]
    finally:
        second()
    refused("x", "no known format")


def test_a_registered_reader_that_fails_is_named():
    def read(found, context):
        yield Region(box=CAT)
        raise OSError("disk full")

    for reader, word in ((read, "disk full"), (lambda found, context: [1], "expected a Row or a Region")):
        remove = register_format("mine", lambda found: found == "x", reader)
        try:
            refused("x", "of the mine", word)
        finally:
            remove()


def test_formats_register_from_many_threads():
    removers = []
    barrier = threading.Barrier(8)

    def work(worker):
        barrier.wait()
        for i in range(50):
            removers.append(
                register_format(f"{worker}-{i}", lambda found, w=(worker, i): found == w, lambda *_: [Region(box=CAT)])
            )

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert all(regions_from((worker, i)) == [Region(box=CAT)] for worker in range(8) for i in (0, 49))
    finally:
        for remove in removers:
            remove()
    refused((1, 1), "no known format")
