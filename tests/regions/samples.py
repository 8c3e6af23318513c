"""What detectors write: one function a sample, for the first n of two things, a cat and a dog.

supervision, torch, scikit-image and Pillow make their own samples. Ultralytics, detectron2, mmdet, MediaPipe
and Google's client are not installed here: `Stand` objects carry exactly the attributes that their documentation
names, with torch tensors where they have tensors.
"""

from __future__ import annotations

import json
from types import SimpleNamespace as Stand

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.detections import regions_from

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


def at(box, **more):
    return [{**hf_object_detection(1)[0], **more, "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))}]
