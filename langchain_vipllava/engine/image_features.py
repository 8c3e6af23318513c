"""`ImageFeatureCache`: what the vision tower made of images, by their content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from langchain_vipllava.engine.encoding import PromptImage

_TOGETHER = {"cpu": 1}
"""Images that one pass of the vision tower computes, by type of device; elsewhere all.
See `engine.MAX_BATCHED_TOKENS`."""


class ImageFeatureCache:
    """Image features, least recently used out first. Much smaller than keys and values: 4.5 MiB an image at 7B.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        max_bytes: bound of the features kept beyond what is in use.
    """

    def __init__(self, model: Any, max_bytes: int) -> None:
        self.bytes = 0
        self._model = model
        self._max_bytes = max_bytes
        self._features: OrderedDict[int, torch.Tensor] = OrderedDict()

    def of(self, images: Sequence[PromptImage]) -> dict[int, torch.Tensor]:
        """Features of images by their key, each (tokens, hidden size); unknown ones in one batch."""
        found = {image.key: self._features[image.key] for image in images if image.key in self._features}
        unknown = {image.key: image for image in images if image.key not in found}
        if unknown:
            found |= dict(zip(unknown, self._compute([p.pixels() for p in unknown.values()]), strict=True))
        for key, features in found.items():
            self._keep(key, features)
        return found

    def __contains__(self, image: PromptImage) -> bool:
        return image.key in self._features

    def clear(self) -> None:
        """Forget all."""
        self._features.clear()
        self.bytes = 0

    def _compute(self, pixels: list[torch.Tensor]) -> list[torch.Tensor]:
        tower = next(self._model.model.vision_tower.parameters())
        together = _TOGETHER.get(tower.device.type, len(pixels))
        computed: list[torch.Tensor] = []
        for start in range(0, len(pixels), together):
            batch = torch.stack(pixels[start : start + together]).to(device=tower.device, dtype=self._model.dtype)
            output = self._model.get_image_features(pixel_values=batch)
            # a tensor, or one per image, up to transformers 4; an output object from 5 on
            computed += [one.clone() for one in getattr(output, "pooler_output", output)]
        return computed

    def _keep(self, key: int, features: torch.Tensor) -> None:
        if key not in self._features:
            self.bytes += features.nbytes
        self._features[key] = features
        self._features.move_to_end(key)
        while self.bytes > self._max_bytes:
            _, dropped = self._features.popitem(last=False)
            self.bytes -= dropped.nbytes
