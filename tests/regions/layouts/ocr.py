"""What OCR libraries write: outlines with the text that was read."""

from __future__ import annotations

import json
from types import SimpleNamespace as Stand

import numpy as np

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "OCR"

# An upright word and a turned one, as the four corners that OCR libraries write.
_EXIT = [[100, 40], [220, 40], [220, 80], [100, 80]]
_STOP = [[300, 200], [400, 220], [392, 260], [292, 240]]
_READ = (
    Region(box=(100, 40, 220, 80), label="EXIT", score=0.97),
    Region(box=(292, 200, 400, 260), polygon=_STOP, label="STOP 7", score=0.5),
)
_UNSCORED = tuple(region.model_copy(update={"score": None}) for region in _READ)
_UPRIGHT = (_READ[0], Region(box=(292, 200, 400, 260), label="STOP 7", score=0.5))


def _fractions(points, scale=1.0):
    return [[x / 640 * scale, y / 480 * scale] for x, y in points]


def _tesseract_columns():
    return {
        "level": [1, 2, 3, 4, 5, 5, 5],
        "page_num": [1] * 7,
        "block_num": [0, 1, 1, 1, 1, 1, 1],
        "par_num": [0, 0, 1, 1, 1, 1, 1],
        "line_num": [0, 0, 0, 1, 1, 1, 1],
        "word_num": [0, 0, 0, 0, 1, 2, 3],
        "left": [0, 100, 100, 100, 100, 292, 500],
        "top": [0, 40, 40, 40, 40, 200, 0],
        "width": [640, 300, 300, 300, 120, 108, 20],
        "height": [480, 220, 220, 220, 40, 60, 30],
        "conf": [-1, -1, -1, -1, 97.0, 50, 95],
        "text": ["", "", "", "", "EXIT", "STOP 7", " "],
    }


def _tesseract_text():
    columns = _tesseract_columns()
    lines = zip(*columns.values(), strict=True)
    return "\n".join("\t".join(map(str, line)) for line in [columns, *lines]) + "\n"


def _doctr(geometry):
    words = [
        {"value": "EXIT", "confidence": 0.97, "geometry": geometry(_EXIT), "crop_orientation": {"value": 0}},
        {"value": "STOP 7", "confidence": 0.5, "geometry": geometry(_STOP), "crop_orientation": {"value": 0}},
    ]
    line = {"geometry": geometry(_EXIT), "objectness_score": 0.9, "words": words}
    block = {"geometry": geometry(_EXIT), "objectness_score": 0.9, "lines": [line], "artefacts": []}
    page = {"page_idx": 0, "dimensions": (480, 640), "orientation": {"value": None}, "language": {"value": None}}
    return {"pages": [{**page, "blocks": [block]}]}


def _corners(points):
    xs, ys = zip(*_fractions(points), strict=True)
    return ((min(xs), min(ys)), (max(xs), max(ys)))


def _paddleocr3():
    return {
        "input_path": "a.png",
        "page_index": None,
        "model_settings": {"use_doc_preprocessor": False, "use_textline_orientation": False},
        "dt_polys": [np.array(_EXIT), np.array(_STOP), np.array([[0, 0], [9, 0], [9, 9], [0, 9]])],
        "text_type": "general",
        "rec_texts": ["EXIT", "STOP 7"],
        "rec_scores": [0.97, 0.5],
        "rec_polys": [np.array(_EXIT, dtype=np.int16), np.array(_STOP, dtype=np.int16)],
        "rec_boxes": np.array([[100, 40, 220, 80], [292, 200, 400, 260]]),
    }


