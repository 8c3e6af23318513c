"""The exports of labeling services: Labelbox, VoTT, Scale AI, SageMaker Ground Truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_vipllava.errors import DetectionError
from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.geometry import Size
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import field, first_row, keys_of, rows

_SIDES = ("left", "top", "width", "height")


def _xy(points: Any) -> list[tuple[Any, Any]]:
    return [(point["x"], point["y"]) for point in points]


def _labelbox_objects(output: Any) -> list[Any] | None:
    """Return the objects of an export of either version; None if it is none."""
    label = field(output, "Label")
    if isinstance(label, Mapping):
        return list(label.get("objects") or ())
    projects = field(output, "projects")
    if not isinstance(projects, Mapping) or "data_row" not in keys_of(output):
        return None
    labels = [label for project in projects.values() for label in project.get("labels") or ()]
    if len(labels) > 1:
        raise DetectionError(f"it holds the labels of {len(labels)} people; keep one.")
    return [found for label in labels for found in (label.get("annotations") or {}).get("objects") or ()]


def _is_labelbox(output: Any) -> bool:
    return isinstance(output, Mapping) and (
        isinstance(output.get("Label"), Mapping) or keys_of(output) >= {"data_row", "projects"}
    )


def _read_labelbox(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    media = field(output, "media_attributes")
    width, height = field(media, "width"), field(media, "height")
    size = (int(width), int(height)) if width and height else None
    yield from each(_labelbox_objects(output) or (), lambda found: _labelbox_row(found, size))


def _labelbox_row(found: Mapping[str, Any], size: Size | None) -> Row:
    named: dict[str, Any] = {"label": field(found, "name", "title", "value"), "image_size": size}
    box, polygon, point = field(found, "bounding_box", "bbox"), found.get("polygon"), found.get("point")
    if box is not None:
        return Row(box=[box[side] for side in _SIDES], box_format="xywh", **named)
    if polygon is not None:
        return Row(rings=[_xy(polygon)], **named)
    if point is not None:
        return Row(point=(point["x"], point["y"]), **named)
    raise DetectionError("its object has no bounding_box, polygon or point; masks behind a URL are not fetched.")


def _is_vott(output: Any) -> bool:
    return keys_of(output) >= {"asset", "regions"}


def _read_vott(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    size = field(output["asset"], "size")
    width, height = field(size, "width"), field(size, "height")
    image_size = (int(width), int(height)) if width and height else None
    yield from each(rows(output["regions"]), lambda region: _vott_row(region, image_size))


def _is_vott_project(output: Any) -> bool:
    assets = field(output, "assets")
    return isinstance(assets, Mapping) and bool(assets) and all(map(_is_vott, assets.values()))


def _read_vott_project(output: Any, context: Context) -> Iterator[Row | UnreadableRow]:
    assets = list(output["assets"].values())
    if len(assets) > 1:
        raise DetectionError(f"it holds {len(assets)} images; pass one: list(project['assets'].values())[0].")
    yield from _read_vott(assets[0], context)


def _vott_row(region: Mapping[str, Any], size: Size | None) -> Row:
    named: dict[str, Any] = {"label": ", ".join(region.get("tags") or ()) or None, "image_size": size}
    if str(region.get("type")).upper() == "POLYGON":
        return Row(rings=[_xy(region["points"])], **named)
    return Row(box=[region["boundingBox"][side] for side in _SIDES], box_format="xywh", **named)


def _scale_annotations(output: Any) -> Any:
    response = field(output, "response")
    return field(output if response is None else response, "annotations")


def _is_scale(output: Any) -> bool:
    row = first_row(_scale_annotations(output))
    return "label" in keys_of(row) and bool(keys_of(row) >= {*_SIDES} or "vertices" in keys_of(row))


def _read_scale(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(rows(_scale_annotations(output)), _scale_row)


def _scale_row(row: Mapping[str, Any]) -> Row:
    if "vertices" in row:
        return Row(rings=[_xy(row["vertices"])], label=row["label"])
    return Row(box=[row[side] for side in _SIDES], box_format="xywh", label=row["label"])


def _sagemaker_job(output: Any) -> str | None:
    """Return the name of the job that labeled a line of a manifest; None if there is none with boxes."""
    names = keys_of(output)
    jobs = (name for name in sorted(names) if f"{name}-metadata" in names)
    return next((name for name in jobs if keys_of(output[name]) >= {"image_size", "annotations"}), None)


def _is_sagemaker(output: Any) -> bool:
    return _sagemaker_job(output) is not None


def _read_sagemaker(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    job = _sagemaker_job(output)
    labeled, about = output[job], output[f"{job}-metadata"]
    names, objects = about.get("class-map") or {}, about.get("objects") or []
    size = first_row(labeled["image_size"])
    image_size = (int(size["width"]), int(size["height"])) if size else None
    numbered = list(enumerate(rows(labeled["annotations"])))
    yield from each(
        numbered,
        lambda found: Row(
            box=[found[1][side] for side in _SIDES],
            box_format="xywh",
            label=names.get(str(found[1]["class_id"])),
            class_id=found[1]["class_id"],
            score=objects[found[0]].get("confidence") if found[0] < len(objects) else None,
            image_size=image_size,
        ),
    )


FORMATS = (
    Format("labelbox", "Labelbox export", _is_labelbox, _read_labelbox, Precedence.IMAGE, ("data_row", "Label")),
    Format("vott", "VoTT asset", _is_vott, _read_vott, Precedence.IMAGE, ("asset", "regions", "tags")),
    Format("vott", "VoTT project", _is_vott_project, _read_vott_project, Precedence.IMAGE, ("assets",)),
    Format("scale-ai", "Scale AI task", _is_scale, _read_scale, Precedence.LOOSE_IMAGE, ("response", "vertices")),
    Format(
        "sagemaker", "SageMaker Ground Truth line", _is_sagemaker, _read_sagemaker, Precedence.IMAGE, ("source-ref",)
    ),
)
