"""`ImageFeatureCache`: the projected features of images, by their content."""

from __future__ import annotations

import logging
from collections import OrderedDict, abc
from functools import partial
from typing import Any

import torch

from langchain_vipllava.engine.cuda_graph import CudaGraph
from langchain_vipllava.engine.encoding import PromptImage
from langchain_vipllava.engine.failures import is_out_of_memory

logger = logging.getLogger(__name__)

_MAX_BATCH = {"cpu": 1}
"""Images of one pass of the vision tower, by device type; unlimited elsewhere. See `engine.MAX_BATCHED_TOKENS`."""


class ImageFeatureCache:
    """Computes and caches image features; evicts the least recently used.

    Features are much smaller than keys and values: 4.5 MiB against 288 MiB for an image at 7B.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        max_bytes: maximum size of the cached features.

    Attributes:
        bytes: size of the cached features.
    """

    def __init__(self, model: Any, max_bytes: int) -> None:
        self.bytes = 0
        self._model = model
        self._max_bytes = max_bytes
        self._features: OrderedDict[int, torch.Tensor] = OrderedDict()
        # hooks that move weights or tensors between devices cannot be recorded
        self._records = model.device.type == "cuda" and not any(hasattr(m, "_hf_hook") for m in model.modules())
        self._pixels: torch.Tensor | None = None
        self._graph: CudaGraph[Any] | None = None  # of one image, on CUDA

    def get(self, images: abc.Sequence[PromptImage]) -> dict[int, torch.Tensor]:
        """Return the features of images by their key, (tokens, hidden) each; compute those that are not cached."""
        features = {image.key: self._features[image.key] for image in images if image.key in self._features}
        uncached = {image.key: image for image in images if image.key not in features}
        if uncached:
            computed = self._compute([image.pixels for image in uncached.values()])
            features |= dict(zip(uncached, computed, strict=True))
        for key, tensor in features.items():
            self._insert(key, tensor)
        return features

    def __contains__(self, image: PromptImage) -> bool:
        return image.key in self._features

    def clear(self) -> None:
        """Drop all features, and the recorded graph."""
        self._features.clear()
        self.bytes = 0
        self._graph = self._pixels = None

    def _compute(self, pixels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Compute the features of images, (tokens, hidden) each, from their pixels, (3, side, side) each."""
        weight = next(self._model.model.vision_tower.parameters())
        max_batch = _MAX_BATCH.get(weight.device.type, len(pixels))
        features: list[torch.Tensor] = []
        for start in range(0, len(pixels), max_batch):
            batch = torch.stack(pixels[start : start + max_batch])  # (images, 3, side, side)
            features += self._run(batch.to(device=weight.device, dtype=self._model.dtype))
        return features

    def _run(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Run the vision tower and the projector on (images, 3, side, side) pixels."""
        if not self._records or len(pixels) > 1:  # several images keep a GPU busy without a graph
            output = self._model.get_image_features(pixel_values=pixels)
        else:
            if self._graph is None or self._pixels is None:
                self._pixels = pixels.clone()
                work = partial(self._model.get_image_features, pixel_values=self._pixels)
                try:
                    self._graph = CudaGraph(work, pixels.device)
                except Exception as error:
                    if is_out_of_memory(error):
                        raise
                    logger.warning("cannot record the vision tower, it runs unrecorded: %s", error)
                    self._records = False
                    return self._run(pixels)
            self._pixels.copy_(pixels)
            output = self._graph()
        # transformers 5 returns an output object; 4 returns a tensor, or one per image
        return [tensor.clone() for tensor in getattr(output, "pooler_output", output)]

    def _insert(self, key: int, features: torch.Tensor) -> None:
        if key not in self._features:
            self.bytes += features.nbytes
        self._features[key] = features
        self._features.move_to_end(key)
        while self.bytes > self._max_bytes:
            _, evicted = self._features.popitem(last=False)
            self.bytes -= evicted.nbytes
