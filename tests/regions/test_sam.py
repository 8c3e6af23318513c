"""`SamSegmenter` on a SAM of the real architecture, compared with transformers called as its documentation does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from langchain_vipllava import CheckpointError, Region, Workspace
from langchain_vipllava.apps.segmenters import find_segmenter
from langchain_vipllava.regions.sam import SamSegmenter
from tests.support.tiny_sam import make_sam

PROMPTS = [Region(point=(20, 30)), Region(point=(120, 80)), Region(box=(10, 10, 80, 60)), Region(point=(149.5, 0))]


@pytest.fixture(scope="module")
def parts():
    return make_sam()


@pytest.fixture(scope="module")
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8))


def _by_hand(parts, image: Image.Image, prompt: Region) -> tuple[np.ndarray, float]:
    """As the model's page in the documentation of transformers does it, without a kept embedding."""
    model, processor = parts
    point, box = prompt.point, prompt.box
    asked = {"input_boxes": [[list(box)]]} if point is None else {"input_points": [[list(point)]]}
    inputs = processor(image, **asked, return_tensors="pt")
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    with torch.no_grad():
        output = model(**inputs, multimask_output=prompt.point is not None)
    masks = processor.image_processor.post_process_masks(output.pred_masks, *sizes)[0][0]
    best = int(output.iou_scores[0, 0].argmax())
    return masks[best].numpy(), float(output.iou_scores[0, 0, best])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_mask_is_that_of_transformers(parts, noise, prompt):
    region = SamSegmenter(*parts)(noise, prompt)
    mask, score = _by_hand(parts, noise, prompt)
    assert mask.shape == (90, 150)
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(region.mask, mask)
    assert region.score == pytest.approx(score, abs=1e-7)


def test_another_image_is_embedded_anew_and_the_same_one_is_not(parts, noise):
    segmenter, embedded = SamSegmenter(*parts), []
    model = parts[0]
    original = model.get_image_embeddings
    model.get_image_embeddings = lambda pixels: embedded.append(1) or original(pixels)
    try:
        other = noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        results = [segmenter(image, PROMPTS[0]) for image in (noise, noise.copy(), other, noise)]
    finally:
        model.get_image_embeddings = original
    assert len(embedded) == 3
    assert results[0] == results[1] == results[3]
    assert np.array_equal(results[2].mask, _by_hand(parts, other, PROMPTS[0])[0])


def test_a_workspace_with_sam(parts, noise, tmp_path):
    """From a folder, as a user loads it, to a marker that follows the mask."""
    for part in parts:
        part.save_pretrained(tmp_path)
    workspace = Workspace(segmenter=find_segmenter(f"sam:{tmp_path}"))
    image_id = workspace.add_image(noise, session="a")
    regions = workspace.segment(image_id, [[20, 30], [10, 10, 80, 60]], session="a").regions
    assert [np.array_equal(region.mask, _by_hand(parts, noise, prompt)[0]) for region, prompt in
            zip(regions, (PROMPTS[0], PROMPTS[2]), strict=True)] == [True, True]  # fmt: skip
    marked = workspace.mark(image_id, ["r1"], session="a", kind="mask", color="lime").marked
    changed = (np.asarray(marked.image) != np.asarray(marked.original)).any(axis=2)
    assert (changed & ~regions[0].mask).sum() == 0
    assert changed.sum() > 0.9 * regions[0].mask.sum()


def test_what_is_no_sam_is_refused(parts, tiny_checkpoint, tmp_path):
    for folder in (tiny_checkpoint, tmp_path):
        with pytest.raises(CheckpointError, match="as a SAM") as error:
            SamSegmenter.load(str(folder))
        assert len(str(error.value)) < 400
    with pytest.raises(CheckpointError, match="is not a SAM"):
        SamSegmenter(parts[1], parts[0])
