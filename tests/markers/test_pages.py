"""`mark_pages`: many or scattered regions on views that show each of them large enough."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import MarkedImage, MarkerError, Region, RegionError, TinyRegionWarning, mark, mark_pages
from langchain_vipllava.markers import mark as mark_module

SIZE = (1920, 1080)


def icons(count=70, side=40):
    corners = [(40 + 96 * (i % 10), 40 + 100 * (i // 10)) for i in range(count)]
    return [
        Region(box=(x, y, x + side, y + side), id=f"r{i + 1}", label=f"app {i + 1}") for i, (x, y) in enumerate(corners)
    ]


@pytest.fixture(scope="module")
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(60, 120, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pages(noise):
    return mark_pages(noise, icons())


def test_every_region_is_on_one_page_and_large_enough_there(pages):
    assert sorted(m.region.id for page in pages for m in page.markers) == sorted(f"r{i + 1}" for i in range(70))
    assert all(isinstance(page, MarkedImage) for page in pages)
    for page in pages:
        assert 1 <= len(page.markers) <= 9
        assert len(set(page.phrases)) == len(page.markers)
        assert min(min(size) for size in page.sizes_seen) >= 32 - 1e-6
        assert page.original.size == SIZE
    assert 8 <= len(pages) <= 16
    assert [r.id for r in pages.regions] == [f"r{i + 1}" for i in range(70)]
    assert len(pages.phrases) == len(pages.markers) == 70


def test_a_question_finds_the_page_of_its_region(pages):
    for index in (0, 17, 69):
        page = pages.page_of(f"What is {{r{index + 1}}}?")
        marker = next(m for m in page.markers if m.region.id == f"r{index + 1}")
        assert pages.question(f"What is {{r{index + 1}}}?") == f"What is the object {marker.phrase}?"
        assert pages.question(f"What is {{{index}}}?") == f"What is the object {marker.phrase}?"
        block, text = pages.message(f'Answer as {{"a": 1}} about {{r{index + 1}}}').content
        assert text["text"] == f'Answer as {{"a": 1}} about the object {marker.phrase}'
        assert block["base64"] == page.content_block()["base64"]
    assert pages.page_of("Describe the image.") is pages[0]


def test_a_question_about_two_pages_says_what_to_do(pages):
    with pytest.raises(MarkerError, match=r"names r1, r70 of pages 1, \d+.*mark these regions together"):
        pages.question("Is {r1} like {r70}?")
    two = [m.region.id for m in pages[0].markers[:2]]
    assert pages.question(f"Is {{{two[0]}}} like {{{two[1]}}}?").count("rectangle") == 2
    with pytest.raises(MarkerError, match="names no marker"):
        pages.question("What is {r71}?")
    with pytest.raises(MarkerError, match="empty"):
        pages.message(" ")


def test_the_schema_of_the_answers_holds_for_all_pages(pages):
    schema = pages.answers_schema({"type": "boolean"})
    assert schema["required"] == list(schema["properties"]) == [f"r{i + 1}" for i in range(70)]
    merged = {
        key: entry for page in pages for key, entry in page.answers_schema({"type": "boolean"})["properties"].items()
    }
    assert merged.keys() == schema["properties"].keys()
    for number, page in enumerate(pages):
        for marker in page.markers:
            described = schema["properties"][marker.region.id]["description"]
            assert described == f"the object {marker.phrase} on page {number + 1}"


def test_few_readable_regions_take_one_page_which_is_the_image():
    regions = [Region(box=(100 + 300 * i, 200, 350 + 300 * i, 500)) for i in range(5)]
    pages = mark_pages(Image.new("RGB", SIZE), regions)
    assert len(pages) == 1
    assert pages[0].crop is None
    assert pages.phrases == mark(Image.new("RGB", SIZE), regions).phrases
    assert "page" not in pages.answers_schema()["properties"]["0"]["description"]


def test_scattered_small_regions_each_get_a_page():
    corners = [(0, 0), (1880, 0), (0, 1040), (1880, 1040)]
    pages = mark_pages(Image.new("RGB", SIZE), [Region(box=(x, y, x + 40, y + 40)) for x, y in corners])
    assert len(pages) == 4
    assert all(page.crop is not None for page in pages)


def test_a_small_and_a_large_region_that_share_no_view_get_two_pages():
    pages = mark_pages(Image.new("RGB", SIZE), [Region(box=(100, 100, 1800, 1000)), Region(box=(300, 300, 330, 330))])
    assert [page.crop is None for page in pages] in ([True, False], [False, True])


def test_what_can_be_seen_nowhere_is_warned_about_where_it_was_marked():
    with pytest.warns(TinyRegionWarning) as caught:
        mark_pages(Image.new("RGB", SIZE), [Region(box=(100, 100, 100.4, 100.4)), Region(point=(50, 50))])
    assert caught[0].filename == __file__


def test_numbers_count_over_all_pages(noise, monkeypatch):
    drawn, draw = [], mark_module.draw_number
    monkeypatch.setattr(mark_module, "draw_number", lambda *a: (drawn.append(a[1]), draw(*a)))
    pages = mark_pages(noise, icons(20), numbers=True)
    assert sorted(drawn) == list(range(1, 21))
    assert [m.number for m in pages.markers] == list(range(1, 21))


def test_pages_is_a_sequence(pages):
    assert len(list(pages)) == len(pages)
    assert pages[-1] is list(pages)[-1]
    assert pages[:2] == (pages[0], pages[1])


@pytest.mark.parametrize("per_page", [0, 10, 1.5, "3"])
def test_pages_of_other_sizes_are_refused(per_page):
    with pytest.raises(MarkerError, match="per_page="):
        mark_pages(Image.new("RGB", SIZE), icons(3), per_page=per_page)


def test_fewer_regions_per_page(noise):
    assert all(len(page.markers) <= 3 for page in mark_pages(noise, icons(20), per_page=3))


def test_what_mark_refuses_pages_refuse():
    with pytest.raises(MarkerError, match="no regions"):
        mark_pages(Image.new("RGB", SIZE), [])
    with pytest.raises(RegionError, match="outside"):
        mark_pages(Image.new("RGB", SIZE), [*icons(3), Region(box=(3000, 0, 3100, 90))])
    with pytest.raises(MarkerError, match="unknown marker kind"):
        mark_pages(Image.new("RGB", SIZE), icons(3), kind="circle")


@pytest.mark.parametrize("count", [10, 18, 19, 28, 37, 73])
def test_pages_share_the_regions_evenly(count):
    cells = [(10 + 300 * (index % 6), 10 + 170 * (index // 6 % 6)) for index in range(count)]
    regions = [Region(box=(x, y, x + 280, y + 150)) for x, y in cells]
    counts = [len(page.regions) for page in mark_pages(Image.new("RGB", (1920, 1080)), regions)]
    assert sum(counts) == count
    assert len(counts) == -(-count // 9)
    assert max(counts) - min(counts) <= 2


def test_what_is_far_from_all_others_keeps_a_page_of_its_own():
    boxes = [(10 + 30 * index, 10, 30 + 30 * index, 30) for index in range(4)] + [(1880, 1040, 1900, 1060)]
    pages = mark_pages(Image.new("RGB", (1920, 1080)), [Region(box=box) for box in boxes])
    assert [len(page.regions) for page in pages] == [4, 1]
    assert pages.order[4] == (1, 0)
