"""What the tools return as structured content, declared for clients."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class _Result(BaseModel):
    """The result of a tool."""


class RegionResult(_Result):
    """A region."""

    id: str
    label: str | None = None
    score: float | None = None
    box: list[float] = Field(description="[x0, y0, x1, y1] in pixels of the image without markers.")


class MarkerResult(RegionResult):
    """A region with its marker."""

    phrase: str = Field(description='Words that name it in a question: "within the red rectangle".')
    page: int | None = Field(None, description="Index of its page, for an image that is marked on several.")


class ImageResult(_Result):
    """A marked image that can be read as a resource."""

    uri: str = Field(description="vip://image/ and the SHA-256 of the PNG.")
    page: int = 0
    width: int
    height: int


class OpenImageResult(_Result):
    """Of `open_image`."""

    image_id: str
    width: int = Field(description="In pixels.")
    height: int = Field(description="In pixels.")


class DetectRegionsResult(_Result):
    """Of `detect_regions`, and of every tool that finds regions."""

    image_id: str
    regions: list[RegionResult]


class MarkRegionsResult(_Result):
    """Of `mark_regions`."""

    image_id: str = Field(description="Of the marked image.")
    source_id: str = Field(description="Of the image without markers.")
    markers: list[MarkerResult]
    images: list[ImageResult]


class VoteResult(_Result):
    """The answer about one look of the regions."""

    phrases: list[str] = Field(description="Words of the markers in this look.")
    question: str
    answer: str = Field(description="With the words of the markers of the image that was asked about.")
    confidence: float | None = None


class AskRegionsResult(_Result):
    """Of `ask_regions`."""

    image_id: str
    question: str = Field(description="As the vision model read it, with the words of the markers.")
    answer: str
    forgotten: int = Field(0, description="Oldest questions that the conversation lost to make room.")
    page: int | None = Field(None, description="Index of the page that was asked about.")
    agreement: float | None = Field(None, description="Share of the votes for the answer; only of a vote.")
    confidence: float | None = Field(None, description="How sure the votes for the answer were; only of a vote.")
    votes: list[VoteResult] = Field([], description="Only of a vote.")


class ListedImage(_Result):
    """An open image."""

    image_id: str
    width: int
    height: int
    regions: list[RegionResult]
    phrases: list[str] = Field(description="Words of its markers; empty for an image without markers.")
    questions: int = Field(description="Questions asked about it so far.")


class ListImagesResult(_Result):
    """Of `list_images`."""

    images: list[ListedImage]


class LookAtImageResult(_Result):
    """Of `look_at_image`."""

    image_id: str
    page: int
    width: int
    height: int
    markers: list[MarkerResult]
    images: list[ImageResult] = Field(description="The marked image as a resource; none for one without markers.")


class ForgetImageResult(_Result):
    """Of `forget_image`."""

    image_id: str


_RESULTS: dict[str, type[_Result]] = {
    "open_image": OpenImageResult,
    "detect_regions": DetectRegionsResult,
    "segment_regions": DetectRegionsResult,
    "mark_regions": MarkRegionsResult,
    "ask_regions": AskRegionsResult,
    "list_images": ListImagesResult,
    "look_at_image": LookAtImageResult,
    "forget_image": ForgetImageResult,
}


def output_schema(tool: str) -> dict[str, Any]:
    """Return the JSON schema of what a tool returns."""
    result = _RESULTS.get(tool)
    return {"type": "object"} if result is None else result.model_json_schema(mode="serialization")
