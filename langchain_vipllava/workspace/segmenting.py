"""Points and boxes of an open image become regions with masks."""

from __future__ import annotations

from typing import Any

from langchain_vipllava.errors import DetectionError, SessionError
from langchain_vipllava.regions.limits import RegionLimits
from langchain_vipllava.regions.segmenter import Segmenter, run_segmenter
from langchain_vipllava.workspace.held import held_bytes
from langchain_vipllava.workspace.open_image import OpenImage
from langchain_vipllava.workspace.region_input import add_regions, read_prompts
from langchain_vipllava.workspace.results import Detected
from langchain_vipllava.workspace.written import read_list


def segment_open_image(
    image: OpenImage,
    prompts: Any,
    segmenter: Segmenter | None,
    limits: RegionLimits,
    *,
    max_bytes: int,
    can_detect: bool,
) -> Detected:
    """Segment what points and boxes of an open image show; the masks become regions with ids.

    Args:
        image: open image.
        prompts: as people and LLMs write them.
        segmenter: what makes masks.
        limits: how much prompts and masks may hold.
        max_bytes: memory that the image may take with its masks.
        can_detect: whether to advise running the detector.

    Raises:
        SessionError: an unknown region, or more masks than the session holds.
        RegionError: not a point or box.
        DetectionError: no segmenter, it failed, or found nothing at a prompt.
    """
    if segmenter is None:
        raise DetectionError(
            "there is no segmenter; mark points and boxes as they are, or pass Workspace(segmenter=...)."
        )
    with image.lock:
        chosen = read_prompts(image, read_list(prompts, limits), limits, can_detect=can_detect)
    pixels = image.image.decode().copy()  # some segmenters draw on their input
    masks = run_segmenter(segmenter, pixels, chosen.regions, limits=limits)
    with image.lock:
        before = image.regions.copy()
        added = add_regions(image, masks, limits)
        if (size := held_bytes([image])) > max_bytes:
            image.regions = before
            raise SessionError(
                f"{image.id} takes {size} bytes of memory with these masks; a session holds at most "
                f"max_session_bytes={max_bytes}. Segment fewer, or use a smaller image."
            )
    regions = {region.id: region for region in added}  # two points on one object have one region
    return Detected(image.id, tuple(regions.values()), tuple(chosen.notes))
