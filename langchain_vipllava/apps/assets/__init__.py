"""`SCENE`: path of a drawn example image, a PNG with a square, a circle and two triangles."""

from __future__ import annotations

from pathlib import Path

SCENE = Path(__file__).parent / "scene.png"
