"""What annotation tools and datasets write: JSON, XML, CSV and text."""

from __future__ import annotations

import base64
import json
import math
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from langchain_vipllava.regions.region import Region
from tests.regions.layouts.layout import SIZE, Layout

GROUP = "Annotation tools and datasets"

_SIZED = {"image_size": SIZE}
_CUP_BOX = (64, 96, 256, 288)  # 10%, 20%, 40%, 60% of 640 x 480
_CUP = (Region(box=_CUP_BOX, label="cup"),)
_KITE = [[300, 100], [400, 150], [350, 260]]
_KITES = (Region(polygon=_KITE, label="kite"),)
_PAIR = (*_CUP, *_KITES)
# A box from (200, 200) to (400, 240), turned by 90 degrees about its center (300, 220).
_UPRIGHT_BOX = (200, 200, 400, 240)
_STANDING = (Region(polygon=[(320, 120), (320, 320), (280, 320), (280, 120)], label="pen"),)
_SPOT = (Region(point=(64, 96), label="cup"),)


def _mask():
    mask = np.zeros((480, 640), dtype=bool)
    mask[100:104, 50:53] = [[1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]]
    return mask


_PART = _mask()[100:104, 50:53]
_MASKED = (Region(mask=_mask(), label="ring"),)


def _circle(cx, cy, rx, ry, label, turned=0.0):
    """The polygon of 48 corners that stands for an ellipse."""
    points = []
    for corner in range(48):
        x, y = rx * math.cos(math.tau * corner / 48), ry * math.sin(math.tau * corner / 48)
        angle = math.radians(turned)
        points.append((cx + x * math.cos(angle) - y * math.sin(angle), cy + x * math.sin(angle) + y * math.cos(angle)))
    return Region(polygon=points, label=label)


def _png(values, **options):
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG", **options)
    return file.getvalue()


def _ls(value, kind, **more):
    return {
        "id": "a1",
        "type": kind,
        "value": value,
        "origin": "manual",
        "to_name": "image",
        "from_name": "label",
        "image_rotation": 0,
        "original_width": 640,
        "original_height": 480,
        **more,
    }


def _ls_export(*results, key="annotations"):
    return [{"id": 1, key: [{"id": 5, "result": list(results), "was_cancelled": False}], "data": {"image": "/a.png"}}]


_LS_CUP = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0, "rectanglelabels": ["cup"]}
_LS_KITE = {"points": [[x / 6.4, y / 4.8] for x, y in _KITE], "closed": True, "polygonlabels": ["kite"]}


def _with_id(regions):
    return tuple(region.model_copy(update={"id": "a1"}) for region in regions)


def _brush_rle():
    """The mask as thi.ng's rle-pack of RGBA: words of 8 bits, runs of 3, 4, 8 or 16 bits."""
    # a black brush: only the opacity says where it was
    values = [value for is_set in _mask().ravel().tolist() for value in (0, 0, 0, 255 * is_set)]
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    at = 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at] and end - at < 2**16:
            end += 1
        bits += f"111{end - at - 1:016b}{values[at]:08b}"
        at = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def _cvat(*shapes):
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        "<meta><task><id>1</id><labels><label><name>cup</name></label></labels></task></meta>"
        f'<image id="0" name="a.png" width="640" height="480">{"".join(shapes)}</image></annotations>'
    )


def _voc(*objects):
    size = "<size><width>640</width><height>480</height><depth>3</depth></size>"
    return f"<annotation><filename>a.png</filename>{size}{''.join(objects)}</annotation>"


def _via(*regions):
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": list(regions), "file_attributes": {}}}


def _via_region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


_VIA_CUP = {"name": "rect", "x": 64, "y": 96, "width": 192, "height": 192}
_VIA_KITE = {"name": "polygon", "all_points_x": [300, 400, 350], "all_points_y": [100, 150, 260]}


def _via_csv():
    def cell(value):
        return '"' + json.dumps(value).replace('"', '""') + '"'

    head = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    shapes = ((_VIA_CUP, "cup"), (_VIA_KITE, "kite"))
    rows = [
        f'a.png,123,"{{}}",2,{number},{cell(shape)},{cell({"object": name})}'
        for number, (shape, name) in enumerate(shapes)
    ]
    return "\n".join([head, *rows])


def _labelme(*shapes):
    return {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageData": None} | {
        "imageHeight": 480,
        "imageWidth": 640,
    }