def _docling(origin):
    def bounds(left, top, right, bottom):
        if origin == "BOTTOMLEFT":
            top, bottom = 480 - top, 480 - bottom
        return {"l": left, "t": top, "r": right, "b": bottom, "coord_origin": origin}

    def item(text, box, number=0):
        prov = [{"page_no": 1, "bbox": bounds(*box), "charspan": [0, len(text)]}]
        return {"self_ref": f"#/texts/{number}", "label": "text", "prov": prov, "text": text, "orig": text}

    return {
        "schema_name": "DoclingDocument",
        "version": "1.3.0",
        "name": "a",
        "texts": [item("EXIT", (100, 40, 220, 80)), item("STOP 7", (292, 200, 400, 260), 1)],
        "pictures": [{"self_ref": "#/pictures/0", "label": "picture", "prov": item("", (10, 300, 90, 400))["prov"]}],
        "tables": [],
        "pages": {"1": {"size": {"width": 640.0, "height": 480.0}, "page_no": 1}},
    }


_DOCLING = (
    Region(box=(100, 40, 220, 80), label="EXIT"),
    Region(box=(292, 200, 400, 260), label="STOP 7"),
    Region(box=(10, 300, 90, 400), label="picture"),
)


def _surya(polygon="polygon"):
    lines = [
        {"polygon": _EXIT, "confidence": 0.97, "text": "EXIT", "bbox": [100, 40, 220, 80], "words": [], "chars": []},
        {"polygon": _STOP, "confidence": 0.5, "text": "STOP 7", "bbox": [292, 200, 400, 260], "words": [], "chars": []},
    ]
    return {"text_lines": lines, "languages": None, "image_bbox": [0.0, 0.0, 640.0, 480.0]}


def _rapidocr():
    rapidocr = __import__("rapidocr.utils.output", fromlist=["RapidOCROutput"])
    return rapidocr.RapidOCROutput(
        boxes=np.array([_EXIT, _STOP], dtype=np.float32), txts=("EXIT", "STOP 7"), scores=(0.97, 0.5)
    )


def _hocr():
    return """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html><body><div class='ocr_page' id='page_1' title='image "a.png"; bbox 0 0 640 480; ppageno 0'>
<span class='ocr_line' title='bbox 100 40 400 260'>
<span class='ocrx_word' id='word_1_1' title='bbox 100 40 220 80; x_wconf 97'>EXIT</span>
<span class='ocrx_word' id='word_1_2' title='bbox 292 200 400 260; x_wconf 50'><em>STOP 7</em></span>
</span></div></body></html>"""


def _alto():
    return """<alto xmlns="http://www.loc.gov/standards/alto/ns-v3#">
<Description><MeasurementUnit>pixel</MeasurementUnit></Description>
<Layout><Page WIDTH="640" HEIGHT="480"><PrintSpace><TextBlock><TextLine>
<String HPOS="100" VPOS="40" WIDTH="120" HEIGHT="40" WC="0.97" CONTENT="EXIT"/>
</TextLine></TextBlock></PrintSpace></Page></Layout></alto>"""


def _docling_document():
    documents = __import__("docling_core.types.doc", fromlist=["DoclingDocument"])
    return documents.DoclingDocument.model_validate(_docling("BOTTOMLEFT"))


_TESSERACT = (_UPRIGHT[0], _UPRIGHT[1])

