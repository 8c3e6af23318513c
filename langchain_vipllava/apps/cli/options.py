"""Options that several commands share: their Typer declarations, and the dataclasses that collect them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_vipllava.apps.cli.console import console, in_markup, warnings_as_lines
from langchain_vipllava.errors import RegionError
from langchain_vipllava.images.load import load_image
from langchain_vipllava.markers.mark import mark
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava

ImageArgument = Annotated[str, typer.Argument(help="Path, http(s) URL or data: URI of an image.")]
BoxOption = Annotated[
    list[str] | None,
    typer.Option("--box", "-b", help="A box x0,y0,x1,y1 in pixels (or a point x,y); can be repeated."),
]
DetectionsOption = Annotated[
    Path | None,
    typer.Option("--detections", "-d", help="File with a detector's output: JSON, YOLO txt or Pascal VOC XML."),
]
BoxFormatOption = Annotated[
    str | None, typer.Option(help="Layout of bare boxes in --detections: xyxy, xywh, cxcywh, xyxyn, ...")
]
MinScoreOption = Annotated[float, typer.Option(help="Leave out detections below this score.")]
MaxRegionsOption = Annotated[int | None, typer.Option(help="Mark at most this many detections, best scores first.")]
KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", "-k", help="Kind of marker: one for all regions, or one per region. 'auto' chooses."),
]
ColorOption = Annotated[list[str] | None, typer.Option("--color", "-c", help="Color of a marker: one per region.")]
NumbersOption = Annotated[bool, typer.Option("--numbers", help="Draw a number beside each region.")]
ZoomOption = Annotated[bool, typer.Option("--zoom", help="Crop around the regions if they are small.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed. Draws in the hand-drawn style of the training data.")]

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="VIPLLAVA_MODEL",
        help="Hub id or folder of a ViP-LLaVA checkpoint, such as llava-hf/vip-llava-7b-hf; "
        "'bundled' is the small checkpoint in this package.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float16, bfloat16 or float32.")]
QuantizationOption = Annotated[str | None, typer.Option(help="8bit or 4bit weights, on a CUDA GPU.")]
AttentionOption = Annotated[str | None, typer.Option(help="sdpa, eager or flash_attention_2.")]
MaxTokensOption = Annotated[int, typer.Option(help="Maximum number of tokens of an answer.")]


@dataclass(frozen=True)
class MarkOptions:
    """An image, the regions to mark on it, and the style of the markers."""

    image: str
    box: list[str] | None
    detections: Path | None
    box_format: str | None
    min_score: float
    max_regions: int | None
    kind: list[str] | None
    color: list[str] | None
    numbers: bool
    zoom: bool
    seed: int | None

    def mark(self) -> MarkedImage:
        """Mark the image. Warnings are printed on standard error, one line each.

        Raises:
            RegionError: no regions, or a box that cannot be parsed.
        """
        image = load_image(self.image)
        regions = [_parse_box(text) for text in self.box or ()]
        if self.detections is not None:
            options = DetectionOptions.of(
                {"box_format": self.box_format, "min_score": self.min_score, "max_regions": self.max_regions}
            )
            regions += options.read(_read_text(self.detections), image.size)
        if not regions:
            raise RegionError(
                "nothing to mark; pass --box x0,y0,x1,y1 or --detections FILE with at least one detection."
            )
        styles: dict[str, Any] = {
            "kind": _one_or_per_region(self.kind) or "rectangle",
            "color": _one_or_per_region(self.color),
        }
        zoom: Literal["auto"] | None = "auto" if self.zoom else None
        with warnings_as_lines():
            return mark(image, regions, **styles, numbers=self.numbers, zoom=zoom, seed=self.seed)


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint to load, and how."""

    model: str
    device: str
    dtype: str
    quantization: str | None
    attention: str | None

    def load_arguments(self) -> dict[str, Any]:
        """Return the arguments of `LoadOptions`."""
        return {
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "attn_implementation": self.attention,
        }

    def load(self, max_tokens: int) -> ChatVipLlava:
        """Load the model, and print which checkpoint answers.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        from langchain_vipllava.backends.local import LocalBackend  # noqa: PLC0415  # `mark` needs no model
        from langchain_vipllava.chat.model import ChatVipLlava  # noqa: PLC0415

        backend = LocalBackend.load(**self.load_arguments())
        with console.status(f"Loading {in_markup(self.model)} ..."):
            model = backend.runner.model
        console.print(f"[dim]{in_markup(self.describe())} ({model.device}, {model.dtype}).[/]", highlight=False)
        return ChatVipLlava(backend=backend, max_tokens=max_tokens, image_root=Path.cwd())

    def describe(self) -> str:
        """Return a sentence that says which checkpoint answers."""
        if self.model == "bundled":
            return "The small bundled checkpoint answers: it knows plain colored shapes, not photographs"
        return f"The checkpoint {self.model} answers"


def _parse_box(text: str) -> Region:
    try:
        numbers = [float(part) for part in text.replace(" ", "").split(",")]
    except ValueError as error:
        raise RegionError(f"--box {text!r}; expected x0,y0,x1,y1 or x,y in pixels.") from error
    if len(numbers) == 4:
        return Region(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    if len(numbers) == 2:
        return Region(point=(numbers[0], numbers[1]))
    raise RegionError(f"--box {text!r} has {len(numbers)} numbers; expected x0,y0,x1,y1 or x,y in pixels.")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegionError(f"cannot read the detections in {str(path)!r}: {error}.") from error


def _one_or_per_region(values: list[str] | None) -> str | list[str] | None:
    """Return one value for all regions, or a list with one value per region."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values
