"""`Admission`: which files and URLs may be opened, where somebody else than the program names them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from langchain_vipllava.errors import ImageError
from langchain_vipllava.images.fetch import FetchPolicy
from langchain_vipllava.images.load import ImageSource, load_image

_ELSEWHERE = ("http://", "https://", "data:")


@dataclass(frozen=True)
class Admission:
    """Rules for sources of images; what holds the image itself (bytes, a PIL image, an array) always passes.

    Attributes:
        image_root: only files below this folder are opened; None for any.
        fetch_policy: how URLs are fetched; None for the default of `load_image`.
    """

    image_root: Path | None = None
    fetch_policy: FetchPolicy | None = None

    def admit(self, source: ImageSource) -> ImageSource:
        """A source that may be opened as it is: a URL that has rules of its own is fetched here.

        Raises:
            ImageError: a file outside the folder; a URL that is not fetched.
        """
        if not isinstance(source, (str, os.PathLike)):
            return source
        text = os.fsdecode(source).strip()
        if is_elsewhere(text):
            fetched = self.fetch_policy is not None and not text.lower().startswith("data:")
            return load_image(text, fetch_policy=self.fetch_policy) if fetched else source
        return source if self.image_root is None else self._below(text, self.image_root.resolve())

    @staticmethod
    def _below(source: str, root: Path) -> str:
        try:
            path = (root / source.removeprefix("file://")).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"{source!r} is no path: {error}; expected a path below {str(root)!r}.") from error
        if not path.is_relative_to(root):
            raise ImageError(f"{source!r} lies outside the folder of images; expected a path below {str(root)!r}.")
        return str(path)


def is_elsewhere(source: ImageSource) -> bool:
    """Whether a source is a URL, or a data: URI, which is its own content: no file here."""
    return isinstance(source, str) and source.strip().lower().startswith(_ELSEWHERE)
