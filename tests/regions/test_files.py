"""Detections in files and in text: encodings, JSON lines, tables with a header, size."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.region import Region
from tests.regions.samples import BY_ID, CAT, SIZE, coco_results, hf_object_detection, labelme, refused, voc, yolo_text

ROWS = [{"xmin": 20, "ymin": 10, "xmax": 60, "ymax": 50, "label": "cat", "score": 0.5}]
EXPECTED = [Region(box=CAT, label="cat", score=0.5)]
CSV = "xmin,ymin,xmax,ymax,label,score\r\n20,10,60,50,cat,0.5\r\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS * 2)),
        ("a.csv", CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace(",", ";")),
        ("answer.md", f"Here they are:\n```json\n{json.dumps(ROWS)}\n```\nAnything else?"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_in_its_encoding(tmp_path, name, text, encoding):
    data = text.encode(encoding)
    if encoding in ("utf-16-le", "utf-16-be"):
        data = (codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE) + data
    path = tmp_path / name
    path.write_bytes(data)
    for found in (path, data, text):
        assert regions_from(found)[:1] == EXPECTED
    assert len(regions_from(path)) == (2 if name.endswith("jsonl") else 1)


@pytest.mark.parametrize("sample", [yolo_text, voc, labelme], ids=lambda sample: sample.__name__)
def test_annotation_files_are_read_by_path(tmp_path, sample):
    path = tmp_path / "a"
    path.write_text(sample(2))
    assert regions_from(path, image_size=SIZE, labels=BY_ID) == regions_from(sample(2), image_size=SIZE, labels=BY_ID)


def test_a_file_that_cannot_be_read_or_is_too_large_is_an_error(tmp_path):
    refused(tmp_path / "absent.json", "cannot read", "absent.json")
    refused(tmp_path, "cannot read")
    path = tmp_path / "large.json"
    path.write_text(json.dumps(hf_object_detection(2) * 40))
    refused(path, "max_text_bytes=100", limits=RegionLimits(max_text_bytes=100))
    (tmp_path / "image.json").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xd8")
    refused(tmp_path / "image.json", "neither UTF-8 nor UTF-16")


def test_a_path_in_a_string_is_never_opened(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS))
    refused(str(path), "pathlib.Path(")
    assert regions_from(Path(path)) == EXPECTED


def test_an_empty_file_has_no_regions(tmp_path):
    (tmp_path / "a.txt").write_text("")
    assert regions_from(tmp_path / "a.txt") == []


def test_broken_lines_are_named(tmp_path):
    refused('{"a": 1}\n{"a": ', "not JSON")
    refused(json.dumps(coco_results(1)[0]) + "\n[", "not JSON")
