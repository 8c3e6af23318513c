"""`regions_from`, judged from outside: what goes in is what detectors write, what comes out are regions.

supervision, torch, scikit-image and Pillow make their own samples. Ultralytics, detectron2, mmdet, MediaPipe
and Google's client are not installed here: `Stand` objects carry exactly the attributes that their documentation
names, with torch tensors where they have tensors.
"""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace as Stand

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detections import regions_from, register_format
from langchain_vipllava.regions.formats import Row
from langchain_vipllava.regions.region import Region

SIZE = (200, 100)
# A cat and a dog, as (x0, y0, x1, y1) in pixels of an image of 200 x 100.
CAT, DOG = (20, 10, 60, 50), (100, 40, 180, 90)
BOXES = (CAT, DOG)
NAMES = ("cat", "dog")
SCORES = (0.9, 0.6)
BY_ID = {17: "cat", 18: "dog"}
CLASS_IDS = (17, 18)


def mask_of(box, size=SIZE):
    x0, y0, x1, y1 = box
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def xywh(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def fractions(box):
    return [side / SIZE[i % 2] for i, side in enumerate(box)]


def outline(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def tensor(values, **kwargs):
    import torch

    return torch.tensor(values, **kwargs)


def columns(n, *, width=4):
    """Boxes, scores and class ids of the first n things as torch tensors."""
    boxes = tensor(BOXES[:n], dtype=float_type()).reshape(n, width)
    return boxes, tensor(SCORES[:n]), tensor(CLASS_IDS[:n])


def float_type():
    import torch

    return torch.float32


def stacked(n):
    return np.stack([mask_of(box) for box in BOXES[:n]]) if n else np.zeros((0, SIZE[1], SIZE[0]), dtype=bool)


# One function a sample: the output for the first n of the two things.


def hf_object_detection(n):
    corners = ("xmin", "ymin", "xmax", "ymax")
    return [{"score": SCORES[i], "label": NAMES[i], "box": dict(zip(corners, BOXES[i], strict=True))} for i in range(n)]


def hf_post_process(n):
    boxes, scores, labels = columns(n)
    return {"scores": scores, "labels": labels, "boxes": boxes}


def hf_grounded(n):
    boxes, scores, _ = columns(n)
    return [{"scores": scores, "boxes": boxes, "text_labels": list(NAMES[:n]), "labels": list(NAMES[:n])}]


def hf_grounded_before_text_labels(n):
    boxes, scores, _ = columns(n)
    return {"scores": scores, "boxes": boxes, "labels": list(NAMES[:n])}


def hf_segmentation(n):
    masks = [Image.fromarray(mask_of(box).astype(np.uint8) * 255, mode=None) for box in BOXES[:n]]
    return [{"score": SCORES[i], "label": NAMES[i], "mask": masks[i]} for i in range(n)]


def hf_mask_generation(n):
    return {"masks": list(stacked(n)), "scores": tensor(SCORES[:n])}


def hf_panoptic(n):
    pixels = np.zeros((SIZE[1], SIZE[0]), dtype=np.int64)
    for i in range(n):
        pixels[mask_of(BOXES[i])] = i + 1
    info = [{"id": i + 1, "label_id": CLASS_IDS[i], "score": SCORES[i], "was_fused": False} for i in range(n)]
    return {"segmentation": tensor(pixels), "segments_info": info}


def sam(n):
    # SAM's bbox runs from the first to the last pixel, so it is one short.
    return [
        {
            "segmentation": mask_of(BOXES[i]),
            "area": int(mask_of(BOXES[i]).sum()),
            "bbox": [*BOXES[i][:2], BOXES[i][2] - BOXES[i][0] - 1, BOXES[i][3] - BOXES[i][1] - 1],
            "predicted_iou": SCORES[i],
            "point_coords": [[30.0, 30.0]],
            "stability_score": 0.97,
            "crop_box": [0, 0, *SIZE],
        }
        for i in range(n)
    ]


def torchvision(n):
    boxes, scores, labels = columns(n)
    soft = tensor(np.where(stacked(n), 0.8, 0.2)[:, None].astype(np.float32))
    return [{"boxes": boxes.requires_grad_(), "labels": labels, "scores": scores, "masks": soft}]


def ultralytics(n, ids=None, **more):
    boxes, scores, classes = columns(n)
    return Stand(
        boxes=Stand(xyxy=boxes, conf=scores, cls=classes.float(), id=ids),
        names=BY_ID,
        masks=more.get("masks"),
        obb=None,
        probs=None,
        orig_shape=(SIZE[1], SIZE[0]),
    )


def ultralytics_obb(n):
    _, scores, classes = columns(n)
    corners = tensor([outline(box) for box in BOXES[:n]], dtype=float_type()).reshape(n, 4, 2)
    obb = Stand(xyxyxyxy=corners, xyxy=columns(n)[0], conf=scores, cls=classes.float(), id=None)
    return Stand(boxes=None, obb=obb, names=BY_ID, masks=None, probs=None, orig_shape=(SIZE[1], SIZE[0]))


def yolov5(n):
    boxes, scores, classes = columns(n)
    rows = np.concatenate([boxes.numpy(), scores[:, None], classes[:, None]], axis=1).reshape(n, 6)
    return Stand(xyxy=[tensor(rows)], xyxyn=[tensor(rows)], pred=[tensor(rows)], names=BY_ID)


def supervision(n):
    sv = pytest.importorskip("supervision")
    if n == 0:
        return sv.Detections.empty()
    return sv.Detections(
        xyxy=np.array(BOXES[:n], dtype=float),
        mask=stacked(n),
        confidence=np.array(SCORES[:n]),
        class_id=np.array(CLASS_IDS[:n]),
        data={"class_name": np.array(NAMES[:n])},
    )


class Instances(Stand):
    """Instances of detectron2 and mmdet have a length, and are false where they found nothing."""

    def __len__(self):
        return len(self.scores)


def detectron2(n):
    boxes, scores, classes = columns(n)
    instances = Instances(
        pred_boxes=Stand(tensor=boxes),
        scores=scores,
        pred_classes=classes,
        pred_masks=tensor(stacked(n)),
        image_size=(SIZE[1], SIZE[0]),
    )
    return {"instances": instances}


def mmdet(n):
    boxes, scores, labels = columns(n)
    return Stand(pred_instances=Instances(bboxes=boxes, scores=scores, labels=labels, masks=tensor(stacked(n))))


def mmdet_inferencer(n):
    boxes, scores, labels = (column.tolist() for column in columns(n))
    return {"predictions": [{"labels": labels, "scores": scores, "bboxes": boxes}], "visualization": []}


def florence(n):
    return {"<OD>": {"bboxes": [list(box) for box in BOXES[:n]], "labels": list(NAMES[:n])}}


def florence_bare(n):
    return florence(n)["<OD>"]


def florence_quads(n):
    return {"<OCR_WITH_REGION>": {"quad_boxes": [outline(box) for box in BOXES[:n]], "labels": list(NAMES[:n])}}


def florence_polygons(n):
    task = "<REFERRING_EXPRESSION_SEGMENTATION>"
    return {task: {"polygons": [[outline(box)] for box in BOXES[:n]], "labels": list(NAMES[:n])}}


def florence_open_vocabulary(n):
    found = {"bboxes": [list(box) for box in BOXES[:n]], "bboxes_labels": list(NAMES[:n])}
    return {"<OPEN_VOCABULARY_DETECTION>": {**found, "polygons": [], "polygons_labels": []}}


def coco_annotations(n):
    return [
        {"id": 7 + i, "image_id": 1, "category_id": CLASS_IDS[i], "bbox": xywh(BOXES[i]), "iscrowd": 0}
        | {"segmentation": [outline(BOXES[i])], "area": 1.0}
        for i in range(n)
    ]


def coco_results(n):
    return [{"image_id": 1, "category_id": CLASS_IDS[i], "bbox": xywh(BOXES[i]), "score": SCORES[i]} for i in range(n)]


def coco_dataset(n):
    return {
        "images": [{"id": 1, "width": SIZE[0], "height": SIZE[1], "file_name": "a.jpg"}],
        "annotations": coco_annotations(n),
        "categories": [{"id": key, "name": name} for key, name in BY_ID.items()],
    }


def yolo_text(n):
    rows = []
    for i in range(n):
        x0, y0, x1, y1 = fractions(BOXES[i])
        rows.append(f"{CLASS_IDS[i]} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f} {SCORES[i]}")
    return "\n".join(rows) + "\n"


def yolo_polygons(n):
    lines = (f"{CLASS_IDS[i]} " + " ".join(map(str, fractions(outline(BOXES[i])))) for i in range(n))
    return "\n".join(lines)


def voc(n):
    # VOC counts pixels from 1 and includes the last.
    things = "".join(
        f"<object><name>{NAMES[i]}</name><bndbox><xmin>{BOXES[i][0] + 1}</xmin><ymin>{BOXES[i][1] + 1}</ymin>"
        f"<xmax>{BOXES[i][2]}</xmax><ymax>{BOXES[i][3]}</ymax></bndbox></object>"
        for i in range(n)
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<?xml version='1.0'?>\n<annotation><filename>a.jpg</filename>{size}{things}</annotation>"


def labelme(n):
    shapes = [
        {"label": NAMES[i], "points": np.reshape(outline(BOXES[i]), (4, 2)).tolist(), "shape_type": "polygon"}
        for i in range(n)
    ]
    return json.dumps({"version": "5.2", "shapes": shapes, "imagePath": "a.jpg", "imageHeight": 100, "imageWidth": 200})


def google_json(n):
    def corners(box):
        x0, y0, x1, y1 = fractions(box)
        return [{"x": x, "y": y} for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]

    found = [
        {"mid": "/m/1", "name": NAMES[i], "score": SCORES[i], "boundingPoly": {"normalizedVertices": corners(BOXES[i])}}
        for i in range(n)
    ]
    return {"responses": [{"localizedObjectAnnotations": found} if n else {}]}


def google_client(n):
    def thing(row):
        vertices = [Stand(**vertex) for vertex in row["boundingPoly"]["normalizedVertices"]]
        return Stand(name=row["name"], score=row["score"], bounding_poly=Stand(normalized_vertices=vertices))

    found = google_json(n)["responses"][0].get("localizedObjectAnnotations", [])
    return Stand(localized_object_annotations=[thing(row) for row in found])


def rekognition(n):
    def bounding(box):
        x0, y0, x1, y1 = fractions(box)
        return {"Left": x0, "Top": y0, "Width": x1 - x0, "Height": y1 - y0}

    found = [
        {"Name": NAMES[i], "Confidence": 99.0}
        | {"Instances": [{"BoundingBox": bounding(BOXES[i]), "Confidence": SCORES[i] * 100}]}
        for i in range(n)
    ]
    return {"Labels": [*found, {"Name": "Outdoors", "Confidence": 97.0, "Instances": []}], "LabelModelVersion": "3.0"}


def opencv_hog(n):
    if n == 0:
        return (), ()
    return np.array([xywh(box) for box in BOXES[:n]], dtype=np.int32), np.array(SCORES[:n])


def opencv_hog_column(n):
    return (np.zeros((0, 4), np.int32), np.zeros((0, 1))) if n == 0 else (opencv_hog(n)[0], opencv_hog(n)[1][:, None])


def opencv_detection_model(n):
    return np.array(CLASS_IDS[:n], np.int32), np.array(SCORES[:n], np.float32), opencv_hog(n)[0]


def opencv_ssd(n):
    rows = [[0, CLASS_IDS[i], SCORES[i], *fractions(BOXES[i])] for i in range(n)]
    # OpenCV writes a row of zeros where nothing was found.
    return np.array(rows or [[0] * 7], dtype=np.float32)[None, None]


def opencv_ssd_flat(n):
    return opencv_ssd(n)[0, 0]


def mediapipe(n):
    def bounding(box):
        return Stand(**dict(zip(("origin_x", "origin_y", "width", "height"), xywh(box), strict=True)))

    found = [
        Stand(
            bounding_box=bounding(BOXES[i]),
            categories=[Stand(index=None, score=SCORES[i], display_name="", category_name=NAMES[i])],
            keypoints=[],
        )
        for i in range(n)
    ]
    return Stand(detections=found)


def mediapipe_solutions(n):
    def location(box):
        x0, y0, x1, y1 = fractions(box)
        return Stand(relative_bounding_box=Stand(xmin=x0, ymin=y0, width=x1 - x0, height=y1 - y0))

    found = [Stand(location_data=location(BOXES[i]), score=[SCORES[i]], label_id=[CLASS_IDS[i]]) for i in range(n)]
    return Stand(detections=found or None)


def skimage_cascade(n):
    return [{"r": y0, "c": x0, "width": x1 - x0, "height": y1 - y0} for x0, y0, x1, y1 in BOXES[:n]]


def mtcnn(n):
    return [{"box": xywh(BOXES[i]), "confidence": SCORES[i], "keypoints": {"nose": (30, 30)}} for i in range(n)]


def roboflow(n):
    found = [
        {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "width": x1 - x0, "height": y1 - y0}
        | {"confidence": score, "class": name, "class_id": 0}
        for (x0, y0, x1, y1), score, name in zip(BOXES[:n], SCORES, NAMES, strict=False)
    ]
    return {"predictions": found, "image": {"width": SIZE[0], "height": SIZE[1]}}


# sample, whether it carries scores, whether it carries classes or names
SAMPLES = [
    (hf_object_detection, True, True),
    (hf_post_process, True, True),
    (hf_grounded, True, True),
    (hf_grounded_before_text_labels, True, True),
    (hf_segmentation, True, True),
    (hf_mask_generation, True, False),
    (hf_panoptic, True, True),
    (sam, True, False),
    (torchvision, True, True),
    (ultralytics, True, True),
    (ultralytics_obb, True, True),
    (yolov5, True, True),
    (supervision, True, True),
    (detectron2, True, True),
    (mmdet, True, True),
    (mmdet_inferencer, True, True),
    (florence, False, True),
    (florence_bare, False, True),
    (florence_quads, False, True),
    (florence_polygons, False, True),
    (florence_open_vocabulary, False, True),
    (coco_annotations, False, True),
    (coco_results, True, True),
    (coco_dataset, False, True),
    (yolo_text, True, True),
    (yolo_polygons, False, True),
    (voc, False, True),
    (labelme, False, True),
    (google_json, True, True),
    (google_client, True, True),
    (rekognition, True, True),
    (opencv_hog, True, False),
    (opencv_hog_column, True, False),
    (opencv_detection_model, True, True),
    (opencv_ssd, True, True),
    (opencv_ssd_flat, True, True),
    (mediapipe, True, True),
    (mediapipe_solutions, True, True),
    (skimage_cascade, False, False),
    (mtcnn, True, False),
    (roboflow, True, True),
]


def refused(detections, *words, **kwargs):
    """Read what must be refused; every word must be in the message."""
    with pytest.raises(DetectionError) as caught:
        regions_from(detections, **kwargs)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 2500
    return message


@pytest.mark.parametrize(("sample", "scored", "named"), SAMPLES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("n", [0, 1, 2])
def test_every_format_gives_its_boxes_labels_and_scores(sample, scored, named, n):
    # No format may need the size of the image to be left out, or break when it is given.
    regions = regions_from(sample(n), image_size=SIZE, labels=BY_ID)
    assert len(regions) == n
    for region, box, name, score in zip(regions, BOXES, NAMES, SCORES, strict=False):
        assert region.box == pytest.approx(box, abs=1.0)
        assert region.label == (name if named else None)
        assert region.score == (pytest.approx(score, abs=1e-6) if scored else None)
        if region.mask is not None:
            assert np.array_equal(region.mask, mask_of(box))


IN_PIXELS = [
    row[0]
    for row in SAMPLES
    if row[0] not in (yolo_text, yolo_polygons, google_json, google_client, rekognition, mediapipe_solutions)
    and not row[0].__name__.startswith("opencv_ssd")
]


@pytest.mark.parametrize("sample", IN_PIXELS, ids=lambda sample: sample.__name__)
def test_formats_in_pixels_need_no_image_size(sample):
    assert [region.box for region in regions_from(sample(2))] == [pytest.approx(box, abs=1.0) for box in BOXES]


@pytest.mark.parametrize("sample", [row[0] for row in SAMPLES if row[0] not in IN_PIXELS], ids=lambda s: s.__name__)
def test_formats_in_fractions_ask_for_the_image_size(sample):
    refused(sample(2), "row 0 of the", "image_size=(width, height)")


@pytest.mark.parametrize("sample", [sam, torchvision, supervision, detectron2, mmdet, hf_segmentation, hf_panoptic])
def test_masks_come_along(sample):
    assert all(region.mask is not None for region in regions_from(sample(2)))


@pytest.mark.parametrize("empty", [(), [], {}, np.zeros((0, 4)), np.zeros((0,)), "", " \n", "[]", iter(()), [[]]])
def test_nothing_found_is_no_region(empty):
    assert regions_from(empty) == []


def test_a_tensor_in_bfloat16_is_read():
    import torch

    found = {"boxes": tensor([CAT], dtype=torch.bfloat16), "scores": tensor([0.5], dtype=torch.bfloat16)}
    assert regions_from(found)[0].box == CAT


def test_scikit_image_finds_the_astronaut():
    data = pytest.importorskip("skimage.data")
    from skimage.feature import Cascade

    found = Cascade(data.lbp_frontal_face_cascade_filename()).detect_multi_scale(
        img=data.astronaut()[:256, :400], scale_factor=1.3, step_ratio=1, min_size=(80, 80), max_size=(140, 140)
    )
    (face,) = regions_from(found, image_size=(400, 256), max_regions=1)
    x, y = face.center
    assert 190 < x < 250
    assert 90 < y < 150


# --- supervision and its like ---------------------------------------------------------------------------------


def test_anything_with_xyxy_is_read_with_ultralytics_names_too():
    boxes = ultralytics(2, ids=tensor([4.0, 9.0])).boxes
    regions = regions_from(boxes)
    assert [(r.label, r.score, r.id) for r in regions] == [
        ("class 17", pytest.approx(0.9), "4"),
        ("class 18", pytest.approx(0.6), "9"),
    ]


def test_supervision_tracks_and_oriented_boxes():
    sv = pytest.importorskip("supervision")
    corners = np.reshape(outline(CAT), (1, 4, 2)).astype(float)
    found = sv.Detections(xyxy=np.array([CAT], float), tracker_id=np.array([12]), data={"xyxyxyxy": corners})
    (region,) = regions_from(found)
    assert region.id == "12"
    assert region.polygon == tuple(map(tuple, corners[0].tolist()))


def test_supervision_compact_masks():
    compact = pytest.importorskip("supervision.detection.compact_mask")
    found = supervision(2)
    found.mask = compact.CompactMask.from_dense(found.mask, found.xyxy, image_shape=(SIZE[1], SIZE[0]))
    assert np.array_equal(regions_from(found)[1].mask, mask_of(DOG))


# --- ultralytics ----------------------------------------------------------------------------------------------


def test_ultralytics_polygons_and_an_empty_one():
    outlines = [np.reshape(outline(CAT), (4, 2)).astype(np.float32), np.zeros((0, 2), np.float32)]
    cat, dog = regions_from(ultralytics(2, masks=Stand(xy=outlines)))
    assert cat.polygon == ((20, 10), (60, 10), (60, 50), (20, 50))
    assert dog.polygon is None
    assert dog.box == DOG


def test_ultralytics_oriented_boxes_are_polygons():
    assert regions_from(ultralytics_obb(1))[0].polygon == ((20, 10), (60, 10), (60, 50), (20, 50))


def test_ultralytics_track_ids_and_one_result_in_a_list():
    assert [r.id for r in regions_from([ultralytics(2, ids=tensor([3.0, 5.0]))])] == ["3", "5"]
    assert [r.id for r in regions_from(ultralytics(2))] == [None, None]
    # stream=True gives a generator.
    assert len(regions_from(result for result in [ultralytics(2)])) == 2


def test_ultralytics_of_another_image_size_is_refused():
    refused(ultralytics(1), "200 x 100", "(400, 200)", image_size=(400, 200))


def test_ultralytics_classification_is_refused():
    refused(Stand(boxes=None, obb=None, masks=None, probs=Stand(top1=3), names=BY_ID), "holds no boxes")


# --- several images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sample", [ultralytics, hf_post_process, florence, supervision, detectron2, hf_object_detection]
)
def test_several_images_are_refused(sample):
    refused([sample(1), sample(2)], "2 outputs", "result[0]")
    assert len(regions_from([sample(2)])) == 2


def test_several_images_inside_one_output_are_refused():
    refused({"responses": [{}, {}]}, "responses'][0]")
    refused(np.concatenate([opencv_ssd(1)[0, 0], opencv_ssd(1)[0, 0] + [1, 0, 0, 0, 0, 0, 0]]), "rows[:, 0] == 0")
    rows = coco_results(2)
    rows[1]["image_id"] = 2
    refused(rows, "2 images", "image_id")
    dataset = coco_dataset(2)
    dataset["images"].append({"id": 2, "width": 5, "height": 5})
    refused(dataset, "2 images", "image_id")
    two = Stand(xyxy=[columns(1)[0], columns(1)[0]], xyxyn=[1], names=BY_ID)
    refused(two, "2 images")


# --- labels, ids, scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, ["class 17", "class 18"]),
        ({17: "cat"}, ["cat", "class 18"]),
        ({"17": "cat", "18": "dog"}, ["cat", "dog"]),
        ({np.int64(17): "cat"}, ["cat", "class 18"]),
        (["?"] * 17 + ["cat", "dog"], ["cat", "dog"]),
        (["too", "short"], ["class 17", "class 18"]),
        (np.array(["?"] * 17 + ["cat", "dog"]), ["cat", "dog"]),
    ],
)
def test_class_ids_get_names(labels, expected):
    assert [r.label for r in regions_from(hf_post_process(2), labels=labels)] == expected


def test_labels_win_over_the_names_of_the_detector():
    assert [r.label for r in regions_from(ultralytics(2), labels={17: "tiger"})] == ["tiger", "dog"]


def test_a_negative_class_does_not_count_from_the_end():
    found = np.array([[*CAT, 0.5, -1]])
    assert regions_from(found, box_format="xyxy", labels=["a", "b"])[0].label == "class -1"


def test_labels_that_are_one_string_are_refused():
    refused(hf_post_process(1), "labels=", labels="cat")


def test_class_ids_in_text():
    rows = [{**coco_results(1)[0], "category_id": "17"}, {**coco_results(1)[0], "category_id": "zebra"}]
    assert [r.label for r in regions_from(rows, labels=BY_ID)] == ["cat", "zebra"]


def test_annotation_ids_become_ids():
    assert [r.id for r in regions_from(coco_annotations(2))] == ["7", "8"]


def test_min_score_drops_known_scores_only():
    found = [*hf_object_detection(2), {**hf_object_detection(1)[0], "score": None}]
    assert [r.score for r in regions_from(found, min_score=0.7)] == [0.9, None]
    # A row that is dropped is not judged.
    broken = {**hf_object_detection(1)[0], "score": 0.1, "box": {"xmin": 5, "ymin": 5, "xmax": 5, "ymax": 5}}
    assert len(regions_from([*hf_object_detection(2), broken], min_score=0.5)) == 2


def test_max_regions_keeps_the_best_in_the_order_of_the_detector():
    scores = [0.2, 0.9, None, 0.5, 0.9]
    found = [{**hf_object_detection(1)[0], "score": score} for score in scores]
    assert [r.score for r in regions_from(found, max_regions=2)] == [0.9, None]
    assert [r.score for r in regions_from(found, max_regions=4)] == [0.9, None, 0.5, 0.9]
    assert regions_from(found, max_regions=0) == []
    ties = [{**row, "label": str(i), "score": 0.5} for i, row in enumerate(found)]
    assert [r.label for r in regions_from(ties, max_regions=2)] == ["0", "1"]


def test_rekognition_without_instances_and_faces():
    box = {"Left": 0.1, "Top": 0.1, "Width": 0.2, "Height": 0.4}
    (face,) = regions_from({"FaceDetails": [{"BoundingBox": box, "Confidence": 99.5}]}, image_size=SIZE)
    assert (face.box, face.label, face.score) == (pytest.approx(CAT), "face", pytest.approx(0.995))


# --- bare numbers and box_format ------------------------------------------------------------------------------

LAYOUTS = {
    "xyxy": list(CAT),
    "xywh": [20, 10, 40, 40],
    "cxcywh": [40, 30, 40, 40],
    "xyxyn": [0.1, 0.1, 0.3, 0.5],
    "xywhn": [0.1, 0.1, 0.2, 0.4],
    "cxcywhn": [0.2, 0.3, 0.2, 0.4],
}


@pytest.mark.parametrize(("box_format", "box"), LAYOUTS.items())
def test_bare_boxes_are_read_with_box_format(box_format, box):
    for found in (box, [box], np.array(box), np.array([box]), tensor([box]), [tensor(box)]):
        (region,) = regions_from(found, box_format=box_format, image_size=SIZE)
        assert region.box == pytest.approx(CAT, abs=1e-4)


@pytest.mark.parametrize("found", [np.array([[20, 10, 40, 40]], np.int32), [20, 10, 40, 40], [[20, 10, 40, 40, 0.5]]])
def test_bare_boxes_are_refused_without_box_format(found):
    refused(found, "box_format=", "xywh", "OpenCV")


def test_columns_five_and_six_are_score_and_class():
    (region,) = regions_from(np.array([[*CAT, 0.5, 17]]), box_format="xyxy", labels=BY_ID)
    assert (region.score, region.label) == (0.5, "cat")
    (region,) = regions_from(np.array([[*CAT, 0.25]]), box_format="xyxy")
    assert (region.score, region.label) == (0.25, None)


@pytest.mark.parametrize(
    ("sample", "box_format"),
    [
        (coco_results, "xyxy"),
        (hf_object_detection, "xywh"),
        (sam, "cxcywh"),
        (supervision, "xywh"),
        (rekognition, "xywh"),
    ],
)
def test_a_box_format_that_contradicts_the_format_is_refused(sample, box_format):
    refused(sample(1), f"box_format='{box_format}' contradicts", box_format=box_format, image_size=SIZE)


def test_an_unknown_box_format_is_refused():
    refused(hf_object_detection(1), "box_format=", "cxcywhn", box_format="yxyx")


def test_fractions_read_as_pixels_are_refused():
    found = {"boxes": tensor([fractions(CAT)]), "scores": tensor([0.5]), "labels": tensor([17])}
    refused(found, "box_format='xyxyn'", "image_size=")
    assert regions_from(found, box_format="xyxyn", image_size=SIZE)[0].box == pytest.approx(CAT)
    refused([{**coco_results(1)[0], "bbox": fractions(xywh(CAT))}], "box_format='xywhn'")
    refused([[0.1, 0.1, 0.3, 0.5]], "'xyxyn'", box_format="xyxy")


def test_pixels_read_as_fractions_are_refused():
    refused("0 100 40 30 20", "expected values in 0..1", image_size=SIZE)
    refused("0 10 10 50 10 50 50 9 60", "expected values in 0..1", image_size=SIZE)
    refused([[10, 20, 30, 40]], "expected values in 0..1", box_format="xyxyn", image_size=SIZE)


@pytest.mark.parametrize(
    "corners",
    [
        {"xmin": 20, "ymin": 10, "xmax": 60, "ymax": 50},
        {"x_min": 20, "y_min": 10, "x_max": 60, "y_max": 50},
        {"x0": 20, "y0": 10, "x1": 60, "y1": 50},
        {"x1": 20, "y1": 10, "x2": 60, "y2": 50},
        {"left": 20, "top": 10, "right": 60, "bottom": 50},
        {"left": 20, "top": 10, "width": 40, "height": 40},
        {"x": 20, "y": 10, "width": 40, "height": 40},
        {"x": 20, "y": 10, "w": 40, "h": 40},
        {"cx": 40, "cy": 30, "w": 40, "h": 40},
    ],
)
def test_dicts_that_name_their_corners(corners):
    for row in ({**corners, "label": "cat"}, {"bbox": corners, "name": "cat"}, {"box": corners, "class": "cat"}):
        (region,) = regions_from([row])
        assert (region.box, region.label) == (CAT, "cat")


def test_dicts_with_four_unnamed_numbers_need_box_format():
    found = [{"label": "cat", "bbox": [20, 10, 40, 40], "score": 0.5}]
    refused(found, "box_format=")
    (region,) = regions_from(json.dumps(found), box_format="xywh")
    assert (region.box, region.label, region.score) == (CAT, "cat", 0.5)


def test_rows_that_roboflow_and_others_write_alike_are_refused():
    rows = roboflow(1)["predictions"]
    refused(rows, "box_format='cxcywh'")
    assert regions_from(rows, box_format="cxcywh")[0].box == CAT
    assert regions_from(rows, box_format="xywh")[0].box == (40, 30, 80, 70)


# --- masks ----------------------------------------------------------------------------------------------------


def test_soft_masks_are_cut_at_a_half():
    soft = np.zeros((1, 1, SIZE[1], SIZE[0]), np.float32)
    soft[0, 0, 10:50, 20:60], soft[0, 0, 60:70, 20:60] = 0.5, 0.49
    found = {"boxes": tensor([CAT]), "labels": tensor([17]), "scores": tensor([0.9]), "masks": tensor(soft)}
    assert np.array_equal(regions_from(found, image_size=SIZE)[0].mask, mask_of(CAT))


@pytest.mark.parametrize("sample", [hf_segmentation, sam, torchvision, supervision, hf_mask_generation])
def test_masks_of_another_size_are_refused(sample):
    refused(sample(1), "row 0 of the", "200 x 100", "400 x 200", image_size=(400, 200))


def test_an_empty_mask_beside_a_box_is_dropped():
    found = {"boxes": tensor([CAT]), "scores": tensor([0.9]), "masks": tensor(np.zeros((1, 1, 100, 200), np.float32))}
    (region,) = regions_from(found)
    assert (region.box, region.mask) == (CAT, None)


def test_an_empty_mask_alone_is_refused():
    found = hf_segmentation(2)
    found[1]["mask"] = Image.new("L", SIZE)
    refused(found, "row 1", "'dog'", "threshold")


def test_a_sam_mask_one_pixel_wide_has_a_box():
    thin = {**sam(1)[0], "segmentation": mask_of((20, 10, 21, 50)), "bbox": [20, 10, 0, 39]}
    assert regions_from([thin])[0].box == (20, 10, 21, 50)


@pytest.mark.parametrize("counts", ["b03500000n0", b"b03500000n0", [18, 3, 5, 3, 5, 3, 5, 3, 35]])
def test_coco_run_lengths(counts):
    # A rectangle of x 2..6, y 2..5 in an image of 10 x 8; the text was written by pycocotools.
    row = {"image_id": 1, "category_id": 17, "segmentation": {"size": [8, 10], "counts": counts}, "score": 0.5}
    (region,) = regions_from([row])
    assert region.box == (2, 2, 6, 5)
    assert region.mask.sum() == 12
    refused([row], "10 x 8", "8 x 10", image_size=(8, 10))


def test_coco_things_of_several_polygons_become_a_mask():
    row = {**coco_annotations(1)[0], "bbox": [20, 10, 160, 80], "segmentation": [outline(CAT), outline(DOG)]}
    refused([row], "2 polygons", "image_size=")
    (region,) = regions_from([row], image_size=SIZE)
    assert np.array_equal(region.mask, mask_of(CAT) | mask_of(DOG))
    assert regions_from([{**row, "segmentation": []}])[0].mask is None


def test_polygons_fill_the_pixels_whose_centre_they_hold():
    triangle = [0, 0, 10, 0, 0, 10]
    row = {**coco_annotations(1)[0], "bbox": [0, 0, 30, 30], "segmentation": [triangle, [-5, 20, 3, 20, 3, 25, -5, 25]]}
    (region,) = regions_from([row], image_size=(30, 30))
    y, x = np.mgrid[:30, :30] + 0.5
    assert np.array_equal(region.mask, (x + y < 10) | ((y > 20) & (y < 25) & (x < 3)))


def test_florence_things_of_several_polygons_become_a_mask():
    found = {"<REGION_TO_SEGMENTATION>": {"polygons": [[outline(CAT), outline(DOG)]], "labels": [""]}}
    refused(found, "image_size=")
    (region,) = regions_from(found, image_size=SIZE)
    assert (region.box, region.label) == ((20, 10, 180, 90), None)


# --- clipping and refusing boxes ------------------------------------------------------------------------------


def at(box, **more):
    return [{**hf_object_detection(1)[0], **more, "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))}]


def test_boxes_that_stick_out_are_clipped():
    assert regions_from(at((-5, -3, 205, 50)), image_size=SIZE)[0].box == (0, 0, 200, 50)
    assert regions_from(at((-5, -3, 205, 50)))[0].box == (-5, -3, 205, 50)


def test_polygons_keep_their_points_and_their_box_is_clipped():
    found = {"shapes": [{"label": "a", "points": [[-5, -5], [50, 0], [0, 50]], "shape_type": "polygon"}]}
    (region,) = regions_from(found, image_size=SIZE)
    assert region.box == (0, 0, 50, 50)
    assert region.polygon[0] == (-5, -5)


@pytest.mark.parametrize("box", [(300, 10, 340, 50), (10, 100, 40, 140), (-50, 10, 0, 40)])
def test_boxes_outside_the_image_are_refused(box):
    found = hf_object_detection(2) + at(box)
    refused(found, "row 2 of the", str(float(box[0])), "200 x 100", "box_format", image_size=SIZE)


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((float("nan"), 0, 10, 10), "NaN"),
        ((float("-inf"), 0, 10, 10), "infinity"),
        ((50, 10, 20, 40), "inverted or empty"),
        ((50, 10, 50, 40), "inverted or empty"),
        ((0, 0, 0, 0), "inverted or empty"),
        (("a", 0, 1, 2), "expected"),
        ((None, 0, 1, 2), "expected"),
    ],
)
def test_boxes_that_are_none_are_refused(box, word):
    refused(hf_object_detection(1) + at(box), "row 1 of the", word)
    refused(hf_object_detection(1) + at(box), "row 1 of the", word, image_size=SIZE)


def test_scores_that_are_none_are_refused():
    refused(at(CAT, score=float("nan")), "row 0", "score")
    refused(at(CAT, score="high"), "row 0", "score")


def test_rows_of_another_kind_are_named():
    refused([*hf_object_detection(1), {"score": 1, "label": "x"}], "row 1 of the transformers", "'box' is missing")
    refused([*hf_object_detection(1), 7], "row 1 of the", "int 7")
    refused([*coco_results(1), {"image_id": 1, "category_id": 3}], "row 1 of the COCO result", "'bbox' is missing")
    refused([Region(box=CAT), "x"], "row 1", "Region")


def test_columns_of_different_length_are_refused():
    found = {"boxes": tensor(BOXES), "scores": tensor([0.5]), "labels": tensor([1, 2])}
    refused(found, "2 boxes but 1 scores")
    refused({**found, "scores": tensor([0.5, 0.5]), "masks": tensor(stacked(1))}, "2 boxes but 1 masks")


@pytest.mark.parametrize("size", [(100, 200, 3), (0, 10), (10.5, 10), "200x100", 7, (float("nan"), 1)])
def test_a_image_size_that_is_none_is_refused(size):
    refused(hf_object_detection(1), "image_size=", "(width, height)", image_size=size)


@pytest.mark.parametrize("kwargs", [{"min_score": "x"}, {"min_score": float("nan")}, {"max_regions": -1}])
def test_settings_that_make_no_sense_are_refused(kwargs):
    refused(hf_object_detection(1), *kwargs, **kwargs)


# --- annotations ----------------------------------------------------------------------------------------------


def test_regions_pass_through_unchanged():
    mine = [Region(box=CAT, score=0.4, id="a"), Region(point=(900, 900)), Region(mask=mask_of(DOG), score=0.9)]
    assert all(a is b for a, b in zip(regions_from(mine, image_size=SIZE), mine, strict=True))
    assert regions_from(mine[0]) == [mine[0]]
    assert [r.id for r in regions_from(mine, min_score=0.5)] == [None, None]


def test_json_text_and_bytes_are_parsed():
    text = json.dumps(coco_dataset(2))
    for found in (text, text.encode(), "\ufeff" + text):
        assert [r.label for r in regions_from(found)] == ["cat", "dog"]


def test_a_dataset_that_states_another_image_size_is_refused():
    for found in (coco_dataset(1), voc(1), labelme(1), roboflow(1)):
        refused(found, "200 x 100", "(100, 200)", image_size=(100, 200))


def test_voc_counts_from_one():
    assert regions_from(voc(1))[0].box == CAT
    from_zero = voc(1).replace("<xmin>21<", "<xmin>0<")
    assert regions_from(from_zero)[0].box == (0, 10, 60, 50)


def test_voc_parts_are_not_objects():
    part = "<part><name>ear</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"
    assert [r.label for r in regions_from(voc(1).replace("</object>", part + "</object>"))] == ["cat"]


def test_yolo_lines_of_every_length():
    text = "0 .5 .5 .2 .2\n1 .5 .5 .2 .2 .75\n2 .1 .1 .3 .1 .1 .5\n3 .5 .5 .2 .2 .75 6\n4 .1 .1 .3 .1 .3 .5 .1 .5 .9"
    regions = regions_from(text, image_size=SIZE)
    assert [r.box for r in regions[:2]] == [(80, 40, 120, 60)] * 2
    assert regions[2].polygon == (pytest.approx((20, 10)), pytest.approx((60, 10)), pytest.approx((20, 50)))
    assert (regions[3].score, regions[3].id, regions[3].polygon) == (0.75, "6", None)
    assert (regions[4].score, len(regions[4].polygon)) == (0.9, 4)
    refused("0 .5 .5", "row 0 of the YOLO text", "cx cy w h", image_size=SIZE)


def test_labelme_shapes_of_every_kind():
    def shape(kind, *points):
        return {"label": kind, "points": points, "shape_type": kind}

    shapes = [shape("rectangle", [60, 50], [20, 10]), shape("circle", [40, 30], [40, 50]), shape("point", [5, 6])]
    rectangle, circle, point = regions_from({"shapes": shapes, "imageWidth": 200, "imageHeight": 100})
    assert rectangle.box == circle.box == CAT
    assert point.point == (5, 6)
    refused({"shapes": [shape("point", [500, 6])]}, "outside", image_size=SIZE)


def test_google_leaves_out_zeros():
    row = {"name": "cat", "score": 0.9, "boundingPoly": {"normalizedVertices": [{}, {"x": 0.3}, {"x": 0.3, "y": 0.5}]}}
    assert regions_from([row], image_size=SIZE)[0].box == pytest.approx((0, 0, 60, 50))
    pixels = {"description": "STOP", "boundingPoly": {"vertices": [{"x": 20, "y": 10}, {"x": 60, "y": 50}]}}
    assert regions_from([pixels])[0].box == CAT


def test_counts_of_a_cascade_are_no_scores():
    found = (np.array([xywh(CAT)], np.int32), np.array([12], np.int32))
    assert regions_from(found)[0].score is None
    with_levels = (found[0], found[1], np.array([1.5]))
    assert regions_from(with_levels)[0].score == 1.5


def test_florence_captions_are_refused():
    refused({"<CAPTION>": "a cat and a dog"}, "<CAPTION>", "bboxes")


# --- unknown and hostile input --------------------------------------------------------------------------------


def test_unknown_output_is_described():
    message = refused({"foo": 1, "bar": [1]}, "dict with 2 keys", "foo", "bar", "register_format", "COCO dataset")
    assert "Ultralytics" in message
    refused(np.zeros((3, 9)), "ndarray", "(3, 9)", "float64")
    refused(["a", "b"], "list of 2 items", "str")
    refused("annotations/0001.txt", "path is not opened")
    refused(dict.fromkeys(map(str, range(1000)), "x" * 10**6), "1000 keys")
    refused(None, "[]")
    refused(b"\xff\xfe\x00", "UTF-8")
    refused('{"a": ', "not JSON")
    refused("<annotation><object>", "not XML")
    refused("<svg></svg>", "<svg>")


class Thorny:
    def __getattr__(self, name):
        raise RuntimeError("do not touch")


class ThornyArray:
    shape = property(lambda self: 1 / 0)

    def __array__(self, *_, **__):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError


class ThornyDict(dict):
    def __getitem__(self, key):
        raise RuntimeError("no")

    get = __getitem__


def recursive_list():
    found = []
    found.append(found)
    return found


def recursive_dict():
    found = {}
    found["annotations"] = found["shapes"] = found["boxes"] = found["labels"] = found["predictions"] = found
    return found


def failing():
    yield hf_object_detection(1)[0]
    raise OSError("camera lost")


@pytest.mark.parametrize(
    "found",
    [
        Thorny(),
        [Thorny()],
        ThornyArray(),
        [ThornyArray(), ThornyArray()],
        ThornyDict(boxes=1, labels=2, bbox=3),
        [ThornyDict(bbox=1, category_id=2)],
        {1: 2, None: 3, (4, 5): ThornyArray()},
        np.array([object(), None], dtype=object),
        np.array([[1, 2, 3, "x"]], dtype=object),
        recursive_list(),
        recursive_dict(),
        failing(),
        object(),
        object,
        7,
        True,
        float("nan"),
        [None],
        [[[[]]]],
        {"boxes": recursive_list(), "labels": []},
        {"boxes": "abcd", "scores": [1]},
        {"masks": [1, 2], "scores": [1, 2]},
        {"instances": 3, "pred_boxes": 4},
        Stand(xyxy="abcd"),
        Stand(xyxy=np.zeros((2, 7))),
        Stand(boxes=Thorny(), names=None),
        {"<OD>": {"bboxes": [[1, 2, 3]], "labels": ["x"]}},
        {"annotations": [7], "images": 3},
        {"shapes": [{"points": "xyz"}]},
        {"Labels": [7]},
        {"responses": [7, 8]},
        {"detections": [{"bounding_box": {}}]},
        [{"segmentation": 5, "bbox": [1, 2, 3], "predicted_iou": {}}],
        [{"category_id": 1, "segmentation": {"size": "ab", "counts": []}}],
        [{"category_id": 1, "segmentation": [[1, 2, 3], ["a"]]}],
        [{"mask": 3, "label": 4}],
        (np.zeros((2, 4)), np.zeros(2)),
        "[" * 100_000,
        "9" * 100_000,
        "1" * 5000 + " .5 .5 .1 .1",
        "[" + "9" * 10_000 + "]",
        '{"boxes": [[NaN, 1, 2, 3]], "labels": [1], "scores": [1]}',
    ],
    ids=lambda found: f"{type(found).__name__}",
)
def test_hostile_input_raises_nothing_but_a_detection_error(found):
    refused(found)


def test_entities_cannot_unfold():
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation><object>&l11;</object></annotation>'
    start = time.perf_counter()
    refused(bomb, "DOCTYPE")
    refused('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [2, 2], "counts": [2**62] * 4 + [4]},
        {"size": [2, 2], "counts": "o" * 500_000},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [-4, 8]},
        {"size": [float("inf"), 2], "counts": [4]},
    ],
)
def test_run_lengths_cannot_eat_the_memory(rle):
    start = time.perf_counter()
    refused([{"category_id": 1, "segmentation": rle}], "row 0 of the COCO result", "mask")
    assert time.perf_counter() - start < 1


