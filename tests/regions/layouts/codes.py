"""Faces, codes and markers."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import Layout
from tests.regions.layouts.parts import CUP, Stand, rectangle, xywh

GROUP = "Faces, codes and markers"

_FACE = Region(box=CUP, label="face", score=0.9)
_QUAD = np.array([rectangle(CUP)], np.float32)


class Rectangle:
    """dlib's rectangle, which is not installed here: sides are methods, and the last pixel belongs to it."""

    def left(self):
        return 300

    def top(self):
        return 100

    def right(self):
        return 399

    def bottom(self):
        return 199


def _qr():
    import cv2

    code = cv2.QRCodeEncoder.create().encode("hello")
    code = cv2.resize(code, None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST)
    image = np.full((480, 640), 255, np.uint8)
    image[100 : 100 + code.shape[0], 300 : 300 + code.shape[1]] = code
    return image


def _aruco():
    return ((_QUAD,), np.array([[7]], np.int32), ())


_Decoded = namedtuple("_Decoded", "data type rect polygon quality orientation")
_Rect = namedtuple("_Rect", "left top width height")
_Point = namedtuple("_Point", "x y")

LAYOUTS = (
    Layout("`rectangles`", lambda: [Rectangle()], "dlib", (Region(box=CUP),)),
    Layout(
        "`mmod_rectangles`",
        lambda: [Stand(rect=Rectangle(), confidence=0.9)],
        "dlib",
        (Region(box=CUP, score=0.9),),
    ),
    Layout("`detector.run`", lambda: ([Rectangle()], [0.9], [0]), "dlib", (Region(box=CUP, score=0.9),)),
    Layout(
        "`app.get`",
        lambda: [{"bbox": np.array(CUP, np.float32), "kps": np.zeros((5, 2)), "det_score": 0.9}],
        "insightface",
        (_FACE,),
    ),
    Layout(
        "`RetinaFace.detect_faces`",
        lambda: {"face_1": {"score": 0.9, "facial_area": list(CUP), "landmarks": {"nose": [350, 150]}}},
        "RetinaFace",
        (_FACE,),
    ),
    Layout(
        "`DeepFace.extract_faces`",
        lambda: [{"facial_area": {"x": 300, "y": 100, "w": 100, "h": 100, "left_eye": None}, "confidence": 0.9}],
        "DeepFace",
        (_FACE,),
    ),
    Layout(
        "`face_locations`, (top, right, bottom, left)",
        lambda: [(100, 400, 200, 300)],
        "face_recognition",
        (Region(box=CUP, label="face"),),
        arguments={"format": "face-recognition"},
    ),
    Layout(
        "`FaceDetectorYN.detect`",
        lambda: (1, np.array([[*xywh(CUP), *[350] * 10, 0.9]], np.float32)),
        "OpenCV YuNet",
        (_FACE,),
        arguments={"format": "opencv-yunet"},
    ),
    Layout(
        "`ArucoDetector.detectMarkers`",
        _aruco,
        "OpenCV",
        (Region(polygon=rectangle(CUP), label="marker 7"),),
    ),
    Layout("the same, nothing found", lambda: ((), None, ()), "OpenCV", ()),
    Layout(
        "`QRCodeDetector.detectAndDecode`",
        lambda: ("hello", _QUAD, None),
        "OpenCV",
        (Region(polygon=rectangle(CUP), label="hello"),),
    ),
    Layout(
        "`QRCodeDetector.detectAndDecodeMulti`",
        lambda: (True, ("hello",), _QUAD, ()),
        "OpenCV",
        (Region(polygon=rectangle(CUP), label="hello"),),
    ),
    Layout("the same, no code found", lambda: (False, (), None, ()), "OpenCV", ()),
    Layout(
        "`pyzbar.decode`",
        lambda: [
            _Decoded(b"hello", "QRCODE", _Rect(*xywh(CUP)), [_Point(*p) for p in rectangle(CUP)], 1, "UP"),
        ],
        "pyzbar",
        (Region(box=CUP, polygon=rectangle(CUP), label="hello"),),
    ),
)
