"""`detect_regions`: the tool that runs the user's detector."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.detector import Detector, run_detector
from langchain_vipllava.tools.base import RegionTool, Reply, as_tool_error, describe_region, region_line, save


class DetectRegionsInput(BaseModel):
    """Arguments of `detect_regions`."""

    image_id: str = Field(description="Id of an open image, as open_image gave it.")
    labels: list[str] | None = Field(default=None, description="Only regions with these labels; leave out for all.")
    min_score: float = Field(default=0.0, ge=0, le=1, description="Only regions with at least this confidence.")
    max_regions: int = Field(default=20, ge=1, le=200, description="At most so many regions, the surest ones.")

    @field_validator("min_score", "max_regions", mode="before")
    @classmethod
    def _usual(cls, value: Any, info: ValidationInfo) -> Any:
        return cls.model_fields[str(info.field_name)].default if value is None else value  # LLMs write null for nothing


class DetectRegionsTool(RegionTool):
    """Finds regions in an open image.

    Attributes:
        detector: called with the RGB PIL image.
        reading: arguments for `regions_from`, such as `box_format` and `labels` (names of class ids).
    """

    name: str = "detect_regions"
    description: str = (
        "Find the things in an open image with a detector. Gives region ids (r1, r2, ...) with labels and boxes, "
        "for mark_regions."
    )
    args_schema: type[BaseModel] = DetectRegionsInput
    detector: Detector
    reading: dict[str, Any] = Field(default_factory=dict)

    def _run(
        self,
        image_id: str,
        config: RunnableConfig,
        labels: list[str] | None = None,
        min_score: float = 0.0,
        max_regions: int = 20,
    ) -> Reply:
        try:
            session = self._session(config)
            opened = self._image(session, image_id)
            found = run_detector(
                self.detector,
                opened.image.copy(),  # some detectors draw on what they are given
                only=labels,
                # the LLM can narrow what the program allows, not widen it
                options=DetectionOptions(**self.reading).narrowed(min_score=min_score, max_regions=max_regions),
            )
            with opened.lock:
                regions = list({region.id: region for region in opened.add_regions(found)}.values())
        except VipLlavaError as error:
            raise as_tool_error(error) from error
        save(session)
        artifact = {"image_id": opened.id, "regions": [describe_region(region) for region in regions]}
        if not regions:
            return (
                f"No regions found in {opened.id}. Try without labels or min_score, or mark boxes yourself.",
                artifact,
            )
        return f"{len(regions)} regions in {opened.id}:\n" + "\n".join(map(region_line, regions)), artifact
