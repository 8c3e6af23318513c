"""`FeatureCache`: what the vision tower made of pictures, by their content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from langchain_vipllava.host.encoding import EncodedPicture

_TOGETHER = {"cpu": 1}
"""Pictures that one pass of the vision tower computes, by type of device; elsewhere all. See `engine.MOST_TOGETHER`."""


class FeatureCache:
    """Picture features, least recently used out first. Much smaller than keys and values: 4.5 MiB a picture at 7B.

    Args:
        model: a `VipLlavaForConditionalGeneration`.
        max_bytes: bound of the features kept beyond what is in use.
    """

    def __init__(self, model: Any, max_bytes: int) -> None:
        self.bytes = 0
        self._model = model
        self._max_bytes = max_bytes
        self._features: OrderedDict[int, torch.Tensor] = OrderedDict()

    def of(self, pictures: Sequence[EncodedPicture]) -> dict[int, torch.Tensor]:
        """Features of pictures by their key, each (tokens, hidden size); unknown ones in one batch."""
        found = {picture.key: self._features[picture.key] for picture in pictures if picture.key in self._features}
        unknown = {picture.key: picture for picture in pictures if picture.key not in found}
        if unknown:
            found |= dict(zip(unknown, self._compute([p.pixels() for p in unknown.values()]), strict=True))
        for key, features in found.items():
            self._keep(key, features)
        return found

    def __contains__(self, picture: EncodedPicture) -> bool:
        return picture.key in self._features

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
            # a tensor, or one per picture, up to transformers 4; an output object from 5 on
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