LAYOUTS = (
    Layout(
        "EasyOCR `readtext`",
        lambda: [(_EXIT, "EXIT", 0.97), (_STOP, "STOP 7", np.float64(0.5))],
        "EasyOCR's source",
        _READ,
    ),
    Layout("EasyOCR, `paragraph=True`", lambda: [[_EXIT, "EXIT"], [_STOP, "STOP 7"]], "EasyOCR's source", _UNSCORED),
    Layout(
        "EasyOCR, `output_format='dict'`",
        lambda: [
            {"boxes": _EXIT, "text": "EXIT", "confident": 0.97},
            {"boxes": _STOP, "text": "STOP 7", "confident": 0.5},
        ],
        "EasyOCR's source",
        _READ,
    ),
    Layout(
        "EasyOCR, `output_format='json'`",
        lambda: [
            json.dumps({"boxes": _EXIT, "text": "EXIT", "confident": 0.97}),
            json.dumps({"boxes": _STOP, "text": "STOP 7", "confident": 0.5}),
        ],
        "EasyOCR's source",
        _READ,
    ),
    Layout("EasyOCR, `detail=0`", lambda: ["EXIT", "STOP 7"], "EasyOCR's source", refusal="detail=1"),
    Layout(
        "PaddleOCR 2 `ocr.ocr(image)`",
        lambda: [[[_EXIT, ("EXIT", 0.97)], [_STOP, ("STOP 7", 0.5)]]],
        "PaddleOCR 2.10, Quick Start",
        _READ,
    ),
    Layout("PaddleOCR 2, no text", lambda: [None], "PaddleOCR's source", refusal="pass [] then"),
    Layout("PaddleOCR 3 `predict`", lambda: [_paddleocr3()], "PaddleOCR 3, General OCR pipeline", _READ),
    Layout("PaddleOCR 3 `.json`", lambda: {"res": _paddleocr3()}, "PaddleOCR 3, General OCR pipeline", _READ),
    Layout(
        "PaddleOCR 3, text detection only",
        lambda: {"res": {"input_path": "a.png", "dt_polys": [_EXIT, _STOP], "dt_scores": [0.97, 0.5]}},
        "PaddleOCR 3, Text Detection Module",
        tuple(region.model_copy(update={"label": None}) for region in _READ),
    ),
    Layout(
        "PaddleX layout detection",
        lambda: {
            "res": {
                "input_path": "a.png",
                "page_index": None,
                "boxes": [{"cls_id": 2, "label": "text", "score": 0.97, "coordinate": [100.0, 40.0, 220.0, 80.0]}],
            }
        },
        "PaddleOCR 3, Layout Detection Module",
        (Region(box=(100, 40, 220, 80), label="text", score=0.97),),
    ),
    Layout(
        "PP-Structure rows",
        lambda: [{"type": "table", "bbox": [100, 40, 220, 80], "res": {"html": ""}, "img_idx": 0}],
        "PaddleOCR 2, PP-Structure",
        (Region(box=(100, 40, 220, 80), label="table"),),
    ),
    Layout(
        "PaddleOCR's labels `Label.txt`",
        lambda: [
            {"transcription": "EXIT", "points": _EXIT, "difficult": False},
            {"transcription": "STOP 7", "points": _STOP, "difficult": False},
        ],
        "PPOCRLabel",
        _UNSCORED,
    ),
    Layout(
        "RapidOCR 1 `(rows, seconds)`",
        lambda: ([[_EXIT, "EXIT", "0.97"], [_STOP, "STOP 7", "0.5"]], [0.1, 0.2, 0.3]),
        "RapidOCR 1.3's source",
        _READ,
    ),
    Layout("RapidOCR `RapidOCROutput`", _rapidocr, "RapidOCR 3.10's source", _READ, needs="rapidocr"),
    Layout(
        "RapidOCR `to_json()`",
        lambda: [{"box": _EXIT, "txt": "EXIT", "score": 0.97}, {"box": _STOP, "txt": "STOP 7", "score": 0.5}],
        "RapidOCR 3.10's source",
        _READ,
    ),
    Layout(
        "keras-ocr",
        lambda: [[("EXIT", np.array(_EXIT, dtype=np.float32)), ("STOP 7", np.array(_STOP, dtype=np.float32))]],
        "keras-ocr's README",
        _UNSCORED,
    ),
    Layout(
        "doctr `export()`",
        lambda: _doctr(_corners),
        "doctr, `Document.export`",
        _UPRIGHT,
        arguments={"image_size": SIZE},
    ),
    Layout(
        "doctr, `assume_straight_pages=False`",
        lambda: _doctr(_fractions),
        "doctr, `Document.export`",
        _READ,
    ),
    Layout("tesseract `image_to_data`, `Output.DICT`", _tesseract_columns, "pytesseract's README", _TESSERACT),
    Layout("tesseract `image_to_data`, text (TSV)", _tesseract_text, "tesseract's manual, TSV", _TESSERACT),
    Layout(
        "tesseract, `DataFrame.to_dict('records')`",
        lambda: [
            dict(zip(_tesseract_columns(), row, strict=True))
            for row in zip(*_tesseract_columns().values(), strict=True)
        ],
        "pytesseract, `Output.DATAFRAME`",
        _TESSERACT,
    ),
    Layout(
        "tesseract, a part of the columns",
        lambda: {name: _tesseract_columns()[name][4:] for name in ("left", "top", "width", "height", "conf", "text")},
        "pytesseract, `Output.DATAFRAME`",
        _TESSERACT,
    ),
    Layout(
        "tesseract `image_to_boxes`",
        lambda: "E 100 400 130 440 0\n7 380 220 400 280 0\n",
        "tesseract's manual, makebox",
        (Region(box=(100, 40, 130, 80), label="E"), Region(box=(380, 200, 400, 260), label="7")),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "tesseract `image_to_boxes`, `Output.DICT`",
        lambda: {"char": ["E"], "left": [100], "bottom": [400], "right": [130], "top": [440], "page": [0]},
        "pytesseract's source",
        (Region(box=(100, 40, 130, 80), label="E"),),
        arguments={"image_size": SIZE},
    ),
    Layout(
        "the same, no size", lambda: "E 100 400 130 440 0\n", "tesseract's manual, makebox", refusal="from the bottom"
    ),
    Layout("docling document", lambda: _docling("TOPLEFT"), "docling-core's source", _DOCLING),
    Layout("docling, from the bottom", lambda: _docling("BOTTOMLEFT"), "docling-core's source", _DOCLING),
    Layout(
        "docling `DoclingDocument`",
        _docling_document,
        "docling-core 2.104",
        _DOCLING,
        needs="docling_core.types.doc",
    ),
    Layout(
        "docling boxes, from the bottom",
        lambda: [{"l": 100, "t": 440, "r": 220, "b": 400, "coord_origin": "BOTTOMLEFT"}],
        "docling-core's source",
        (Region(box=(100, 40, 220, 80)),),
        arguments={"image_size": SIZE},
    ),
    Layout("surya `text_lines`", lambda: [_surya()], "surya's README", _READ),
    Layout("surya's `results.json`", lambda: {"a": [{**_surya(), "page": 1}]}, "surya's README", _READ),
    Layout(
        "MMOCR `MMOCRInferencer`",
        lambda: {
            "predictions": [
                {
                    "rec_texts": ["EXIT", "STOP 7"],
                    "rec_scores": [0.97, 0.5],
                    "det_polygons": [np.ravel(_EXIT).tolist(), np.ravel(_STOP).tolist()],
                    "det_scores": [0.9, 0.9],
                }
            ],
            "visualization": [],
        },
        "MMOCR, Inference",
        _READ,
    ),
    Layout(
        "yomitoku's words",
        lambda: Stand(
            words=[
                Stand(points=_EXIT, content="EXIT", direction="horizontal", rec_score=0.97, det_score=0.9),
                Stand(points=_STOP, content="STOP 7", direction="horizontal", rec_score=0.5, det_score=0.9),
            ]
        ),
        "yomitoku's schema of OCR",
        _READ,
    ),
    Layout(
        "Apple Vision by ocrmac",
        lambda: [("EXIT", 0.97, [100 / 640, 1 - 80 / 480, 120 / 640, 40 / 480])],
        "ocrmac's README",
        (_READ[0],),
        arguments={"image_size": SIZE},
    ),
    Layout("hOCR", _hocr, "tesseract's manual, hocr", _UPRIGHT),
    Layout("ALTO XML", _alto, "tesseract's manual, alto", (_READ[0],)),
    Layout(
        "ICDAR text",
        lambda: "\ufeff100,40,220,40,220,80,100,80,EXIT\n300,200,400,220,392,260,292,240,STOP 7\n0,0,9,0,9,9,0,9,###\n",
        "ICDAR 2015, Incidental Scene Text",
        (*_UNSCORED, Region(box=(0, 0, 9, 9))),
    ),
    Layout(
        "rows with four points and a text",
        lambda: [
            {"text": "EXIT", "confidence": 0.97, "bbox": _EXIT},
            {"text": "STOP 7", "confidence": 0.5, "bbox": _STOP},
        ],
        "scripts around EasyOCR",
        _READ,
    ),
)
