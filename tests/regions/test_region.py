"""`Region`: what makes one, what is none, and JSON there and back."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import numpy as np
import pytest

from langchain_vipllava import Region, RegionError, VipLlavaError
from langchain_vipllava.regions.rle import encode_rle

BOX = (0.5, 0.25, 30.0, 1 / 3 + 40)


def holes():
    """A ring, a speck in the corner, and a hole: several parts."""
    mask = np.zeros((9, 7), dtype=bool)
    mask[2:8, 1:6] = True
    mask[4:6, 3:4] = False
    mask[0, 6] = True
    return mask


FULL = {
    "box": BOX,
    "mask": holes(),
    "polygon": ((0.1, 0.2), (29.0, 1e-9), (1e1, 100 / 3)),
    "point": (3.5, 4.0),
    "label": 'a "dog", 犬 {0}\n',
    "score": 0.1 + 0.2,
    "id": "r1",
}


# --- what makes one ---


@pytest.mark.parametrize(
    ("given", "box"),
    [
        ({"box": (1, 2, 3, 4)}, (1, 2, 3, 4)),
        ({"box": np.array([1, 2, 3, 4], np.float32)}, (1, 2, 3, 4)),
        ({"box": [np.int64(1), np.float32(2), Decimal(3), 4]}, (1, 2, 3, 4)),
        ({"box": (-5, -5, 1e9, 1e9)}, (-5, -5, 1e9, 1e9)),
        ({"mask": holes()}, (1, 0, 7, 8)),
        ({"mask": np.eye(1)}, (0, 0, 1, 1)),
        ({"mask": holes().astype(np.uint8) * 255}, (1, 0, 7, 8)),
        ({"mask": holes() * 0.5}, (1, 0, 7, 8)),
        ({"mask": [[0, 0], [0, 1]]}, (1, 1, 2, 2)),
        ({"mask": holes()[None]}, (1, 0, 7, 8)),
        ({"mask": holes()[..., None]}, (1, 0, 7, 8)),
        ({"mask": np.ones((1, 5, 1))}, (0, 0, 1, 5)),
        ({"mask": np.ones((1, 1, 5))}, (0, 0, 5, 1)),
        ({"polygon": [(10, 20), (30, 25), (20, 40)]}, (10, 20, 30, 40)),
        ({"polygon": np.array([(10, 20), (30, 25), (20, 40)])}, (10, 20, 30, 40)),
        ({"point": (3, 4)}, (3, 4, 3, 4)),
        ({"point": np.array([3.5, 4])}, (3.5, 4, 3.5, 4)),
        ({"mask": holes(), "polygon": [(0, 0), (9, 0), (0, 9)], "point": (2, 2)}, (1, 0, 7, 8)),
        ({"polygon": [(0, 0), (9, 0), (0, 9)], "point": (2, 2)}, (0, 0, 9, 9)),
        ({"mask": holes(), "box": (1, 1, 2, 2)}, (1, 1, 2, 2)),
    ],
)
def test_the_box_follows_from_what_is_given(given, box):
    region = Region(**given)
    assert region.box == box
    assert all(type(side) is float for side in region.box)
    assert region.is_point is (given.keys() == {"point"})


def test_tensors_are_taken():
    import torch

    assert Region(box=torch.tensor([1.0, 2, 3, 4], requires_grad=True)).box == (1, 2, 3, 4)
    assert Region(box=list(torch.tensor([1.0, 2, 3, 4]))).box == (1, 2, 3, 4)
    assert Region(mask=torch.from_numpy(holes())).box == (1, 0, 7, 8)
    assert Region(polygon=torch.tensor([[0, 0], [4, 0], [0, 4]])).box == (0, 0, 4, 4)


def test_probabilities_are_cut_at_one_half():
    assert Region(mask=[[0.49, 0.5], [0.51, 0.0]]).mask.tolist() == [[False, True], [True, False]]


def test_the_middle_and_numbers_as_ids():
    assert Region(box=(10, 20, 30, 60)).center == (20, 40)
    assert Region(box=(0, 0, 1, 1), id=7).id == "7"


def test_a_region_cannot_be_changed_and_owns_its_mask():
    theirs = holes()
    region = Region(mask=theirs)
    theirs[:] = True
    assert region.mask.sum() == holes().sum()
    with pytest.raises(ValueError, match="read-only"):
        region.mask[0, 0] = True
    with pytest.raises(Exception, match="frozen"):
        region.label = "cat"


# --- JSON ---


@pytest.mark.parametrize(
    "fields",
    [*({name: FULL[name]} for name in ("box", "mask", "polygon", "point")), FULL,
     *({"box": BOX, name: FULL[name]} for name in ("label", "score", "id")),
     {"box": (0.1, 0.2, 0.30000000000000004, 1e300)}],
)  # fmt: skip
def test_json_there_and_back_without_loss(fields):
    region = Region(**fields)
    for text in (region.model_dump_json(), json.dumps(region.model_dump(mode="json"))):
        back = Region.model_validate_json(text)
        assert back == region
        assert back.model_dump_json() == region.model_dump_json()
        for name in FULL:
            mine, theirs = getattr(region, name), getattr(back, name)
            assert np.array_equal(mine, theirs) if name == "mask" else mine == theirs
            assert type(mine) is type(theirs)
    assert Region.model_validate(region.model_dump()) == region
    assert Region.model_validate_json(region.model_dump_json().encode()) == region


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (31, 17)])
def test_masks_of_any_pattern_survive_json(shape):
    random = np.random.default_rng(0)
    for share in (0.02, 0.5, 1.0):
        mask = random.uniform(size=shape) <= share
        mask.flat[random.integers(mask.size)] = True
        back = Region.model_validate_json(Region(mask=mask).model_dump_json()).mask
        assert np.array_equal(back, mask)
        assert (back.dtype, back.flags.writeable) == (bool, False)


def test_a_mask_is_small_in_json_and_the_run_lengths_are_coco_s():
    mask = np.zeros((1000, 1000), dtype=bool)
    mask[100:900, 100:900] = True
    assert len(Region(mask=mask).model_dump_json()) < 12_000
    # column by column, zeros first: three zeros, then the two set pixels of the second column
    dumped = json.loads(Region(mask=[[0, 0], [0, 1], [0, 1]]).model_dump_json())["mask"]
    assert dumped == {"size": [3, 2], "counts": [4, 2]}
    assert Region(mask={"size": [3, 2], "counts": "42"}).box == (1, 1, 2, 3)


def test_the_schema_can_be_written_for_an_llm():
    for mode in ("validation", "serialization"):
        assert "mask" in json.loads(json.dumps(Region.model_json_schema(mode=mode)))["properties"]


# --- equality ---


@pytest.mark.parametrize("name", FULL)
def test_equal_regions_are_equal_and_another_field_makes_another_region(name):
    region, same = Region(**FULL), Region(**FULL)
    assert region == same
    assert hash(region) == hash(same)
    other = {"box": (0, 0, 9, 9), "mask": ~holes(), "polygon": ((0, 0), (9, 0), (0, 9)), "point": (0, 0),
             "label": "cat", "score": 0.5, "id": "r2"}[name]  # fmt: skip
    assert region != Region(**FULL | {name: other})
    assert (Region(**FULL | {name: None}) == region) is False


def test_regions_work_in_sets_and_against_strangers():
    bigger = np.pad(holes(), ((0, 1), (0, 0)))
    regions = {Region(mask=holes()), Region(mask=holes()), Region(mask=bigger), Region(box=(1, 0, 7, 8))}
    assert len(regions) == 3
    assert Region(box=BOX) != BOX
    assert Region(box=BOX) is not None


def test_the_repr_names_what_is_known_and_not_every_pixel():
    text = repr(Region(mask=np.ones((1000, 2000), bool), label="dog"))
    assert "1000 x 2000" in text
    assert "dog" in text
    assert "score" not in text
    assert len(text) < 150


# --- what is none ---

NAN, INF = math.nan, math.inf
BAD = [
    ({}, "got none"),
    ({"label": "dog"}, "got none"),
    ({"box": None}, "got none"),
    ({"polygon": []}, "got none"),
    ({"box": (NAN, 0, 1, 1)}, "NaN"),
    ({"box": (0, 0, INF, 1)}, "infinity"),
    ({"box": (3, 0, 1, 1)}, "inverted"),
    ({"box": (0, 3, 1, 1)}, "inverted"),
    ({"box": (1, 1, 1, 2)}, "empty"),
    ({"box": (1, 1, 1, 1)}, "empty"),
    ({"box": (1, 1, 1, 1), "point": (2, 2)}, "empty"),
    ({"box": (1, 2, 3)}, "box"),
    ({"box": (1, 2, 3, 4, 5)}, "box"),
    ({"box": "1, 2, 3, 4"}, "box"),
    ({"box": b"1234"}, "box"),
    ({"box": ("a", "b", "c", "d")}, "box"),
    ({"box": (None, 0, 1, 1)}, "box"),
    ({"box": {"x": 1}}, "box"),
    ({"box": 5}, "box"),
    ({"box": object()}, "box"),
    ({"box": (1j, 0, 1, 1)}, "box"),
    ({"box": (0, 0, 10**400, 1)}, "box"),
    ({"box": (0, 0, 10**5000, 1)}, "box"),
    ({"box": np.zeros((2, 4))}, "box"),
    ({"polygon": [(0, 0), (1, 1)]}, "inverted or empty|at least 3"),
    ({"polygon": [(0, 0), (1, 1)], "box": (0, 0, 1, 1)}, "at least 3"),
    ({"polygon": [(0, 0), (5, 0), (9, 0)]}, "empty"),
    ({"polygon": [(0, 0), (NAN, 1), (4, 4)]}, "NaN"),
    ({"polygon": [(0, 0), (INF, 1), (4, 4)], "box": (0, 0, 1, 1)}, "infinity"),
    ({"polygon": [(0, 0, 0), (1, 0, 0), (0, 1, 0)]}, "polygon"),
    ({"polygon": [(0,), (1,), (2,)]}, "polygon"),
    ({"polygon": [0, 1, 2]}, "polygon"),
    ({"polygon": [(None, 1), (2, 3), (4, 5)]}, "polygon"),
    ({"polygon": [("a", 1), (2, 3), (4, 5)]}, "polygon"),
    ({"polygon": np.zeros((4, 1, 2))}, "polygon"),
    ({"polygon": 5}, "polygon"),
    ({"polygon": "abc"}, "polygon"),
    ({"point": (1,)}, "point"),
    ({"point": (1, 2, 3)}, "point"),
    ({"point": 5}, "point"),
    ({"point": (NAN, 1)}, "NaN"),
    ({"point": (1, INF), "box": (0, 0, 1, 1)}, "infinity"),
    ({"mask": np.zeros((4, 4))}, "no pixel"),
    ({"mask": np.zeros((0, 4))}, "no pixel"),
    ({"mask": np.zeros((0, 0), bool)}, "no pixel"),
    ({"mask": np.full((2, 2), 0.4)}, "no pixel"),
    ({"mask": np.full((2, 2), NAN)}, "NaN"),
    ({"mask": np.ones((2, 2, 3))}, "shape"),
    ({"mask": np.ones(4)}, "shape"),
    ({"mask": "a mask"}, "mask"),
    ({"mask": object()}, "mask"),
    ({"mask": [[1], [1, 2]]}, "mask"),
    ({"box": (0, 0, 1, 1), "score": NAN}, "score"),
    ({"box": (0, 0, 1, 1), "score": "high"}, "score"),
    ({"box": (0, 0, 1, 1), "label": 5}, "label"),
    ({"box": (0, 0, 1, 1), "id": True}, "id"),
    ({"box": (0, 0, 1, 1), "id": ["a"], "label": 5}, "label"),
    ({"box": (0, 0, 1, 1), "name": "dog"}, "name"),
]


@pytest.mark.parametrize(("fields", "said"), BAD)
def test_what_is_no_region_is_an_error_of_our_tree(fields, said):
    with pytest.raises(RegionError, match=said) as caught:
        Region(**fields)
    assert isinstance(caught.value, VipLlavaError)
    assert not isinstance(caught.value, ValueError)
    with pytest.raises(RegionError):
        Region.model_validate(fields)


BAD_RLE = [
    {},
    {"size": [2, 2]},
    {"counts": [4]},
    {"size": None, "counts": None},
    {"size": [2], "counts": [2]},
    {"size": [2, 2, 2], "counts": [0, 8]},
    {"size": [2, 2], "counts": [0, 3]},
    {"size": [2, 2], "counts": [0, 5]},
    {"size": [2, 2], "counts": [0, -4, 8]},
    {"size": [-2, -2], "counts": [0, 4]},
    {"size": [2, 2], "counts": [None]},
    {"size": [2, 2], "counts": [[0, 4]]},
    {"size": [2, 2], "counts": {}},
    {"size": [2, 2], "counts": "é"},
    {"size": [2, 2], "counts": "o"},
    {"size": [2, 2], "counts": "o" * 40},
    {"size": [2, 2], "counts": [0, 2**63]},
    # what sums to 4 only in 64 bits
    {"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62, 4]},
    {"size": [10**9, 10**9], "counts": [0, 10**18]},
    {"size": [2**14 + 1, 2**14], "counts": [0, 2**28 + 2**14]},
    {"size": [INF, 2], "counts": [4]},
    {"size": [NAN, 2], "counts": [4]},
]


@pytest.mark.parametrize("rle", BAD_RLE, ids=lambda rle: str(rle)[:50])
def test_run_lengths_that_are_no_mask(rle):
    with pytest.raises(RegionError) as caught:
        Region(mask=rle)
    assert len(str(caught.value)) < 400


def test_a_huge_mask_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(np, "repeat", lambda *_: pytest.fail("was unpacked"))
    with pytest.raises(RegionError, match="at most"):
        Region(mask={"size": [2**14 + 1, 2**14], "counts": [0, 2**28 + 2**14]})


@pytest.mark.parametrize(
    "text",
    ["", "{nope", "[1]", "5", "null", '"box"', "{}", '{"box": [0, 0, NaN, 1]}', '{"box": "x"}', b"\xff",
     '{"mask": {"size": [100000, 100000], "counts": [0, 10000000000]}}', "[" * 5000],
)  # fmt: skip
def test_json_that_is_no_region(text):
    with pytest.raises(RegionError):
        Region.model_validate_json(text)


@pytest.mark.parametrize("value", [5, None, "box", [1, 2, 3, 4], object()])
def test_objects_that_are_no_region(value):
    with pytest.raises(RegionError):
        Region.model_validate(value)


@pytest.mark.parametrize(
    "parts",
    [
        {"box": (10, 10, 40, 40), "polygon": [(300, 300), (400, 300), (350, 400)]},
        {"box": (10, 10, 40, 40), "polygon": [(30, 30), (90, 30), (90, 90), (30, 90)]},
        {"box": (10, 10, 40, 40), "point": (300, 300)},
        {"box": (10, 10, 40, 40), "mask": np.pad(np.ones((40, 40), bool), ((100, 0), (100, 0)))},
        {"polygon": [(10, 10), (40, 10), (40, 40)], "point": (300, 300)},
    ],
)
def test_a_region_that_contradicts_itself_is_refused(parts):
    with pytest.raises(RegionError, match=r"outside .*box.*agree"):
        Region(**parts)


def test_an_outline_that_strays_a_little_outside_its_box_is_read():
    polygon = [(8, 10), (43, 12), (42, 44), (9, 41)]
    assert Region(box=(10, 10, 40, 40), polygon=polygon).box == (10, 10, 40, 40)
    assert Region(box=(10, 10, 400, 400), polygon=polygon).polygon == tuple(polygon)
    assert Region(box=(10, 10, 40, 40), point=(41, 12)).point == (41, 12)
    assert not Region(box=(10, 10, 40, 40), mask=np.zeros((50, 50), bool)).mask.any()


# --- from habits ---


def test_a_region_from_corner_and_size():
    assert Region.from_xywh(10, 20, 30, 40, label="cup") == Region(box=(10, 20, 40, 60), label="cup")
    for wrong in ((10, 20, 0, 40), (10, 20, 30, -1), ("a", 20, 30, 40), (None, 0, 1, 1)):
        with pytest.raises(RegionError):
            Region.from_xywh(*wrong)


def test_a_region_from_any_mask():
    import torch
    from PIL import Image

    mask = np.zeros((48, 64), bool)
    mask[10:20, 30:50] = True
    expected = Region(mask=mask, score=0.5)
    assert expected.box == (30, 10, 50, 20)
    for found in (
        mask,
        mask * np.uint8(255),
        torch.tensor(mask),
        Image.fromarray(mask),
        encode_rle(mask),
        mask[..., None],
    ):
        assert Region.from_mask(found, score=0.5) == expected
    with pytest.raises(RegionError, match="no pixel set"):
        Region.from_mask(np.zeros((48, 64)))


@pytest.mark.parametrize(
    "fields",
    [
        {"box": (0.1, 0.1, 0.5, 0.5)},
        {"box": np.array([0, 0, 0.5, 1])},
        {"polygon": [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]},
        {"point": (0.5, 0.5)},
    ],
    ids=str,
)
def test_fractions_of_the_image_are_named(fields):
    with pytest.raises(RegionError, match=r"looks like fractions of the image; expected pixels.*box_format='xyxyn'"):
        Region(**fields)


def test_whole_pixels_in_the_corner_are_no_fractions():
    assert Region(box=(0, 0, 1, 1)).box == (0, 0, 1, 1)
    assert Region(point=(0, 1)).is_point


def test_coordinates_are_shown_tidy_and_kept_exact():
    region = Region(box=(31.119999999999976, 0.1 + 0.2, 1234.5678, 90), score=0.30000000000000004)
    assert repr(region) == "Region(box=(31.12, 0.3, 1234.57, 90.0), score=0.3)"
    assert region.box[0] == 31.119999999999976
    assert repr(Region(polygon=[(1 / 3, 2 / 3), (9, 1), (5, 7)])).endswith(
        "polygon=((0.333333, 0.666667), (9.0, 1.0), (5.0, 7.0)))"
    )
