"""Point at regions of a picture, mark them, and ask a local ViP-LLaVA about them from LangChain.

Names are loaded on first use: importing the package loads neither torch, transformers nor cv2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_vipllava.chat.keeping import keep_pictures
    from langchain_vipllava.chat.model import ChatVipLlava
    from langchain_vipllava.chat.runnables import DetectRegions, MarkRegions, RegionPrompt
    from langchain_vipllava.chat.trimming import trim_turns
    from langchain_vipllava.errors import (
        AnswerTimeoutError,
        CheckpointError,
        DetectionError,
        GenerationError,
        MarkerError,
        PictureError,
        PromptError,
        PromptTooLongError,
        RegionError,
        SessionError,
        VipLlavaError,
    )
    from langchain_vipllava.host.host import unload_models
    from langchain_vipllava.markers.mark import mark
    from langchain_vipllava.markers.marked import MarkedImage, Marker, TinyRegionWarning
    from langchain_vipllava.pictures.fetch import FetchPolicy
    from langchain_vipllava.pictures.load import load_image
    from langchain_vipllava.pictures.store import PictureStore
    from langchain_vipllava.pictures.view import pad_to_square
    from langchain_vipllava.regions.detections import regions_from, register_format
    from langchain_vipllava.regions.region import Region
    from langchain_vipllava.tools.toolkit import VipLlavaToolkit

_HOMES = {
    "AnswerTimeoutError": "errors",
    "ChatVipLlava": "chat.model",
    "CheckpointError": "errors",
    "DetectRegions": "chat.runnables",
    "DetectionError": "errors",
    "FetchPolicy": "pictures.fetch",
    "GenerationError": "errors",
    "MarkRegions": "chat.runnables",
    "MarkedImage": "markers.marked",
    "Marker": "markers.marked",
    "MarkerError": "errors",
    "PictureError": "errors",
    "PictureStore": "pictures.store",
    "PromptError": "errors",
    "PromptTooLongError": "errors",
    "Region": "regions.region",
    "RegionError": "errors",
    "RegionPrompt": "chat.runnables",
    "SessionError": "errors",
    "TinyRegionWarning": "markers.marked",
    "VipLlavaError": "errors",
    "VipLlavaToolkit": "tools.toolkit",
    "keep_pictures": "chat.keeping",
    "load_image": "pictures.load",
    "mark": "markers.mark",
    "pad_to_square": "pictures.view",
    "regions_from": "regions.detections",
    "register_format": "regions.detections",
    "trim_turns": "chat.trimming",
    "unload_models": "host.host",
}

__all__ = [
    "AnswerTimeoutError",
    "ChatVipLlava",
    "CheckpointError",
    "DetectRegions",
    "DetectionError",
    "FetchPolicy",
    "GenerationError",
    "MarkRegions",
    "MarkedImage",
    "Marker",
    "MarkerError",
    "PictureError",
    "PictureStore",
    "PromptError",
    "PromptTooLongError",
    "Region",
    "RegionError",
    "RegionPrompt",
    "SessionError",
    "TinyRegionWarning",
    "VipLlavaError",
    "VipLlavaToolkit",
    "keep_pictures",
    "load_image",
    "mark",
    "pad_to_square",
    "regions_from",
    "register_format",
    "trim_turns",
    "unload_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