def test_a_dataset_cannot_claim_a_image_that_eats_the_memory():
    dataset = coco_dataset(1)
    dataset["images"][0] |= {"width": 10**6, "height": 10**6}
    dataset["annotations"][0]["segmentation"] = [outline(CAT), outline(DOG)]
    refused(dataset, "1000000 x 1000000")


# --- formats of users -----------------------------------------------------------------------------------------


def test_registered_formats_come_first_and_can_be_removed():
    def read(found, context):
        for row in found:
            box = list(row["box"].values())
            yield Row(box=box, box_format=context.layout("xyxy"), class_id=17, score=row["score"])

    remove = register_format("mine", lambda found: found[0]["label"] == "cat", read)
    try:
        regions = regions_from(hf_object_detection(2), labels={17: "tiger"}, image_size=SIZE, min_score=0.7)
        assert [(r.label, r.box) for r in regions] == [("tiger", CAT)]
        refused(at((500, 500, 600, 600)), "row 0 of the mine", "200 x 100", image_size=SIZE)
        refused({"unknown": 1}, "mine", "could not look at it: KeyError")
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


def test_contours_of_opencv():
    import cv2

    canvas = np.zeros((60, 80), np.uint8)
    cv2.rectangle(canvas, (10, 20), (29, 39), 255, cv2.FILLED)
    cv2.circle(canvas, (60, 30), 8, 255, cv2.FILLED)
    contours, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = sorted(region.box for region in regions_from(contours, image_size=(80, 60)))
    assert found == [(10, 20, 30, 40), (52, 22, 69, 39)]
    assert all(region.polygon for region in regions_from(contours))


