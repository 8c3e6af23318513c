"""What the vision services of the clouds respond, as JSON and as objects of their clients."""

from __future__ import annotations

from types import SimpleNamespace as Stand

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "Clouds"

_SIZED = {"image_size": SIZE}
_CUP = (64, 96, 256, 288)
_TURNED = ((100, 40), (220, 60), (216, 100), (96, 80))
_TURNED_BOX = (96, 40, 220, 100)


def _bounding(box=_CUP):
    x0, y0, x1, y1 = box
    return {"Left": x0 / 640, "Top": y0 / 480, "Width": (x1 - x0) / 640, "Height": (y1 - y0) / 480}


def _polygon(points=_TURNED):
    return [{"X": x / 640, "Y": y / 480} for x, y in points]


def _geometry():
    return {"BoundingBox": _bounding(_TURNED_BOX), "Polygon": _polygon()}


def _vertices(points=_TURNED):
    return {"vertices": [{"x": x, "y": y} for x, y in points]}


def _corners(box=_CUP):
    x0, y0, x1, y1 = box
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _message(outline, **more):
    """A message of Google's client: what is not set has a default of its type. Its client needs grpc."""
    vertices = [Stand(x=x, y=y) for x, y in outline]
    poly = Stand(vertices=vertices, normalized_vertices=[])
    return Stand(
        **{"mid": "", "locale": "", "description": "", "score": 0.0, "confidence": 0.0, "bounding_poly": poly, **more}
    )


def _google_client(**lists):
    names = ("face", "landmark", "logo", "label", "localized_object", "text")
    empty = {f"{name}_annotations": [] for name in names}
    full = Stand(pages=[], text="")
    return Stand(**{**empty, "full_text_annotation": full, "error": Stand(code=0, message=""), **lists})


def _google_message(**lists):
    """The message of the client itself; each list is made of (description, outline)."""
    from google.cloud import vision

    def annotation(text, points):
        vertices = [vision.Vertex(x=x, y=y) for x, y in points]
        return vision.EntityAnnotation(description=text, bounding_poly=vision.BoundingPoly(vertices=vertices))

    made = {name: [annotation(*one) for one in found] for name, found in lists.items()}
    return vision.AnnotateImageResponse(**made)


def _azure_read(word_key, outline_key, as_points):
    outline = [{"x": x, "y": y} for x, y in _TURNED] if as_points else [side for point in _TURNED for side in point]
    word = {word_key: "EXIT", outline_key: outline, "confidence": 0.97}
    return word


def _full_text():
    def word(text, points):
        return {"boundingBox": _vertices(points), "symbols": [{"text": letter} for letter in text], "confidence": 0.97}

    paragraph = {"boundingBox": _vertices(), "words": [word("EXIT", _TURNED), word("7", _corners())]}
    page = {"width": 640, "height": 480, "blocks": [{"blockType": "TEXT", "paragraphs": [paragraph]}]}
    return {"responses": [{"fullTextAnnotation": {"pages": [page], "text": "EXIT 7"}}]}


_WORD = Region(box=_TURNED_BOX, polygon=_TURNED, label="EXIT", score=0.97)
_UNSCORED_WORD = Region(box=_TURNED_BOX, polygon=_TURNED, label="EXIT")
_FACE = (Region(box=_CUP, label="face", score=0.995),)
_LINE_AND_WORD = [
    {"DetectedText": "EXIT", "Type": "LINE", "Id": 0, "Confidence": 97.0, "Geometry": _geometry()},
    {"DetectedText": "EXIT", "Type": "WORD", "Id": 1, "ParentId": 0, "Confidence": 97.0, "Geometry": _geometry()},
]
_BLOCKS = [
    {"BlockType": "PAGE", "Id": "p", "Geometry": {"BoundingBox": _bounding((0, 0, 640, 480))}},
    {"BlockType": "LINE", "Id": "l", "Text": "EXIT", "Confidence": 97.0, "Geometry": _geometry()}
    | {"Relationships": [{"Type": "CHILD", "Ids": ["w"]}]},
    {
        "BlockType": "WORD",
        "Id": "w",
        "Text": "EXIT",
        "Confidence": 97.0,
        "TextType": "PRINTED",
        "Geometry": _geometry(),
    },
]

