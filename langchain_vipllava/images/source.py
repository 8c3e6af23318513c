"""`ImageSource`: everything that people pass where an image is expected."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
from PIL import Image

from langchain_vipllava.images.image import EncodedImage

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | EncodedImage
"""A path, an http(s)://, file:// or data: URI, encoded bytes, a binary file object, a PIL image, an array, an
`EncodedImage`, or an `ImageId`."""
