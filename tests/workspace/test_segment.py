"""`Workspace.segment`: points and boxes become regions with masks."""

from __future__ import annotations

import warnings
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from langchain_vipllava import DetectionError, Region, RegionError, SessionError, Workspace, load_image
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.detectors import detect_shapes
from langchain_vipllava.apps.segmenters import find_segmenter, segment_shapes
from training.scene import Thing, draw_scene

SQUARE, CIRCLE = (316, 140), (111, 430)
"""Points on the two objects at the left of the scene of the examples."""


def _mask_of(thing: Thing, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(pixels, [(thing.outline - 0.5).round().astype(np.int32)], (1,))
    return pixels.astype(bool)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("seed", range(12))
def test_a_point_or_a_box_becomes_the_mask_of_the_object(seed):
    """On scenes of the bundled checkpoint's world, against the outlines that were drawn."""
    scene = draw_scene(np.random.default_rng(900 + seed), 3, sides=(160, 480))
    workspace = Workspace(segmenter=segment_shapes)
    image_id = workspace.add_image(Image.fromarray(scene.image), session="a")
    for thing in scene.things:
        (x0, y0), (x1, y1) = thing.outline.min(axis=0).tolist(), thing.outline.max(axis=0).tolist()
        by_point, by_box = (
            workspace.segment(image_id, [prompt], session="a").regions[0]
            for prompt in ([round(number) for number in thing.center], [max(x0, 0), max(y0, 0), x1, y1])
        )
        true = _mask_of(thing, scene.size)
        assert _overlap(by_point.mask, true) > 0.9
        assert _overlap(by_box.mask, true) > 0.8


@pytest.fixture
def workspace():
    return Workspace(detector=detect_shapes, segmenter=segment_shapes)


@pytest.fixture
def image_id(workspace):
    return workspace.add_image(SCENE, session="a")


def test_masks_get_new_ids_and_markers_follow_them(workspace, image_id):
    detected = workspace.detect(image_id, session="a")
    segmented = workspace.segment(image_id, [SQUARE, {"point": CIRCLE, "label": "ball"}], session="a")
    assert [region.id for region in segmented.regions] == ["r5", "r6"]
    assert [region.label for region in segmented.regions] == [None, "ball"]
    assert segmented.text.splitlines()[2].startswith('r6: "ball" at box [')
    assert all("mask" not in region for region in segmented.to_dict()["regions"])
    assert len(workspace.list(session="a")[0].regions) == len(detected.regions) + 2
    marked = workspace.mark(image_id, ["r6"], session="a", kind="mask", color="lime").marked
    changed = (np.asarray(marked.image) != np.asarray(marked.original)).any(axis=2)
    assert _overlap(changed, segmented.regions[1].mask) > 0.95
    assert marked.phrases == ["with the lime mask"]


def test_the_prompts_of_people_and_llms_are_read(workspace, image_id):
    workspace.detect(image_id, session="a")
    by_id = workspace.segment(image_id, "r2", session="a").regions
    (box,) = (region for region in workspace.list(session="a")[0].regions if region.id == "r2")
    assert len(by_id) == 1
    assert _overlap(by_id[0].mask, box.mask) > 0.9
    one = workspace.segment(image_id, "[316, 140]", session="a").regions
    several = workspace.segment(image_id, {"points": [[316, 140], [111, 430]]}, session="a").regions
    assert one == several[:1]
    assert len(several) == 2
    noted = workspace.segment(image_id, {"bbox": [206, 30, 426, 250]}, session="a")
    assert noted.notes == ('"bbox" was read as [x0, y0, x1, y1].',)
    assert "Note: " in noted.text


def test_prompts_are_no_regions_and_two_points_on_one_object_share_a_region(workspace, image_id):
    segmented = workspace.segment(image_id, [[316, 140], [320, 150]], session="a")
    assert [region.id for region in segmented.regions] == ["r1"]
    assert [region.id for region in workspace.list(session="a")[0].regions] == ["r1"]


@pytest.mark.parametrize(
    ("prompts", "error", "said"),
    [
        ([], RegionError, "prompts is empty"),
        ([[9000, 20]], RegionError, "outside the image"),
        ([[0.5, 0.5]], RegionError, "fractions of the image"),
        ([[1, 2, 3]], RegionError, "not a region"),
        ("r7", SessionError, "no region 'r7'"),
        ([[10, 10 + n] for n in range(201)], RegionError, "at most 200"),
    ],
)
def test_what_is_no_prompt_is_refused(workspace, image_id, prompts, error, said):
    with pytest.raises(error, match=said):
        workspace.segment(image_id, prompts, session="a")
    assert workspace.list(session="a")[0].regions == ()


def test_without_a_segmenter_it_says_so(image_id):
    workspace = Workspace()
    with pytest.raises(DetectionError, match="there is no segmenter"):
        workspace.segment(workspace.add_image(SCENE), [[5, 5]])


def test_sessions_do_not_share_masks(workspace):
    shared = workspace.add_image(SCENE)
    workspace.segment(shared, [SQUARE], session="a")
    assert [image.regions for image in workspace.list(session="b")] == [()]


async def _async_segmenter(image, prompt):
    return np.ones((image.height, image.width), bool)


def _no_mask(image, prompt):
    return np.zeros((image.height, image.width), bool)


def _failing(image, prompt):
    raise RuntimeError("CUDA out of memory")


UNREADABLE = [
    (lambda image, prompt: None, "found nothing at the point [316, 140]"),
    (_no_mask, "found nothing at the point [316, 140]"),
    (lambda image, prompt: [], "found nothing"),
    (_async_segmenter, "is async"),
    (_failing, "the segmenter failed: RuntimeError: CUDA out of memory"),
    (lambda image, prompt: np.ones((10, 10), bool), "has shape (10, 10); expected (H, W) of the image, (636, 640)"),
    (lambda image, prompt: np.linspace(-9, 9, 640 * 636).reshape(636, 640), "values from -9 to 9"),
    (lambda image, prompt: np.arange(640 * 636).reshape(636, 640) % 3, "values from 0 to 2"),
    (lambda image, prompt: np.ones((3, 636, 640), bool), "returned 3 masks"),
    (lambda image, prompt: Region(box=(1, 2, 3, 4)), "a box without a mask"),
    (lambda image, prompt: "the cup", "the segmenter's output at the point [316, 140] cannot be read"),
]


@pytest.mark.parametrize(("segmenter", "said"), UNREADABLE)
def test_what_is_no_mask_is_refused(segmenter, said):
    workspace = Workspace(segmenter=segmenter)
    image_id = workspace.add_image(SCENE, session="a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a coroutine that was never awaited
        with pytest.raises(DetectionError) as error:
            workspace.segment(image_id, [SQUARE], session="a")
    assert said in str(error.value)
    assert len(str(error.value)) < 400
    assert workspace.list(session="a")[0].regions == ()


def _proposals(image, prompt):
    masks = np.zeros((3, image.height, image.width), bool)
    for index, side in enumerate((10, 30, 50)):
        masks[index, :side, :side] = True
    return masks, np.array([0.2, 0.9, 0.5]), np.zeros((3, 256, 256), np.float32)


def _poor_proposals(image, prompt):
    """SAM's own estimates of masks that it does not believe in: a regression, which may fall below 0."""
    masks, _, logits = _proposals(image, prompt)
    return masks, np.array([-0.3, -0.2, -0.1]), logits


READABLE = [
    (lambda image, prompt: _proposals(image, prompt)[0][1], (0, 0, 30, 30)),
    (lambda image, prompt: _proposals(image, prompt)[0][:1], (0, 0, 10, 10)),
    (lambda image, prompt: _proposals(image, prompt)[0][2].astype(np.uint8) * 255, (0, 0, 50, 50)),
    (lambda image, prompt: _proposals(image, prompt)[0][2] * 0.7, (0, 0, 50, 50)),
    (lambda image, prompt: Image.fromarray(_proposals(image, prompt)[0][0]), (0, 0, 10, 10)),
    (_proposals, (0, 0, 30, 30)),
    (_poor_proposals, (0, 0, 50, 50)),
    (lambda image, prompt: Region(mask=_proposals(image, prompt)[0][0]), (0, 0, 10, 10)),
    (lambda image, prompt: Region(mask=_proposals(image, prompt)[0][0], score=-1e-4), (0, 0, 10, 10)),
    (lambda image, prompt: Region(polygon=[(1, 1), (20, 1), (20, 30)]), (1, 1, 20, 30)),
]


@pytest.mark.parametrize(("segmenter", "box"), READABLE)
def test_masks_in_any_form_are_read(segmenter, box):
    workspace = Workspace(segmenter=segmenter)
    (region,) = workspace.segment(workspace.add_image(SCENE), [SQUARE]).regions
    assert region.box == box


def test_a_segmenter_may_draw_on_its_image():
    def painter(image, prompt):
        image.paste("black", (0, 0, *image.size))
        return np.ones((image.height, image.width), bool)

    workspace = Workspace(segmenter=painter)
    image_id = workspace.add_image(SCENE, session="a")
    workspace.segment(image_id, [SQUARE], session="a")
    assert np.array_equal(np.asarray(workspace.look(image_id, session="a").image), np.asarray(load_image(SCENE)))


def test_masks_are_bounded_by_the_memory_of_a_session():
    """A loop of an agent that clicks everywhere ends with an error, and keeps what it had."""
    size, clicks = (400, 300), iter(range(1, 100))

    def growing(image, prompt):
        mask = np.zeros((image.height, image.width), bool)
        mask[: next(clicks)] = True
        return mask

    workspace = Workspace(segmenter=growing, max_session_bytes=2_000_000)
    image_id = workspace.add_image(Image.new("RGB", size), session="a")
    clicks_that_fit = 0
    with suppress(SessionError):
        while clicks_that_fit < 50:
            workspace.segment(image_id, [[50, 50]], session="a")
            clicks_that_fit += 1
    with pytest.raises(SessionError, match="max_session_bytes=2000000"):
        workspace.segment(image_id, [[50, 50]], session="a")
    kept = workspace.list(session="a")[0].regions
    assert 5 < len(kept) == clicks_that_fit < 15
    assert workspace.mark(image_id, [kept[-1].id], session="a").marked.phrases == ["within the red rectangle"]


def test_segmenters_by_name():
    assert find_segmenter("shapes") is segment_shapes
    assert find_segmenter("langchain_vipllava.apps.segmenters:segment_shapes") is segment_shapes
    for name, said in [
        ("no", "expected shapes"),
        ("no.module:x", "cannot import"),
        ("langchain_vipllava.apps.segmenters:SEGMENTERS", "is a dict"),
    ]:
        with pytest.raises(DetectionError, match=said):
            find_segmenter(name)


@pytest.mark.parametrize(
    "prompts",
    [
        np.array([[40, 50]]),
        np.array([40, 50]),
        [np.array([40.0, 50.0])],
        [(np.float32(40), np.int64(50))],
        torch.tensor([[40, 50]]),
        np.array([[20, 30, 60, 70]], dtype=np.float32),
    ],
)
def test_points_and_boxes_of_numpy_and_torch_are_prompts(prompts):
    seen = []

    def segment(image, prompt):
        seen.append(prompt)
        mask = np.zeros((100, 120), dtype=bool)
        mask[30:70, 20:60] = True
        return mask

    workspace = Workspace(segmenter=segment)
    (region,) = workspace.segment(workspace.add_image(Image.new("RGB", (120, 100))), prompts).regions
    assert region.box == (20, 30, 60, 70)
    assert seen[0].point == (40, 50) or seen[0].box == (20, 30, 60, 70)
