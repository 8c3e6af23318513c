"""Marks the same regions with `mark`, supervision and in the style of Set-of-Mark: `make marker-gallery`.

Writes an image per scene to `docs/markers/`. `--before DIR` adds what `mark` of another checkout draws.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.gallery_scenes import GalleryScene, scenes
from langchain_vipllava import VipLlavaError, mark
from langchain_vipllava.markers.kinds import COLORS

PANEL = 480
"""Width of a panel in pixels."""

_QUALITY = 82
"""Of the JPEG files: chosen so that all of them stay below 1.5 MB."""


def ours(scene: GalleryScene) -> Image.Image:
    """Return the image as `mark` draws it; the message, if it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return mark(scene.image, scene.regions, **scene.options).image
        except VipLlavaError as error:
            failed = scene.image.convert("L").convert("RGB")
            text = f"{type(error).__name__}: {str(error)[:90]}..."
            ImageDraw.Draw(failed).text((10, 10), text, fill="red", font=ImageFont.load_default(failed.width // 50))
            return failed


def supervision_style(scene: GalleryScene) -> Image.Image:
    """Return the image as supervision's BoxAnnotator and LabelAnnotator draw it."""
    import supervision  # noqa: PLC0415  # optional

    boxes = np.array([region.box for region in scene.regions], dtype=float)
    detections = supervision.Detections(xyxy=boxes, class_id=np.arange(len(boxes)))
    labels = [str(index + 1) for index in range(len(boxes))]
    boxed = supervision.BoxAnnotator().annotate(scene.image.copy(), detections)
    labeled: Image.Image = supervision.LabelAnnotator().annotate(boxed, detections, labels=labels)
    return labeled


def set_of_mark_style(scene: GalleryScene) -> Image.Image:
    """Return the image in the style of Set-of-Mark (arXiv 2310.11441): translucent regions, numbers in black boxes."""
    canvas = np.array(scene.image)
    masks = [_mask(region, scene.image.size) for region in scene.regions]
    for mask, color in zip(masks, _cycle(len(masks)), strict=True):
        canvas[mask > 0] = (0.65 * canvas[mask > 0] + 0.35 * np.array(color)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, color, 2)
    for index, mask in enumerate(masks):
        depths = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depths.argmax()), depths.shape)
        text = str(index + 1)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
        cv2.rectangle(canvas, (int(x - width / 2 - 3), int(y - height / 2 - 4)),
                      (int(x + width / 2 + 3), int(y + height / 2 + 4)), (0, 0, 0), -1)  # fmt: skip
        corner = (int(x - width / 2), int(y + height / 2))
        cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return Image.fromarray(canvas)


def sheet(scene: GalleryScene, panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """Return the panels of a scene, two in a row, each below its title."""
    shown = [(title, _panel(scene, image)) for title, image in panels]
    width, height = shown[0][1].size
    rows = -(-len(shown) // 2)
    result = Image.new("RGB", (2 * width + 8, rows * (height + 30) - 4), "white")
    pen = ImageDraw.Draw(result)
    for index, (title, panel) in enumerate(shown):
        x, y = (width + 8) * (index % 2), (height + 30) * (index // 2)
        pen.text((x, y + 3), title, fill="black", font=ImageFont.load_default(17))
        result.paste(panel, (x, y + 26))
    return result


def _panel(scene: GalleryScene, image: Image.Image) -> Image.Image:
    part = image if scene.focus is None else image.crop(scene.focus)
    return part.resize((PANEL, round(part.height * PANEL / part.width)), Image.Resampling.LANCZOS)


def _mask(region: object, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), np.uint8)
    if getattr(region, "mask", None) is not None:
        mask[region.mask] = 1  # type: ignore[attr-defined]
    elif getattr(region, "polygon", None):
        cv2.fillPoly(mask, [np.array(region.polygon).round().astype(np.int32)], (1,))  # type: ignore[attr-defined]
    else:
        x0, y0, x1, y1 = (round(n) for n in region.box)  # type: ignore[attr-defined]
        mask[y0:y1, x0:x1] = 1
    return mask


def _cycle(count: int) -> list[tuple[int, int, int]]:
    colors = list(COLORS.values())
    return [colors[index % len(colors)] for index in range(count)]


def _before(checkout: Path, out: Path) -> dict[str, Image.Image]:
    """Return the scenes as an earlier version marks them: a process that imports its package, but this gallery."""
    program = (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); import langchain_vipllava; sys.path.pop(0);"
        "runpy.run_module('benchmarks.gallery', run_name='__main__', alter_sys=True)"
    )
    folder = out / "before"
    arguments = [str(checkout.resolve()), "--ours-only", "--out", str(folder)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)  # noqa: S603  # our own program
    images = {file.stem: Image.open(file).convert("RGB") for file in folder.glob("*.png")}
    shutil.rmtree(folder)
    return images


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/markers"))
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version, whose `mark` is drawn too")
    parser.add_argument("--only", default="", help="name of a scene")
    parser.add_argument("--ours-only", action="store_true", help="write our image alone, as PNG")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    before = _before(options.before, options.out) if options.before else {}
    others: dict[str, Callable[[GalleryScene], Image.Image]] = {
        "after": ours,
        "supervision": supervision_style,
        "Set-of-Mark": set_of_mark_style,
    }
    for scene in scenes():
        if options.only and scene.name != options.only:
            continue
        if options.ours_only:
            ours(scene).save(options.out / f"{scene.name}.png")
            continue
        panels = [("before", before[scene.name])] if before else []
        panels += [(title, draw(scene)) for title, draw in others.items()]
        path_out = options.out / f"{scene.name}.jpg"
        sheet(scene, panels).save(path_out, quality=_QUALITY, optimize=True)
        print(path_out, path_out.stat().st_size)


if __name__ == "__main__":
    main()
