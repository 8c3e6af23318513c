"""Every layout of docs/reference/detections.md is read as it says, or refused with advice: none is silently wrong."""

from __future__ import annotations

import pytest

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.formats import FORMATS
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.recognition import matches, recognize
from tests.regions.layouts import all_groups
from tests.regions.layouts.page import PAGE, render

LAYOUTS = [layout for group in all_groups().values() for layout in group]
READ = [layout for layout in LAYOUTS if layout.regions is not None]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.id)
def test_a_layout_is_read_to_the_pixel_or_refused(layout):
    if layout.needs:
        pytest.importorskip(layout.needs)
    layout.check()


@pytest.mark.parametrize("layout", READ, ids=lambda layout: layout.id)
def test_a_layout_is_read_alike_by_its_named_reader(layout):
    if layout.needs:
        pytest.importorskip(layout.needs)
    if "format" not in layout.arguments:
        key = recognize(layout.make(), RegionLimits()).format.key
        layout.check(format=key)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.id)
def test_a_layout_is_recognized_by_one_format_of_its_precedence(layout):
    if layout.needs:
        pytest.importorskip(layout.needs)
    try:
        recognized = recognize(layout.make(), RegionLimits())
    except DetectionError:
        return  # refused before its format is known
    found, output = recognized.format, recognized.output
    others = [other for other in FORMATS if other.precedence == found.precedence and matches(other, output)]
    assert [other.name for other in others] == [found.name]


def test_samples_have_names_of_their_own():
    names = [layout.id for layout in LAYOUTS]
    assert len(set(names)) == len(names)


def test_the_page_is_written_from_the_samples():
    assert PAGE.read_text() == render(), "run `make layouts`"
