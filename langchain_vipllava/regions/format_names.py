"""`DetectionFormat`: the names of the formats, as an editor completes them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, get_args

from langchain_vipllava.errors import DetectionError, shorten

DetectionFormat = Literal[
    "alto",
    "azure",
    "boxmot",
    "coco",
    "cogvlm",
    "createml",
    "cvat",
    "datumaro",
    "deepface",
    "deepseek-vl2",
    "detectron2",
    "dicts",
    "dino-x",
    "dlib",
    "docling",
    "doctr",
    "document-ai",
    "dota",
    "easyocr",
    "face-recognition",
    "florence2",
    "gemini",
    "geojson",
    "glm-v",
    "google-vision",
    "grounding-dino",
    "hocr",
    "icdar",
    "insightface",
    "internvl",
    "keras-ocr",
    "keypoints",
    "kitti",
    "kosmos2",
    "label-map",
    "label-studio",
    "labelbox",
    "labelme",
    "mask-rcnn",
    "masks",
    "mediapipe",
    "mmdet",
    "mmdet2",
    "mmocr",
    "mmrotate",
    "molmo",
    "moondream",
    "mot",
    "mtcnn",
    "ocrmac",
    "open-images",
    "opencv-aruco",
    "opencv-codes",
    "opencv-contours",
    "opencv-dnn",
    "opencv-rects",
    "opencv-ssd",
    "opencv-turned",
    "opencv-yunet",
    "paddleocr",
    "paligemma",
    "pascal-voc",
    "points",
    "polygons",
    "pyzbar",
    "quads",
    "qwen",
    "qwen2",
    "qwen2.5",
    "qwen3",
    "rapidocr",
    "regions",
    "rekognition",
    "rle",
    "roboflow",
    "sagemaker",
    "sahi",
    "scale-ai",
    "scikit-image",
    "seed-vl",
    "segment-anything",
    "sort",
    "supervisely",
    "supervision",
    "surya",
    "table",
    "tensorflow",
    "tesseract",
    "textract",
    "torchvision",
    "tracks",
    "transformers",
    "ultralytics",
    "ultralytics-data",
    "vertex-ai",
    "via",
    "vott",
    "xywhr",
    "xywhr-degrees",
    "xywhr-degrees-ccw",
    "yolo",
    "yolo-obb",
    "yolo-pose",
    "yolo-seg",
    "yolov5",
    "yomitoku",
]
"""Names of the readers. One name may stand for several layouts of one source, which its readers tell apart."""

DETECTION_FORMATS: tuple[DetectionFormat, ...] = get_args(DetectionFormat)

PAGE = "https://github.com/langchain-vipllava/langchain-vipllava/blob/main/docs/reference/detections.md"
"""The page with all layouts, for error messages."""


def parse_detection_format(name: object) -> DetectionFormat:
    """Check the name of a format.

    Raises:
        DetectionError: it is not one of `DETECTION_FORMATS`.
    """
    for known in DETECTION_FORMATS:
        if name == known:
            return known
    close = get_close_matches(str(name).lower().replace("_", "-"), DETECTION_FORMATS, n=3) if name else []
    advice = f"did you mean {' or '.join(map(repr, close))}?" if close else f"the names are listed at {PAGE}"
    raise DetectionError(f"format={shorten(name)} is not a known reader; {advice}")
