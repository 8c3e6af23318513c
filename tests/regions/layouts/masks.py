"""Masks in every stacking."""

from __future__ import annotations

import numpy as np
from PIL import Image

from langchain_vipllava.regions.region import Region
from langchain_vipllava.regions.rle import encode_rle
from tests.regions.layouts.layout import SIZE, Layout
from tests.regions.layouts.parts import CAT, CUP, Stand, mask_of, rectangle, tensor

GROUP = "Masks"

_STACK = np.stack([mask_of(CUP), mask_of(CAT)])
_BOTH = (Region(mask=mask_of(CUP)), Region(mask=mask_of(CAT)))
_ONE = _BOTH[:1]
_WITH_SIZE = {"image_size": SIZE}


def _label_map(dtype=np.int32):
    labels = np.zeros((480, 640), dtype)
    labels[mask_of(CUP)], labels[mask_of(CAT)] = 1, 2
    return labels


def _labeled():
    from scipy.ndimage import label

    return label(mask_of(CUP, CAT))[0]


def _components():
    import cv2

    return cv2.connectedComponentsWithStats(mask_of(CUP, CAT).astype(np.uint8))


def _properties():
    from skimage.measure import regionprops

    return regionprops(_label_map())


def _property_table():
    from skimage.measure import regionprops_table

    return regionprops_table(_label_map(), properties=("label", "bbox"))


def _compressed(as_text=False):
    from pycocotools import mask

    rle = mask.encode(np.asfortranarray(mask_of(CUP), dtype=np.uint8))
    return [{**rle, "counts": rle["counts"].decode()} if as_text else rle]


def _segments(*found):
    """Return ids from left to right: the cat is the first."""
    return tuple(Region(mask=mask_of(box), label=f"segment {number}") for number, box in enumerate(found, 1))


