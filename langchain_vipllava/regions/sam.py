"""`SamSegmenter`: Segment Anything, through transformers, as a segmenter."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from PIL import Image

from langchain_vipllava.errors import CheckpointError, DetectionError, describe_error
from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.regions.region import Region


class SamSegmenter:
    """Segments what a point or a box shows, with a SAM or SAM 2 of transformers.

    The embedding of the last image is kept, so that a second click on the same image costs a few milliseconds. One call
    runs at a time.

    Args:
        model: a `SamModel`, `Sam2Model` or `SamHQModel`.
        processor: its processor.

    Example:
        `Workspace(segmenter=SamSegmenter.load("facebook/sam-vit-base"))`
    """

    def __init__(self, model: Any, processor: Any) -> None:
        missing = [name for name in ("get_image_embeddings", "mask_decoder") if not hasattr(model, name)]
        if missing or not hasattr(processor, "post_process_masks"):
            raise CheckpointError(
                f"{type(model).__name__} with {type(processor).__name__} is not a SAM; expected a SamModel or "
                "Sam2Model of transformers, and its processor."
            )
        self._model, self._processor = model.eval(), processor
        self._lock = fork_safe_lock()
        self._embedded: tuple[bytes, dict[str, Any]] | None = None

    @classmethod
    def load(cls, checkpoint: str, *, device: str | None = None) -> SamSegmenter:
        """Load a checkpoint.

        Args:
            checkpoint: hub id or folder, such as "facebook/sam-vit-base" or "facebook/sam2.1-hiera-tiny".
            device: such as "cuda"; None for a GPU where there is one.

        Raises:
            CheckpointError: it cannot be loaded, or is not a SAM.
        """
        import torch  # noqa: PLC0415  # loaded when needed
        from transformers import AutoModelForMaskGeneration, AutoProcessor  # noqa: PLC0415

        try:
            model = AutoModelForMaskGeneration.from_pretrained(checkpoint)
            processor = AutoProcessor.from_pretrained(checkpoint)
        except Exception as error:  # transformers raises whatever its parts raise
            raise CheckpointError(
                f"cannot load {checkpoint!r} as a SAM: {describe_error(error)[:200]}. Expected a folder or hub id such "
                "as 'facebook/sam-vit-base'."
            ) from error
        return cls(model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor)

    def __call__(self, image: Image.Image, prompt: Region) -> Region | None:
        """Segment one object.

        Args:
            image: RGB.
            prompt: a point or a box, in pixels.

        Returns:
            A region with the mask, and SAM's estimate of its quality as the score: of the three proposals for a point
            the best one. None where the mask is empty.

        Raises:
            DetectionError: the model returned something else than masks of the image.
        """
        import torch  # noqa: PLC0415  # loaded when needed

        if prompt.point is not None:
            asked: dict[str, Any] = {"input_points": [[[list(map(float, prompt.point))]]]}
        else:
            asked = {"input_boxes": [[list(map(float, prompt.box))]]}
        with self._lock, torch.inference_mode():
            inputs = self._processor(images=image, **asked, return_tensors="pt")
            place = self._model.device
            prompts = {name: inputs[name].to(place, torch.float32) for name in asked}
            output = self._model(
                **self._embeddings(image, inputs["pixel_values"].to(place)),
                **prompts,
                # SAM's authors ask for three proposals where a prompt is ambiguous, which a box is not
                multimask_output=prompt.point is not None,
            )
            sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
            masks = self._processor.post_process_masks(output.pred_masks.float().cpu(), *sizes)[0]
            scores = output.iou_scores.float().cpu().reshape(-1)
        masks = masks.reshape(-1, *masks.shape[-2:]).numpy()  # (proposals, H, W) bool
        if len(masks) != len(scores) or masks.shape[1:] != (image.height, image.width):
            raise DetectionError(
                f"SAM returned masks of shape {masks.shape}; expected (N, {image.height}, {image.width})."
            )
        best = int(scores.argmax())
        mask: np.ndarray = masks[best] > 0
        return Region(mask=mask, score=float(scores[best])) if mask.any() else None

    def _embeddings(self, image: Image.Image, pixel_values: Any) -> dict[str, Any]:
        """Return the embeddings of an image as arguments of the model; those of the last image are kept."""
        digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
        if self._embedded is None or self._embedded[0] != digest:
            embeddings = self._model.get_image_embeddings(pixel_values)
            if isinstance(embeddings, tuple):  # SAM-HQ
                arguments = {"image_embeddings": embeddings[0], "intermediate_embeddings": embeddings[1]}
            else:
                arguments = {"image_embeddings": embeddings}
            self._embedded = digest, arguments
        return self._embedded[1]