# --- tuples that look like OpenCV's, and what Ultralytics writes ---


def test_tuples_of_decimals_are_not_taken_for_opencv_s():
    boxes, scores = np.array([[100.5, 100, 200, 210], [10, 20, 60, 90]], np.float32), np.array([0.99, 0.8], np.float32)
    refused((boxes, scores), "box_format='xyxy'")
    refused((np.array([1, 2]), scores, boxes), "box_format='xyxy'")
    first, second = regions_from((boxes, scores), box_format="xyxy")  # as facenet-pytorch gives them
    assert (first.box, second.box) == ((100.5, 100, 200, 210), (10, 20, 60, 90))
    assert first.score == pytest.approx(0.99)
    whole = boxes.astype(int)
    assert regions_from((whole, scores))[0].box == (100, 100, 300, 310)
    assert regions_from((whole, scores), box_format="xyxy")[0].box == (100, 100, 200, 210)
    refused((boxes, scores, np.array([3.0, 7.0])))  # classes are no scores


def test_fractions_that_stick_out_a_little_are_not_pixels():
    refused({"boxes": [[0.2, 0.1, 1.0004, 0.9]], "scores": [0.9], "labels": [1]}, "xyxyn", image_size=SIZE)
    (tiny,) = regions_from({"boxes": [[0, 0, 2, 1]], "scores": [0.9], "labels": [1]}, image_size=SIZE)
    assert tiny.box == (0, 0, 2, 1)


