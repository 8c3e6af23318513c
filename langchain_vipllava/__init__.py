"""Point at regions of an image, mark them, and ask a local ViP-LLaVA about them from LangChain.

Names are loaded on first use: importing the package loads neither torch, transformers nor cv2.
"""

# Not typing's, and nothing else is imported here: importing typing takes as long as starting Python, and the command
# line takes care of Ctrl-C only after this module.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from langchain_vipllava.chains.steps import AskAboutRegions, DetectRegions, MarkRegions, RegionPrompt
    from langchain_vipllava.chains.vote import VoteAboutRegions
    from langchain_vipllava.chat.confidence import confidence
    from langchain_vipllava.chat.image_refs import keep_images
    from langchain_vipllava.chat.model import ChatVipLlava
    from langchain_vipllava.chat.trimming import trim_turns
    from langchain_vipllava.engine.runner import unload_models
    from langchain_vipllava.errors import (
        AnswerTimeoutError,
        BenchmarkError,
        BusyError,
        CheckpointError,
        DetectionError,
        GenerationError,
        ImageError,
        MarkerError,
        PromptError,
        PromptTooLongError,
        RegionError,
        ServerError,
        SessionError,
        VipLlavaError,
    )
    from langchain_vipllava.images.access import ImageAccessPolicy
    from langchain_vipllava.images.fetch import FetchPolicy
    from langchain_vipllava.images.image import EncodedImage
    from langchain_vipllava.images.limits import ImageLimits
    from langchain_vipllava.images.load import load_image
    from langchain_vipllava.images.pixels import DarkImageWarning
    from langchain_vipllava.images.store import ImageStore
    from langchain_vipllava.images.view import pad_to_square
    from langchain_vipllava.markers.mark import mark
    from langchain_vipllava.markers.marked_image import MarkedImage
    from langchain_vipllava.markers.marker import FaintMarkerWarning, Marker, TinyRegionWarning
    from langchain_vipllava.markers.pages import MarkedPages, mark_pages
    from langchain_vipllava.protocol.limits import RequestLimits
    from langchain_vipllava.regions.detection_options import DetectionOptions
    from langchain_vipllava.regions.detections import regions_from
    from langchain_vipllava.regions.limits import RegionLimits
    from langchain_vipllava.regions.reading import SkippedRowsWarning
    from langchain_vipllava.regions.recognition import register_format
    from langchain_vipllava.regions.region import Region
    from langchain_vipllava.tools.toolkit import VipLlavaToolkit
    from langchain_vipllava.workspace.workspace import Workspace

_HOMES = {
    "AnswerTimeoutError": "errors",
    "AskAboutRegions": "chains.steps",
    "BenchmarkError": "errors",
    "BusyError": "errors",
    "ChatVipLlava": "chat.model",
    "CheckpointError": "errors",
    "DarkImageWarning": "images.pixels",
    "DetectRegions": "chains.steps",
    "DetectionError": "errors",
    "DetectionOptions": "regions.detection_options",
    "EncodedImage": "images.image",
    "FaintMarkerWarning": "markers.marker",
    "FetchPolicy": "images.fetch",
    "GenerationError": "errors",
    "ImageAccessPolicy": "images.access",
    "ImageError": "errors",
    "ImageLimits": "images.limits",
    "ImageStore": "images.store",
    "MarkRegions": "chains.steps",
    "MarkedImage": "markers.marked_image",
    "MarkedPages": "markers.pages",
    "Marker": "markers.marker",
    "MarkerError": "errors",
    "PromptError": "errors",
    "PromptTooLongError": "errors",
    "Region": "regions.region",
    "RegionLimits": "regions.limits",
    "RegionError": "errors",
    "RegionPrompt": "chains.steps",
    "RequestLimits": "protocol.limits",
    "ServerError": "errors",
    "SessionError": "errors",
    "SkippedRowsWarning": "regions.reading",
    "TinyRegionWarning": "markers.marker",
    "VipLlavaError": "errors",
    "VipLlavaToolkit": "tools.toolkit",
    "VoteAboutRegions": "chains.vote",
    "Workspace": "workspace.workspace",
    "confidence": "chat.confidence",
    "keep_images": "chat.image_refs",
    "load_image": "images.load",
    "mark": "markers.mark",
    "mark_pages": "markers.pages",
    "pad_to_square": "images.view",
    "regions_from": "regions.detections",
    "register_format": "regions.recognition",
    "trim_turns": "chat.trimming",
    "unload_models": "engine.runner",
}

__all__ = [
    "AnswerTimeoutError",
    "AskAboutRegions",
    "BenchmarkError",
    "BusyError",
    "ChatVipLlava",
    "CheckpointError",
    "DarkImageWarning",
    "DetectRegions",
    "DetectionError",
    "DetectionOptions",
    "EncodedImage",
    "FaintMarkerWarning",
    "FetchPolicy",
    "GenerationError",
    "ImageAccessPolicy",
    "ImageError",
    "ImageLimits",
    "ImageStore",
    "MarkRegions",
    "MarkedImage",
    "MarkedPages",
    "Marker",
    "MarkerError",
    "PromptError",
    "PromptTooLongError",
    "Region",
    "RegionError",
    "RegionLimits",
    "RegionPrompt",
    "RequestLimits",
    "ServerError",
    "SessionError",
    "SkippedRowsWarning",
    "TinyRegionWarning",
    "VipLlavaError",
    "VipLlavaToolkit",
    "VoteAboutRegions",
    "Workspace",
    "confidence",
    "keep_images",
    "load_image",
    "mark",
    "mark_pages",
    "pad_to_square",
    "regions_from",
    "register_format",
    "trim_turns",
    "unload_models",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module  # noqa: PLC0415  # see above

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
