"""`Oracle`: a backend that really looks. It stands in for a model that answers with letters, which the bundled one does
not: it finds a marker by its color, and says which of the options is true of what it finds.
"""

from __future__ import annotations

import re

import numpy as np

from langchain_vipllava.markers.kinds import COLORS
from langchain_vipllava.protocol.answer import Answer
from training.scene import PAINTS

_OPTION = re.compile(r"^([A-Z])\. The object within the (\w+) rectangle$", re.MULTILINE)


class Oracle:
    """Answers "Which object is a blue circle?" by the colors of the pixels within each rectangle."""

    name = "oracle"

    def __init__(self):
        self.requests = []

    def generate(self, request, *, timeout=None):
        self.requests.append(request)
        turn = request.conversation.turns[-1]
        pixels = np.asarray(turn.images[0].decode()).astype(float)
        paint = np.array(PAINTS[re.search(r"is an? (\w+) \w+\?", turn.question)[1]], float)
        shares = {letter: self._share(pixels, color, paint) for letter, color in _OPTION.findall(turn.question)}
        assert len(shares) == 4
        return Answer(max(shares, key=shares.get), 1, 1, "stop")

    @staticmethod
    def _share(pixels, color, paint):
        """Return how much of the middle of a rectangle has a paint; the rectangle is half transparent."""
        ground = np.median(pixels.reshape(-1, 3), axis=0)
        ink = (ground + np.array(COLORS[color])) / 2
        rows, columns = np.nonzero(np.linalg.norm(pixels - ink, axis=2) < 24)
        top, bottom = np.percentile(rows, [2, 98]).astype(int)
        left, right = np.percentile(columns, [2, 98]).astype(int)
        height, width = bottom - top, right - left
        inside = pixels[top + height // 3 : bottom - height // 3, left + width // 3 : right - width // 3]
        return float((np.linalg.norm(inside - paint, axis=2) < 60).mean())
