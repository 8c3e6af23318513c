"""Detectors of other libraries, as they are: pipelines of transformers, models of ultralytics, supervision."""

from __future__ import annotations

import numpy as np
import pytest
import supervision as sv
import torch
from PIL import Image

from langchain_vipllava import DetectionError, DetectRegions, Region

RED = Image.new("RGB", (64, 48), (255, 0, 0))


@pytest.fixture(scope="module")
def detr():
    """A real object-detection pipeline, on a checkpoint of random weights."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor, pipeline

    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[48, 64],
        patch_size=16, num_detection_tokens=5, id2label={0: "cup", 1: "plate"}, label2id={"cup": 0, "plate": 1},
    )  # fmt: skip
    processor = YolosImageProcessor(size={"shortest_edge": 48, "longest_edge": 64})
    torch.manual_seed(0)
    model = YolosForObjectDetection(config).eval()
    return pipeline("object-detection", model=model, image_processor=processor, threshold=0.0)


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """A real zero-shot-object-detection pipeline, on a checkpoint of random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        PreTrainedTokenizerFast,
        pipeline,
    )

    words = {"<pad>": 0, "cup": 1, "plate": 2, "<unk>": 3}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=16,
        model_input_names=["input_ids", "attention_mask"],  # or transformers 4 adds some that the model does not take
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = OwlViTConfig(
        text_config={**sizes, "vocab_size": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = OwlViTForObjectDetection(config).eval()
    model.box_head.dense2.weight.data.zero_()
    model.box_head.dense2.bias.data = torch.tensor([0.0, 0.0, 9.0, 9.0])  # or its boxes have no width
    processor = OwlViTImageProcessor(size={"height": 32, "width": 32})
    return pipeline("zero-shot-object-detection", model=model, image_processor=processor, tokenizer=tokenizer)


def detect(detector, image=RED, **settings):
    return DetectRegions(detector=detector, **settings).invoke({"image": image})["regions"]


def test_an_object_detection_pipeline(detr):
    expected = detr(RED)
    regions = detect(detr, on_error="skip")
    assert regions
    labels = {region.label for region in regions}
    assert labels <= {"cup", "plate"}
    assert {round(region.score, 4) for region in regions} <= {round(row["score"], 4) for row in expected}
    assert all(region.label == "cup" for region in detect(detr, only=["cup"], on_error="skip"))


def test_a_zero_shot_pipeline_gets_the_labels_or_says_that_it_needs_them(owl):
    with pytest.raises(DetectionError, match="needs the labels to look for; pass only="):
        detect(owl)
    rows = owl(RED, candidate_labels=["cup"])
    assert rows
    regions = detect(owl, only=["cup"])
    assert [(region.label, round(region.score, 4)) for region in regions] == [
        ("cup", round(row["score"], 4)) for row in rows
    ]


class LikeYolo:
    """Called as ultralytics.YOLO is; a fake, because ultralytics does not install beside this torch.

    As `ultralytics.data.loaders.LoadPilAndNumpy` does, it takes PIL images as RGB and arrays as BGR.
    """

    def __init__(self):
        self.seen = []

    def __call__(self, source=None, stream=False, **kwargs):
        pixels = np.asarray(source)[:, :, ::-1] if isinstance(source, Image.Image) else source
        self.seen.append((tuple(pixels[0, 0]), kwargs))
        return [{"boxes": [[1, 2, 30, 40]], "scores": [0.9], "labels": ["cup"]}]

    def predict(self, source=None, **kwargs):
        return self(source, **kwargs)


LikeYolo.__module__ = "ultralytics.models.yolo.model"


@pytest.mark.parametrize("method", [None, "predict"])
def test_an_ultralytics_model_sees_red_as_red_and_is_silent(method):
    model = LikeYolo()
    regions = detect(model if method is None else model.predict)
    assert regions == [Region(box=(1, 2, 30, 40), label="cup", score=0.9)]
    assert model.seen == [((0, 0, 255), {"verbose": False})]


def red_box(image: np.ndarray) -> sv.Detections:
    """Find what is red in an image of OpenCV, as the callbacks of supervision get it."""
    rows, columns = np.nonzero((image[:, :, 2] > 200) & (image[:, :, 0] < 50))
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if rows.size else [0, 0, 0, 0]
    return sv.Detections(xyxy=np.array([box], dtype=float), class_id=np.array([0]), confidence=np.array([0.8]))


@pytest.fixture
def red_thing():
    image = Image.new("RGB", (64, 48), (0, 0, 255))
    image.paste((255, 0, 0), (10, 20, 30, 40))
    return image


def test_a_callback_of_supervision_gets_an_array_of_opencv(red_thing):
    assert [region.box for region in detect(red_box, red_thing)] == [(10, 20, 30, 40)]


def test_a_slicer_of_supervision_gets_an_array_of_opencv(red_thing):
    slicer = sv.InferenceSlicer(callback=red_box, slice_wh=64, overlap_wh=0)
    assert [region.box for region in detect(slicer, red_thing)] == [(10, 20, 30, 40)]


def test_an_array_detector_of_unknown_colors_is_asked_about_not_guessed(red_thing):
    def boxes(image):
        assert image.shape == (48, 64, 3)
        rows, columns = np.nonzero(image[:, :, 0] > 200)
        return {"boxes": [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], "labels": ["x"]}

    with pytest.raises(DetectionError, match="Pass takes='bgr' if"):
        detect(boxes, red_thing)
    assert detect(boxes, red_thing, takes="rgb")[0].box == (10, 20, 30, 40)
    assert detect(boxes, red_thing, takes="bgr")[0].box != (10, 20, 30, 40)
    with pytest.raises(DetectionError, match="takes='hsv'; expected 'pil', 'rgb', 'bgr'"):
        detect(boxes, red_thing, takes="hsv")


def test_the_error_of_a_detector_that_fails_either_way_is_its_own(red_thing):
    def broken(image):
        raise TypeError("my array is not subscriptable")

    with pytest.raises(DetectionError, match="the detector failed: TypeError: my array is not subscriptable"):
        detect(broken, red_thing)