LAYOUTS = (
    Layout(
        "Rekognition `TextDetections`",
        lambda: {"TextDetections": _LINE_AND_WORD, "TextModelVersion": "3.0"},
        "Rekognition API, DetectText",
        (_WORD,),
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `FaceDetails`",
        lambda: {"FaceDetails": [{"BoundingBox": _bounding(), "Confidence": 99.5, "Landmarks": []}]},
        "Rekognition API, DetectFaces",
        _FACE,
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `FaceMatches`, `CompareFaces`",
        lambda: {
            "SourceImageFace": {"BoundingBox": _bounding((0, 0, 20, 20)), "Confidence": 99.0},
            "FaceMatches": [{"Similarity": 99.5, "Face": {"BoundingBox": _bounding(), "Confidence": 99.9}}],
            "UnmatchedFaces": [],
        },
        "Rekognition API, CompareFaces",
        _FACE,
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `FaceMatches`, `SearchFacesByImage`",
        lambda: {
            "SearchedFaceBoundingBox": _bounding(),
            "SearchedFaceConfidence": 99.5,
            "FaceMatches": [{"Similarity": 97.0, "Face": {"FaceId": "f", "BoundingBox": _bounding((0, 0, 20, 20))}}],
        },
        "Rekognition API, SearchFacesByImage",
        _FACE,
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `Persons`",
        lambda: {
            "Persons": [
                {
                    "BodyParts": [
                        {
                            "Name": "HEAD",
                            "Confidence": 99.0,
                            "EquipmentDetections": [
                                {"BoundingBox": _bounding((96, 96, 160, 144)), "Confidence": 97.0, "Type": "HEAD_COVER"}
                            ],
                        }
                    ],
                    "BoundingBox": _bounding(),
                    "Confidence": 99.5,
                    "Id": 0,
                }
            ]
        },
        "Rekognition API, DetectProtectiveEquipment",
        (
            Region(box=_CUP, label="person", score=0.995, id="0"),
            Region(box=(96, 96, 160, 144), label="HEAD_COVER", score=0.97),
        ),
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `CustomLabels`",
        lambda: {"CustomLabels": [{"Name": "cup", "Confidence": 97.0, "Geometry": {"BoundingBox": _bounding()}}]},
        "Rekognition API, DetectCustomLabels",
        (Region(box=_CUP, label="cup", score=0.97),),
        arguments=_SIZED,
    ),
    Layout(
        "Rekognition `ModerationLabels`",
        lambda: {"ModerationLabels": [{"Name": "Alcohol", "Confidence": 97.0}]},
        "Rekognition API, DetectModerationLabels",
        refusal="about the whole image",
    ),
    Layout(
        "Textract `Blocks`",
        lambda: {"DocumentMetadata": {"Pages": 1}, "Blocks": _BLOCKS},
        "Textract API, DetectDocumentText",
        (_WORD,),
        arguments=_SIZED,
    ),
    Layout(
        "Textract, a line without its words",
        lambda: {"Blocks": _BLOCKS[:2]},
        "Textract API, DetectDocumentText",
        (_WORD,),
        arguments=_SIZED,
    ),
    Layout(
        "Google `textAnnotations`",
        lambda: {
            "responses": [
                {
                    "textAnnotations": [
                        {
                            "locale": "en",
                            "description": "EXIT\n7",
                            "boundingPoly": _vertices(_corners((0, 0, 640, 480))),
                        },
                        {"description": "EXIT", "boundingPoly": _vertices()},
                        {"description": "7", "boundingPoly": _vertices(_corners())},
                    ]
                }
            ]
        },
        "Vision API, TEXT_DETECTION",
        (_UNSCORED_WORD, Region(box=_CUP, label="7")),
    ),
    Layout(
        "Google `text_annotations`, objects",
        lambda: _google_client(
            text_annotations=[
                _message(_corners((0, 0, 640, 480)), description="EXIT"),
                _message(_TURNED, description="EXIT"),
            ]
        ),
        "google-cloud-vision 3.16",
        (_UNSCORED_WORD,),
    ),
    Layout(
        "Google `fullTextAnnotation`",
        _full_text,
        "Vision API, DOCUMENT_TEXT_DETECTION",
        (_WORD, Region(box=_CUP, label="7", score=0.97)),
    ),
    Layout(
        "Google `faceAnnotations`",
        lambda: {"faceAnnotations": [{"boundingPoly": _vertices(_corners()), "detectionConfidence": 0.995}]},
        "Vision API, FACE_DETECTION",
        _FACE,
    ),
    Layout(
        "Google `face_annotations`, objects",
        lambda: _google_client(face_annotations=[_message(_corners(), detection_confidence=0.995)]),
        "google-cloud-vision 3.16",
        _FACE,
    ),
    Layout(
        "Google `logo_annotations`, a list of objects",
        lambda: [_message(_corners(), description="Cup Inc.", score=0.97)],
        "google-cloud-vision 3.16",
        (Region(box=_CUP, label="Cup Inc.", score=0.97),),
    ),
    Layout(
        "Google `cropHintsAnnotation`",
        lambda: {"cropHintsAnnotation": {"cropHints": [{"boundingPoly": _vertices(_corners()), "confidence": 0.97}]}},
        "Vision API, CROP_HINTS",
        (Region(box=_CUP, label="crop hint", score=0.97),),
    ),
    Layout(
        "Google `AnnotateImageResponse`",
        lambda: _google_message(text_annotations=[("EXIT", _corners((0, 0, 640, 480))), ("EXIT", _TURNED)]),
        "google-cloud-vision 3.16",
        (_UNSCORED_WORD,),
        needs="google.cloud.vision",
    ),
    Layout("Google, nothing found, objects", _google_client, "google-cloud-vision 3.16", ()),
    Layout(
        "Google `label_annotations`, objects",
        lambda: _google_client(label_annotations=[Stand(description="sea", score=0.9)]),
        "google-cloud-vision 3.16",
        refusal="labelAnnotations are about the whole image",
    ),
    Layout(
        "Google Document AI",
        lambda: {
            "document": {
                "text": "EXIT 7\n",
                "pages": [
                    {
                        "pageNumber": 1,
                        "dimension": {"width": 640, "height": 480, "unit": "pixels"},
                        "tokens": [
                            {
                                "layout": {
                                    "textAnchor": {"textSegments": [{"endIndex": "5"}]},
                                    "confidence": 0.97,
                                    "boundingPoly": {
                                        "normalizedVertices": [{"x": x / 640, "y": y / 480} for x, y in _TURNED]
                                    },
                                }
                            }
                        ],
                    }
                ],
            }
        },
        "Document AI, Enterprise OCR",
        (_WORD,),
        arguments=_SIZED,
    ),
    Layout(
        "Vertex AI, object detection",
        # xMin, xMax, yMin, yMax
        lambda: {
            "predictions": [
                {"ids": ["1"], "displayNames": ["cup"], "bboxes": [[0.1, 0.4, 0.2, 0.6]], "confidences": [0.97]}
            ],
            "deployedModelId": "1",
        },
        "Vertex AI, Interpret prediction results",
        (Region(box=_CUP, label="cup", score=0.97),),
        arguments=_SIZED,
    ),
    Layout(
        "Azure Image Analysis 4.0 `objectsResult`",
        lambda: {
            "modelVersion": "2023-10-01",
            "metadata": {"width": 640, "height": 480},
            "tagsResult": {"values": [{"name": "cup", "confidence": 0.99}]},
            "objectsResult": {
                "values": [
                    {
                        "boundingBox": {"x": 64, "y": 96, "w": 192, "h": 192},
                        "tags": [{"name": "cup", "confidence": 0.97}],
                    }
                ]
            },
            "peopleResult": {"values": [{"boundingBox": {"x": 64, "y": 96, "w": 192, "h": 192}, "confidence": 0.5}]},
        },
        "Azure, Image Analysis 4.0",
        (Region(box=_CUP, label="cup", score=0.97), Region(box=_CUP, label="person", score=0.5)),
    ),
    Layout(
        "Azure Image Analysis 4.0 `readResult`",
        lambda: {
            "metadata": {"width": 640, "height": 480},
            "readResult": {
                "blocks": [
                    {
                        "lines": [
                            {
                                "text": "EXIT",
                                "boundingPolygon": [{"x": 0, "y": 0}, {"x": 640, "y": 480}],
                                "words": [_azure_read("text", "boundingPolygon", as_points=True)],
                            }
                        ]
                    }
                ]
            },
        },
        "Azure, OCR for images 4.0",
        (_WORD,),
    ),
    Layout(
        "Azure, `tagsResult` alone",
        lambda: {
            "metadata": {"width": 640, "height": 480},
            "tagsResult": {"values": [{"name": "cup", "confidence": 0.99}]},
        },
        "Azure, Image Analysis 4.0",
        refusal="about the whole image",
    ),
    Layout(
        "Azure Computer Vision 3.2 `objects`",
        lambda: {
            "objects": [
                {"rectangle": {"x": 64, "y": 96, "w": 192, "h": 192}, "object": "cup", "confidence": 0.97}
                | {"parent": {"object": "container", "confidence": 0.98}}
            ],
            "requestId": "r",
            "metadata": {"height": 480, "width": 640, "format": "Jpeg"},
            "modelVersion": "2021-05-01",
        },
        "Azure, Detect Objects 3.2",
        (Region(box=_CUP, label="cup", score=0.97),),
    ),
    Layout(
        # an object of a client that is not maintained anymore
        "Azure Computer Vision 3.2, objects",
        lambda: Stand(
            as_dict=lambda: {
                "objects": [
                    {"rectangle": {"x": 64, "y": 96, "w": 192, "h": 192}, "object_property": "cup", "confidence": 0.97}
                ],
                "faces": [{"age": 30, "face_rectangle": {"left": 64, "top": 96, "width": 192, "height": 192}}],
                "metadata": {"width": 640, "height": 480, "format": "Jpeg"},
            }
        ),
        "azure-cognitiveservices-vision-computervision",
        (Region(box=_CUP, label="cup", score=0.97), Region(box=_CUP, label="face")),
    ),
    Layout(
        "Azure Face `faceRectangle`",
        lambda: [{"faceId": "f", "faceRectangle": {"top": 96, "left": 64, "width": 192, "height": 192}}],
        "Azure, Face Detect",
        (Region(box=_CUP, label="face"),),
    ),
    Layout(
        "Azure Custom Vision",
        lambda: {
            "id": "i",
            "project": "p",
            "predictions": [
                {
                    "probability": 0.97,
                    "tagId": "t",
                    "tagName": "cup",
                    "boundingBox": {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4},
                }
            ],
        },
        "Azure, Custom Vision Prediction 3.0",
        (Region(box=_CUP, label="cup", score=0.97),),
        arguments=_SIZED,
    ),
    Layout(
        "Azure Read 3.2 `analyzeResult`",
        lambda: {
            "status": "succeeded",
            "analyzeResult": {
                "version": "3.2.0",
                "readResults": [
                    {
                        "page": 1,
                        "angle": 0.1,
                        "width": 640,
                        "height": 480,
                        "unit": "pixel",
                        "lines": [
                            {
                                "boundingBox": [0, 0, 640, 0, 640, 480, 0, 480],
                                "text": "EXIT",
                                "words": [_azure_read("text", "boundingBox", as_points=False)],
                            }
                        ],
                    }
                ],
            },
        },
        "Azure, Read 3.2",
        (_WORD,),
    ),
    Layout(
        "Azure Document Intelligence",
        lambda: {
            "status": "succeeded",
            "analyzeResult": {
                "apiVersion": "2024-11-30",
                "pages": [
                    # a page of 8 x 6 inches, which the image shows with 80 pixels for each
                    {
                        "pageNumber": 1,
                        "width": 8,
                        "height": 6,
                        "unit": "inch",
                        "words": [
                            {
                                "content": "EXIT",
                                "polygon": [1.25, 0.5, 2.75, 0.75, 2.7, 1.25, 1.2, 1.0],
                                "confidence": 0.97,
                            }
                        ],
                        "lines": [],
                    }
                ],
            },
        },
        "Azure, Document Intelligence",
        (_WORD,),
        arguments=_SIZED,
    ),
)
