"""`load_image`: every image that people have at hand, as upright RGB."""

from __future__ import annotations

from PIL import Image

from langchain_vipllava.images.access import Channels, ImageAccessPolicy
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.limits import DEFAULT_LIMITS, ImageLimits
from langchain_vipllava.images.source import ImageSource


def load_image(
    source: ImageSource,
    *,
    channels: Channels = "rgb",
    fetch_policy: FetchPolicy | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Image.Image:
    """Load an image as upright RGB: EXIF orientation applied, so that detector boxes fit.

    For the program's own hands: it opens any file. For names that somebody else writes there is `ImageAccessPolicy`.

    Palette, alpha (over white), gray, CMYK, 16-bit and animated images (first frame) all
    become 8-bit RGB.

    Args:
        source: a path, an `http(s)://`, `file://` or `data:` URI, encoded bytes (PNG, JPEG, ...),
            a file object, a PIL image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4): uint8, uint16, bool, or float in 0..1.
        channels: order of the channels of an array: "rgb", or "bgr" as `cv2.imread` returns.
        fetch_policy: timeout, size limit and allowed hosts of a URL; None for `FetchPolicy()`: public hosts only.
        limits: how large the image may be, and in which formats.

    Returns:
        A new image of mode RGB; `source` is never changed.

    Raises:
        ImageError: a missing file, not an image, truncated, without pixels, too large, not fetched.

    Example:
        >>> import numpy as np
        >>> from langchain_vipllava import load_image
        >>> load_image(np.zeros((48, 64), dtype=np.uint8)).size
        (64, 48)
    """
    image = ImageAccessPolicy.trusted(fetch_policy=fetch_policy, limits=limits).resolve(source, channels=channels)
    return image.decode().copy() if image is source else image.decode(keep=False)
