"""Codes and markers in images: ArUco, QR codes and barcodes of OpenCV, pyzbar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from langchain_vipllava.regions.context import Context
from langchain_vipllava.regions.format import Format, Precedence
from langchain_vipllava.regions.row import Row, UnreadableRow, each
from langchain_vipllava.regions.values import numbers, plain


def _quads(corners: Any) -> np.ndarray | None:
    """Return corners as (N, 4, 2); None if they are none."""
    array = np.asarray(plain(corners), dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4, 2))
    return array.reshape(-1, 4, 2) if array.shape[-2:] == (4, 2) and array.ndim in (3, 4) else None


def _is_aruco(output: Any) -> bool:
    """Match `(corners, ids, rejected)` of cv2.aruco.detectMarkers. `ids` is None where nothing was found."""
    if not isinstance(output, tuple) or len(output) not in (2, 3) or not isinstance(output[0], (list, tuple)):
        return False
    corners, ids = output[0], output[1]
    if any(np.shape(plain(quad)) != (1, 4, 2) for quad in corners):
        return False
    return (ids is None and not corners) or (np.asarray(ids).dtype.kind in "iu" and np.size(ids) == len(corners))


def _read_aruco(output: Any, _context: Context) -> Iterator[Row]:
    ids = [] if output[1] is None else np.ravel(output[1]).tolist()
    for quad, marker in zip(output[0], ids, strict=True):
        yield Row(rings=[quad], label=f"marker {marker}")


def _decoded(output: Any) -> tuple[list[str], np.ndarray] | None:
    """Return texts and corners of QRCodeDetector and BarcodeDetector, for one code or several; else None."""
    if not isinstance(output, tuple) or len(output) not in (2, 3, 4):
        return None
    parts = list(output)
    if isinstance(parts[0], (bool, np.bool_)):
        parts = parts[1:]
    texts = [parts[0]] if isinstance(parts[0], str) else parts[0]
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        texts = None
    for part in parts[0 if texts is None else 1 : 3]:
        if part is None:
            return (list(texts or ()), np.zeros((0, 4, 2))) if not any(texts or ()) else None
        if isinstance(part, (list, tuple)) and all(isinstance(text, str) for text in part):
            continue  # the types of the codes
        quads = _quads(part)
        if quads is None:
            return None
        names = list(texts) if texts is not None else [""] * len(quads)
        if len(names) == len(quads):
            return names, quads
        return ([], quads) if not len(quads) and not any(names) else None
    return None


def _is_decoded(output: Any) -> bool:
    return _decoded(output) is not None


def _read_decoded(output: Any, _context: Context) -> Iterator[Row]:
    texts, quads = _decoded(output) or ([], np.zeros((0, 4, 2)))
    for text, quad in zip(texts, quads, strict=False):
        yield Row(rings=[quad], label=text or None)


def _are_symbols(output: Any) -> bool:
    """Match the list of pyzbar.decode and of pylibdmtx.decode."""
    return (
        isinstance(output, (list, tuple)) and bool(output) and hasattr(output[0], "rect") and hasattr(output[0], "data")
    )


def _read_symbols(output: Any, _context: Context) -> Iterator[Row | UnreadableRow]:
    yield from each(output, _symbol)


def _symbol(symbol: Any) -> Row:
    polygon = [tuple(point) for point in getattr(symbol, "polygon", None) or ()]
    text = symbol.data.decode(errors="replace") if isinstance(symbol.data, bytes) else symbol.data
    rect = numbers(tuple(symbol.rect), "rect")
    # pyzbar's rect of a line of pixels has no height; its polygon has then none either
    return Row(box=rect, box_format="xywh", rings=[polygon] if len(polygon) > 2 else (), label=text)


FORMATS = (
    Format("opencv-aruco", "OpenCV ArUco tuple", _is_aruco, _read_aruco, Precedence.ROWS),
    Format("opencv-codes", "OpenCV QR code or barcode tuple", _is_decoded, _read_decoded, Precedence.SHARED_ROWS),
    Format("pyzbar", "pyzbar result", _are_symbols, _read_symbols, Precedence.ROWS),
)