def test_tracks_in_yolo_text_are_ids_and_no_scores_or_corners():
    def read(*lines):
        return [(r.id, r.score) for r in regions_from("\n".join(lines), image_size=(100, 100))]

    assert read("0 .5 .5 .2 .2 7", "0 .3 .3 .1 .1 12", "0 .3 .3 .1 .1 1") == [("7", None), ("12", None), ("1", None)]
    assert read("0 .5 .5 .2 .2 .9 7", "0 .3 .3 .1 .1 .8 1") == [("7", 0.9), ("1", 0.8)]
    assert read("0 .5 .5 .2 .2 1", "0 .3 .3 .1 .1 .5") == [(None, 1.0), (None, 0.5)]
    square = ".1 .1 .2 .1 .2 .2 .1 .2"
    assert read(f"0 {square} .9 2", f"0 {square} .8 1") == [("2", 0.9), ("1", 0.8)]
    assert read(f"0 {square} 5") == [("5", None)]
    for line in (f"0 {square} .9 2", f"0 {square} 5", f"0 {square} .9", f"0 {square}"):
        assert regions_from(line, image_size=(100, 100))[0].box == pytest.approx((10, 10, 20, 20))


@pytest.mark.parametrize(("tail", "score", "id"), [("", None, None), (" .7", 0.7, None), (" .7 3", 0.7, "3"),
                                                   (" 3", None, "3")])  # fmt: skip
