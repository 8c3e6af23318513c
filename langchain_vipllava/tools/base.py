"""What the four tools share: the thread's session, and errors as messages to the LLM."""

from __future__ import annotations

import logging
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.regions.region import Region
from langchain_vipllava.tools.session import OpenImage, Session, SessionStore

logger = logging.getLogger(__name__)

Reply = tuple[str, dict[str, Any]]
"""What a tool gives: words for the LLM, and an artifact of ids and boxes for the program."""

_MOST_OF_A_LABEL = 80
"""Characters of a label that an LLM is shown."""


class RegionTool(BaseTool):
    """A tool on the images of an agent's thread. Made by `VipLlavaToolkit`."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    sessions: SessionStore = Field(exclude=True, repr=False)
    response_format: str = "content_and_artifact"  # type: ignore[assignment]
    handle_tool_error: Any = True
    handle_validation_error: Any = Field(default_factory=lambda: describe_bad_arguments)

    def _session(self, config: RunnableConfig | None) -> Session:
        configurable = (config or {}).get("configurable") or {}
        return self.sessions.of(configurable.get("thread_id"))

    def _image(self, session: Session, image_id: str) -> OpenImage:
        return session.find(image_id.strip(), self.sessions.shared)


def save(session: Session) -> None:
    """Let a thread outlive the process, where the toolkit has a `image_store`; a full disk stops no tool."""
    try:
        session.save()
    except (VipLlavaError, TypeError, ValueError) as error:
        logger.warning("the thread is not saved: %s", error)


def as_tool_error(error: VipLlavaError) -> ToolException:
    """What the LLM is told: our errors say already what to do."""
    return ToolException(f"{type(error).__name__}: {error}")


def describe_bad_arguments(error: Any) -> str:
    """What the LLM is told when its arguments do not fit the tool's schema."""
    wrong = [f"{'.'.join(map(str, detail['loc'])) or 'arguments'}: {detail['msg']}" for detail in error.errors()]
    return f"These arguments do not fit: {'; '.join(wrong)}. Call the tool again with arguments that fit its schema."


def describe_region(region: Region) -> dict[str, Any]:
    """A region for an artifact: JSON, without its mask."""
    described = {
        "id": region.id,
        "label": region.label,
        "score": None if region.score is None else round(region.score, 3),
        "box": [round(n, 1) for n in region.box],
    }
    return {key: value for key, value in described.items() if value is not None}


def one_line(label: str | None) -> str:
    """A label for the LLM: text that was read in an image must not look like lines of ours."""
    return " ".join((label or "").split())[:_MOST_OF_A_LABEL] or "region"


def region_line(region: Region) -> str:
    """A region for the LLM: one line."""
    label = one_line(region.label)
    score = f" ({region.score:.2f})" if region.score is not None else ""
    x0, y0, x1, y1 = (round(n) for n in region.box)
    return f"{region.id}: {label}{score} at box [{x0}, {y0}, {x1}, {y1}]"