LAYOUTS = (
    Layout("(N, H, W) bool", lambda: _STACK, "NumPy", _BOTH),
    Layout("(N, H, W) 0/1 as uint8", lambda: _STACK.astype(np.uint8), "NumPy", _BOTH),
    Layout("(N, H, W) 0/255", lambda: _STACK.astype(np.uint8) * 255, "OpenCV", _BOTH),
    Layout("(N, H, W) probabilities", lambda: tensor(np.where(_STACK, 0.8, 0.2)), "torch", _BOTH),
    Layout("(H, W) bool", lambda: _STACK[0], "NumPy", _ONE),
    Layout("(H, W) 0/255", lambda: _STACK[0].astype(np.uint8) * 255, "OpenCV", _ONE),
    Layout("list of (H, W)", lambda: list(_STACK), "NumPy", _BOTH),
    Layout("list of tensors (H, W)", lambda: [tensor(mask) for mask in _STACK], "torch", _BOTH),
    Layout("(N, 1, H, W)", lambda: tensor(_STACK[:, None]), "torchvision, SAM 2", _BOTH),
    Layout("(1, N, H, W)", lambda: tensor(_STACK[None]), "SAM", _BOTH),
    Layout("(N, H, W, 1)", lambda: _STACK[..., None], "Keras", _BOTH),
    Layout("(H, W, 1)", lambda: _STACK[0][..., None], "OpenCV", _ONE),
    Layout("(H, W, N), with the size", lambda: np.moveaxis(_STACK, 0, 2), "Matterport", _BOTH, arguments=_WITH_SIZE),
    Layout("(H, W, N), nothing said", lambda: np.moveaxis(_STACK, 0, 2), "Matterport", refusal="pass image_size="),
    Layout(
        "(N, 3, H, W), three proposals each",
        lambda: np.repeat(_STACK[:, None], 3, axis=1),
        "SAM with `multimask_output`",
        refusal="3 proposals for each of 2 objects",
    ),
    Layout("PIL mask", lambda: Image.fromarray(_STACK[0].astype(np.uint8) * 255), "Pillow", _ONE),
    Layout("PIL mask of mode 1", lambda: Image.fromarray(_STACK[0]), "Pillow", _ONE),
    Layout(
        "list of PIL masks",
        lambda: [Image.fromarray(mask.astype(np.uint8) * 255) for mask in _STACK],
        "Pillow",
        _BOTH,
    ),
    Layout(
        "`(masks, scores, logits)`",
        lambda: (_STACK[:1], np.array([0.9], np.float32), np.zeros((1, 256, 256), np.float32)),
        "SamPredictor",
        (Region(mask=mask_of(CUP), score=0.9),),
    ),
    Layout("`{masks}`", lambda: {"masks": _STACK}, "any", _BOTH),
    Layout(
        "`{masks, labels}`",
        lambda: {"masks": list(_STACK), "labels": ["cup", "cat"]},
        "any",
        (Region(mask=mask_of(CUP), label="cup"), Region(mask=mask_of(CAT), label="cat")),
    ),
    Layout(
        "`{masks, iou_scores}`",
        lambda: {"masks": tensor(_STACK), "iou_scores": tensor([0.9, 0.8])},
        "any",
        (Region(mask=mask_of(CUP), score=0.9), Region(mask=mask_of(CAT), score=0.8)),
    ),
    Layout(
        "map of labels, int32",
        _label_map,
        "skimage `label`, semantic segmentation",
        (Region(mask=mask_of(CUP), label="cup"), Region(mask=mask_of(CAT), label="cat")),
        arguments={"labels": {1: "cup", 2: "cat"}},
    ),
    Layout("map of labels, bytes", lambda: _label_map(np.uint8), "PIL mode P", refusal="format='label-map'"),
    Layout(
        "map of labels, bytes, named",
        lambda: _label_map(np.uint8),
        "PIL mode P",
        (Region(mask=mask_of(CUP), label="class 1"), Region(mask=mask_of(CAT), label="class 2")),
        arguments={"format": "label-map"},
    ),
    Layout(
        "`scipy.ndimage.label`",
        _labeled,
        "SciPy",
        (Region(mask=mask_of(CAT), label="class 1"), Region(mask=mask_of(CUP), label="class 2")),
        needs="scipy",
    ),
    Layout(
        "`cv2.connectedComponentsWithStats`",
        _components,
        "OpenCV",
        (Region(mask=mask_of(CAT)), Region(mask=mask_of(CUP))),
    ),
    Layout("`regionprops`", _properties, "scikit-image", _segments(CUP, CAT), needs="skimage"),
    Layout(
        "`regionprops_table`",
        _property_table,
        "scikit-image",
        tuple(Region(box=region.box, label=region.label) for region in _segments(CUP, CAT)),
        needs="skimage",
    ),
    Layout("list of RLE", lambda: [encode_rle(mask) for mask in _STACK], "COCO", _BOTH),
    Layout("compressed RLE, bytes", _compressed, "pycocotools", _ONE, needs="pycocotools"),
    Layout("compressed RLE, text", lambda: _compressed(as_text=True), "pycocotools", _ONE, needs="pycocotools"),
    Layout(
        "`panoptic_seg`",
        lambda: (tensor(_label_map()), [{"id": 1, "isthing": True, "category_id": 41}, {"id": 2, "category_id": 15}]),
        "detectron2",
        (Region(mask=mask_of(CUP), label="cup"), Region(mask=mask_of(CAT), label="cat")),
        arguments={"labels": {41: "cup", 15: "cat"}},
    ),
    Layout(
        "`{panoptic_seg, sem_seg}`",
        lambda: {"panoptic_seg": (tensor(_label_map()), [{"id": 1, "category_id": 41}]), "sem_seg": tensor([0.5])},
        "detectron2",
        (Region(mask=mask_of(CUP), label="class 41"),),
    ),
    Layout(
        "`Results.masks`",
        lambda: Stand(xy=[np.array(rectangle(CUP))], xyn=[], data=tensor(_STACK[:1]), orig_shape=(480, 640)),
        "Ultralytics",
        (Region(polygon=rectangle(CUP)),),
    ),
    Layout(
        "an image, not detections", lambda: np.zeros((480, 640, 3), np.uint8) + 7, "OpenCV", refusal="no known format"
    ),
)