def test_a_pose_in_yolo_text_is_its_box(tail, score, id):
    points = " ".join(f"{0.5 + 0.01 * n:.3f} {0.5 + 0.02 * (n % 5):.3f} {0.9 if n % 4 else 2}" for n in range(16))
    (region,) = regions_from(f"0 .58 .54 .4 .4 {points} 0 0 0{tail}", image_size=(100, 100))
    assert region.box == pytest.approx((38, 34, 78, 74))
    assert (region.score, region.id, region.polygon) == (score, id, None)


def test_a_turned_box_with_named_corners_is_all_four_of_them():
    corners = {"x1": 100, "y1": 50, "x2": 180, "y2": 70, "x3": 175, "y3": 120, "x4": 95, "y4": 100}
    (ship,) = regions_from([{"name": "ship", "class": 1, "confidence": 0.5, "box": corners}], image_size=(640, 480))
    assert ship.box == (95, 50, 180, 120)
    assert ship.polygon == ((100, 50), (180, 70), (175, 120), (95, 100))
    assert (ship.label, ship.score) == ("ship", 0.5)


def test_an_answer_of_google_vision_that_failed_or_holds_other_things_is_not_taken_for_nothing():
    refused({"responses": [{"error": {"code": 3, "message": "Bad image data."}}]}, "Bad image data.")
    faces = [{"boundingPoly": {"vertices": [{"x": 1, "y": 2}, {"x": 30, "y": 40}]}, "detectionConfidence": 0.9}]
    refused({"responses": [{"faceAnnotations": faces}]}, "['responses'][0]['faceAnnotations']")
    (face,) = regions_from(faces)
    assert (face.box, face.score) == ((1, 2, 30, 40), 0.9)
    assert regions_from({"responses": [{"labelAnnotations": [{"description": "sea", "score": 0.9}]}]}) == []


