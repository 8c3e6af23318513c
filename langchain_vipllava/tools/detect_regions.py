"""`detect_regions`: the tool that runs the user's detector."""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from langchain_vipllava.tools.base import Reply, WorkspaceTool, errors_for_llm
from langchain_vipllava.workspace.written import read_list

_EVERYTHING = {"", "all", "any", "none", "null", "*", "everything", "default"}
"""What LLMs write for every label, or for the usual bound."""


class DetectRegionsInput(BaseModel):
    """Arguments of `detect_regions`."""

    image_id: str = Field(description="Id of an open image, as returned by open_image.")
    labels: list[str] | None = Field(None, description="Only regions with these labels; leave out for all.")
    min_score: float = Field(0.0, ge=0, le=1, description="Only regions with at least this confidence.")
    max_regions: int = Field(20, ge=1, le=200, description="At most this many regions, the best ones.")

    @field_validator("labels", mode="before")
    @classmethod
    def _read_labels(cls, labels: Any) -> Any:
        if isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
            labels = [str(label).strip(" \"'") for label in read_list(labels)]
            return None if not labels or {label.lower() for label in labels} & _EVERYTHING else labels
        return labels

    @field_validator("min_score", "max_regions", mode="before")
    @classmethod
    def _read_number(cls, value: Any, info: ValidationInfo) -> Any:
        # LLMs write null, or words, for what they leave out
        if value is None or (isinstance(value, str) and value.strip().lower() in _EVERYTHING):
            return cls.model_fields[str(info.field_name)].default
        return value


class DetectRegionsTool(WorkspaceTool):
    """Finds regions in an open image."""

    position: ClassVar[int] = 2
    needs_detector: ClassVar[bool] = True
    name: str = "detect_regions"
    description: str = (
        "Find the things in an open image with a detector. Returns region ids (r1, r2, ...) with quoted labels "
        "and boxes, for mark_regions."
    )
    args_schema: type[BaseModel] = DetectRegionsInput

    def _run(
        self,
        image_id: str,
        config: RunnableConfig,
        labels: list[str] | None = None,
        min_score: float = 0.0,
        max_regions: int = 20,
    ) -> Reply:
        session = self.session(config)
        with errors_for_llm(self.name):
            detected = self.workspace.detect(
                image_id, session=session, only=labels, min_score=min_score, max_regions=max_regions
            )
        return detected.text, detected.to_dict()