def _shape(label, kind, points, **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def _supervisely(*objects):
    return {"description": "", "tags": [], "size": {"height": 480, "width": 640}, "objects": list(objects)}


def _sly(title, kind, exterior=(), interior=(), **more):
    points = {"points": {"exterior": list(exterior), "interior": list(interior)}} if exterior else {}
    return {"id": 7, "classId": 1, "classTitle": title, "geometryType": kind, "tags": [], **points, **more}


def _sly_bitmap():
    rgba = np.zeros((4, 3, 4), dtype=np.uint8)
    rgba[_PART] = 255
    return {"data": base64.b64encode(zlib.compress(_png(rgba))).decode(), "origin": [50, 100]}


def _sly_with_hole():
    outside = [[10, 10], [40, 10], [40, 40], [10, 40]]
    hole = [[20, 20], [30, 20], [30, 30], [20, 30]]
    return _supervisely(_sly("ring", "polygon", outside, [hole]))


def _hole():
    mask = np.zeros((480, 640), dtype=bool)
    mask[10:40, 10:40] = True
    mask[20:30, 20:30] = False
    return (Region(mask=mask, label="ring", id="7"),)


_SLY_ID = {"id": "7"}


def _datumaro(*annotations):
    labels = [{"name": "cup", "parent": ""}, {"name": "kite", "parent": ""}]
    image = {"path": "a.png", "size": [480, 640]}
    item = {"id": "a", "annotations": list(annotations), "attr": {"frame": 0}, "image": image}
    return {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}


def _dm(kind, label, **more):
    return {"id": 0, "type": kind, "attributes": {}, "group": 0, "label_id": label, "z_order": 0, **more}


def _numbered(regions, id="0"):
    return tuple(region.model_copy(update={"id": id}) for region in regions)


LAYOUTS = (
    Layout(
        "Label Studio, JSON",
        lambda: _ls_export(_ls(_LS_CUP, "rectanglelabels")),
        "Label Studio, Export",
        _with_id(_CUP),
    ),
    Layout(
        "Label Studio, polygons",
        lambda: _ls_export(_ls(_LS_KITE, "polygonlabels")),
        "Label Studio, Export",
        _with_id(_KITES),
    ),
    Layout(
        "Label Studio, turned about the corner",
        # 90 degrees about (320, 120): what was right of the corner is below it
        lambda: _ls_export(
            _ls(
                {"x": 50, "y": 25, "width": 31.25, "height": 8.3333333, "rotation": 90, "rectanglelabels": ["pen"]}, "r"
            )
        ),
        "Label Studio, RectangleLabels",
        _with_id(_STANDING),
    ),
    Layout(
        "Label Studio, ellipses",
        lambda: _ls_export(
            _ls({"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 30, "ellipselabels": ["egg"]}, "e")
        ),
        "Label Studio, EllipseLabels",
        _with_id([_circle(320, 240, 64, 24, "egg", turned=30)]),
    ),
    Layout(
        "Label Studio, key points",
        lambda: _ls_export(_ls({"x": 10, "y": 20, "width": 0.5, "keypointlabels": ["cup"]}, "keypointlabels")),
        "Label Studio, KeyPointLabels",
        _with_id(_SPOT),
    ),
    Layout(
        "Label Studio, brush",
        lambda: _ls_export(_ls({"format": "rle", "rle": _brush_rle(), "brushlabels": ["ring"]}, "brushlabels")),
        "label-studio-converter, brush.py",
        _with_id(_MASKED),
    ),
    Layout(
        "Label Studio, text of a rectangle",
        lambda: _ls_export(
            _ls({"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}, "rectangle"),
            _ls({"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "text": ["cup"]}, "textarea"),
        ),
        "Label Studio, OCR template",
        _with_id(_CUP),
    ),
    Layout(
        "Label Studio, predictions",
        lambda: [
            {
                "data": {"image": "a.png"},
                "predictions": [
                    {"model_version": "m", "score": 0.5, "result": [_ls(_LS_CUP, "rectanglelabels", score=0.97)]}
                ],
            }
        ],
        "Label Studio, Import pre-annotations",
        _with_id([Region(box=_CUP_BOX, label="cup", score=0.97)]),
    ),
    Layout(
        "Label Studio, JSON_MIN",
        lambda: [
            {
                "image": "/a.png",
                "id": 1,
                "label": [
                    {**_LS_CUP, "original_width": 640, "original_height": 480},
                    {**_LS_KITE, "original_width": 640, "original_height": 480},
                ],
                "annotator": 1,
                "annotation_id": 5,
            }
        ],
        "Label Studio, Export",
        _PAIR,
    ),
    Layout(
        "Label Studio, one `label` of JSON_MIN",
        lambda: [{**_LS_CUP, "original_width": 640, "original_height": 480}],
        "Label Studio, Export",
        _CUP,
    ),
    Layout(
        "Label Studio, several tasks",
        lambda: _ls_export(_ls(_LS_CUP, "r")) * 2,
        "Label Studio, Export",
        refusal="2 tasks",
    ),
    Layout(
        "CVAT XML",
        lambda: _cvat(
            '<box label="cup" occluded="0" xtl="64.0" ytl="96.0" xbr="256.0" ybr="288.0" z_order="0"></box>',
            '<polygon label="kite" occluded="0" points="300.0,100.0;400.0,150.0;350.0,260.0" z_order="0"></polygon>',
            '<tag label="sea"></tag>',
        ),
        "CVAT, XML annotation format",
        _PAIR,
    ),
    Layout(
        "CVAT XML, `rotation`",
        lambda: _cvat('<box label="pen" xtl="200.0" ytl="200.0" xbr="400.0" ybr="240.0" rotation="90.0"/>'),
        "CVAT, XML annotation format",
        _STANDING,
    ),
    Layout(
        "CVAT XML, ellipses",
        lambda: _cvat('<ellipse label="egg" cx="320.0" cy="240.0" rx="64.0" ry="24.0" rotation="30.0"/>'),
        "CVAT, XML annotation format",
        (_circle(320, 240, 64, 24, "egg", turned=30),),
    ),
    Layout(
        "CVAT XML, masks",
        lambda: _cvat('<mask label="ring" rle="0, 2, 2, 1, 1, 3, 2, 1" left="50" top="100" width="3" height="4"/>'),
        "CVAT, XML annotation format",
        _MASKED,
    ),
    Layout(
        "CVAT XML, points",
        lambda: _cvat('<points label="cup" points="64.0,96.0" z_order="0"/>'),
        "CVAT, XML annotation format",
        _SPOT,
    ),
    Layout(
        "CVAT XML, one frame of a video",
        lambda: (
            '<annotations><version>1.1</version><track id="3" label="cup">'
            '<box frame="0" outside="0" xtl="64" ytl="96" xbr="256" ybr="288"/>'
            '<box frame="1" outside="1" xtl="1" ytl="1" xbr="9" ybr="9"/></track></annotations>'
        ),
        "CVAT, XML annotation format",
        _numbered(_CUP, "3"),
    ),
    Layout(
        "CVAT XML, several images",
        lambda: "<annotations><image id='0' width='9' height='9'/><image id='1' width='9' height='9'/></annotations>",
        "CVAT, XML annotation format",
        refusal="2 images",
    ),
    Layout(
        "CVAT's COCO, `attributes.rotation`",
        lambda: [{"image_id": 1, "category_id": 1, "bbox": [200, 200, 200, 40], "attributes": {"rotation": 90.0}}],
        "CVAT, COCO export",
        tuple(region.model_copy(update={"label": "pen"}) for region in _STANDING),
        arguments={"labels": {1: "pen"}},
    ),
    Layout(
        "Pascal VOC XML",
        lambda: _voc(
            "<object><name>cup</name><bndbox><xmin>65</xmin><ymin>97</ymin><xmax>256</xmax><ymax>288</ymax></bndbox></object>"
        ),
        "VOC2012's development kit",
        _CUP,
    ),
    Layout(
        "Roboflow's VOC `<polygon>`",
        lambda: _voc(
            "<object><name>kite</name><bndbox><xmin>300</xmin><xmax>400</xmax><ymin>100</ymin><ymax>260</ymax></bndbox>"
            "<polygon><x1>300</x1><y1>100</y1><x2>400</x2><y2>150</y2><x3>350</x3><y3>260</y3></polygon></object>"
        ),
        "Roboflow's export",
        _KITES,
    ),
    Layout(
        "LabelMe's VOC `<pt>`",
        lambda: (
            "<annotation><object><name>kite</name><polygon><username>x</username><pt><x>300</x><y>100</y></pt>"
            "<pt><x>400</x><y>150</y></pt><pt><x>350</x><y>260</y></pt></polygon></object></annotation>"
        ),
        "LabelMe of MIT",
        _KITES,
    ),
    Layout(
        "roLabelImg `<robndbox>`",
        lambda: _voc(
            "<object><type>robndbox</type><name>pen</name><robndbox><cx>300</cx><cy>220</cy><w>200</w><h>40</h>"
            f"<angle>{math.pi / 2}</angle></robndbox></object>"
        ),
        "roLabelImg's README",
        _STANDING,
    ),
    Layout(
        "VIA project",
        lambda: {
            "_via_settings": {},
            "_via_img_metadata": _via(_via_region(_VIA_CUP, label="cup"), _via_region(_VIA_KITE, label="kite")),
            "_via_attributes": {},
        },
        "VIA 2, project",
        _PAIR,
    ),
    Layout(
        "VIA JSON",
        lambda: _via(_via_region(_VIA_CUP, label="cup"), _via_region(_VIA_KITE, label="kite")),
        "VIA 2, export",
        _PAIR,
    ),
    Layout(
        "VIA JSON, circles and ellipses",
        lambda: _via(
            _via_region({"name": "circle", "cx": 100, "cy": 100, "r": 20}, label="plate"),
            _via_region(
                {"name": "ellipse", "cx": 320, "cy": 240, "rx": 64, "ry": 24, "theta": math.pi / 6}, label="egg"
            ),
            _via_region({"name": "point", "cx": 64, "cy": 96}, label="cup"),
        ),
        "VIA 2, export",
        (_circle(100, 100, 20, 20, "plate"), _circle(320, 240, 64, 24, "egg", turned=30), *_SPOT),
    ),
    Layout("VIA CSV", _via_csv, "VIA 2, export", _PAIR),
    Layout(
        "VIA 3 project",
        lambda: {
            "project": {"pid": "p"},
            "attribute": {"1": {"aname": "what", "options": {"0": "cup", "1": "kite"}}},
            "file": {"1": {"fid": "1", "fname": "a.png"}},
            "metadata": {
                "1_a": {"vid": "1", "flg": 0, "z": [], "xy": [2, 64, 96, 192, 192], "av": {"1": "0"}},
                "1_b": {"vid": "1", "flg": 0, "z": [], "xy": [7, 300, 100, 400, 150, 350, 260], "av": {"1": "1"}},
            },
            "view": {},
        },
        "VIA 3, project",
        _PAIR,
    ),
    Layout(
        "Open Images rows",
        lambda: (
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded\na1,xclick,/m/02jvh9,1,0.1,0.4,0.2,0.6,0\n"
        ),
        "Open Images V7, Data Formats",
        (Region(box=_CUP_BOX, label="/m/02jvh9", score=1.0),),
        arguments=_SIZED,
    ),
    Layout(
        "Supervisely, rectangles and polygons",
        lambda: _supervisely(_sly("cup", "rectangle", [[64, 96], [256, 288]]), _sly("kite", "polygon", _KITE)),
        "Supervisely, Annotation JSON format",
        tuple(region.model_copy(update=_SLY_ID) for region in _PAIR),
    ),
    Layout(
        "Supervisely, bitmaps",
        lambda: _supervisely(_sly("ring", "bitmap", bitmap=_sly_bitmap())),
        "Supervisely, Annotation JSON format",
        _numbered(_MASKED, "7"),
    ),
    Layout("Supervisely, polygons with holes", _sly_with_hole, "Supervisely, Annotation JSON format", _hole()),
    Layout(
        "CreateML",
        lambda: [
            {
                "image": "a.png",
                "annotations": [{"label": "cup", "coordinates": {"x": 160, "y": 192, "width": 192, "height": 192}}],
            }
        ],
        "Apple, Create ML data sources",
        _CUP,
    ),
    Layout(
        "Datumaro, boxes and polygons",
        lambda: _datumaro(
            _dm("bbox", 0, bbox=[64, 96, 192, 192]), _dm("polygon", 1, points=[300, 100, 400, 150, 350, 260])
        ),
        "Datumaro, format",
        _numbered(_PAIR),
    ),
    Layout(
        "Datumaro, masks",
        # column by column: two pixels of the first column, three of the second, two of the third
        lambda: _datumaro(_dm("mask", 0, rle={"size": [480, 640], "counts": [24100, 1, 1, 1, 477, 3, 479, 2, 282136]})),
        "Datumaro, format",
        (Region(mask=_mask(), label="cup", id="0"),),
    ),
    Layout(
        "LabelMe, rectangles and polygons",
        lambda: _labelme(_shape("cup", "rectangle", [[64, 96], [256, 288]]), _shape("kite", "polygon", _KITE)),
        "LabelMe's source",
        _PAIR,
    ),
    Layout(
        "LabelMe, circles",
        lambda: _labelme(_shape("plate", "circle", [[100, 100], [112, 116]])),
        "LabelMe's source",
        (_circle(100, 100, 20, 20, "plate"),),
    ),
    Layout(
        "LabelMe, masks",
        # the two points are the first and the last pixel
        lambda: _labelme(
            _shape(
                "ring",
                "mask",
                [[50, 100], [52, 103]],
                mask=base64.b64encode(_png(_PART.astype(np.uint8) * 255)).decode(),
            )
        ),
        "LabelMe's source",
        _MASKED,
    ),
    Layout(
        "X-AnyLabeling, `rotation`",
        lambda: _labelme(
            _shape("pen", "rotation", [[320, 120], [320, 320], [280, 320], [280, 120]], direction=1.57, score=None)
        ),
        "X-AnyLabeling, user guide",
        _STANDING,
    ),
)