MASK = np.zeros((48, 64), bool)
MASK[20:30, 20:30] = True


@pytest.mark.parametrize(
    "region",
    [
        Region(box=(1, 2, 30, 40), label="x", id="dog", score=0.5),
        Region(box=(1, 2, 30, 40), mask=MASK, label="x", id="dog"),
        Region(polygon=[(1, 1), (30, 1), (1, 30)]),
        Region(point=(3, 4), id="p"),
    ],
    ids=["box", "mask", "polygon", "point"],
)
def test_a_region_that_was_dumped_is_read_again(region):
    for dumped in (region.model_dump(), [region.model_dump()]):
        assert regions_from(dumped, image_size=(64, 48)) == [region]


def test_a_mask_that_is_none_is_no_mask():
    rows = [{"box": [1, 2, 30, 40], "label": "cat", "mask": None}]
    assert regions_from(rows, box_format="xyxy") == [Region(box=(1, 2, 30, 40), label="cat")]


@pytest.mark.parametrize("scores", ["scores", "confidences", "confidence", "conf"])
@pytest.mark.parametrize("names", ["labels", "class_names", "classes", "names"])
def test_columns_under_the_names_in_use(scores, names):
    found = {
        "boxes": [[1, 2, 30, 40], [1, 2, 30, 41]],
        scores: [0.9, 0.1],
        names: ["cat", "dog"],
        "labels": ["cat", "dog"],
    }
    assert regions_from(found, min_score=0.5) == [Region(box=(1, 2, 30, 40), label="cat", score=0.9)]
    if scores == "scores":
        del found["labels"]
        found.setdefault(names, ["cat", "dog"])
        assert [region.label for region in regions_from(found)] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("layout", "numbers"), [("xyxy", [1, 2, 30, 40]), ("xywh", [1, 2, 29, 38]), ("cxcywh", [15.5, 21, 29, 38])]
)
def test_rows_whose_key_says_the_layout(layout, numbers):
    row = {layout: numbers, "label": "cat", "score": 0.9}
    for count in (1, 2):
        assert regions_from([row] * count) == [Region(box=(1, 2, 30, 40), label="cat", score=0.9)] * count


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (([[0.5, 0.5, 0.3, 0.4]], [0.9], ["cat"]), "Columns beside each other"),
        ([[10, 20, 30, 40, 0.9], [10, 20, 30, 40]], "unequal length"),
        ([[0, 10, 20, 30, 40]], "class comes first"),
    ],
)
def test_what_is_no_batch_is_not_taken_for_one(found, says):
    with pytest.raises(DetectionError, match=says):
        regions_from(found, image_size=(64, 48), box_format="xyxy")


def test_the_number_of_regions_may_be_any_whole_number():
    rows = [[1, 2, 30, 40], [1, 2, 30, 41]]
    assert len(regions_from(rows, box_format="xyxy", max_regions=np.int64(1))) == 1
    with pytest.raises(DetectionError, match="max_regions"):
        regions_from(rows, box_format="xyxy", max_regions=True)


def test_an_annotation_without_a_box_is_where_its_outline_is():
    rows = [{"bbox": [], "segmentation": [[1, 2, 30, 2, 30, 40]], "category_id": 1}]
    assert regions_from(rows)[0].box == (1, 2, 30, 40)


def test_a_row_that_lacks_the_key_of_its_fellows_is_named():
    refused([{"xyxy": [1, 2, 30, 40]}, {"label": "cat"}], "row 1 of the", "'xyxy' is missing")
