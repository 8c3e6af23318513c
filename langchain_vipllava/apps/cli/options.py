"""Options that several commands share, as values; and `takes`, which gives them to a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from langchain_vipllava.apps.cli.console import console, warnings_as_lines
from langchain_vipllava.errors import RegionError
from langchain_vipllava.images.load import load_image
from langchain_vipllava.markers.mark import mark
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.regions.detections import regions_from
from langchain_vipllava.regions.geometry import parse_box_format
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava


@dataclass(frozen=True)
class MarkOptions:
    """What to mark in which image, and how."""

    image: Annotated[str, typer.Argument(help="Path, http(s) URL or data: URI of an image.")]
    box: Annotated[
        list[str] | None,
        typer.Option("--box", "-b", help="A box x0,y0,x1,y1 in pixels (or a point x,y); may be given several times."),
    ] = None
    detections: Annotated[
        Path | None,
        typer.Option("--detections", "-d", help="File with a detector's output: JSON, YOLO txt or Pascal VOC XML."),
    ] = None
    box_format: Annotated[
        str | None, typer.Option(help="Layout of bare boxes in --detections: xyxy, xywh, cxcywh, xyxyn, ...")
    ] = None
    min_score: Annotated[float, typer.Option(help="Leave out detections below this score.")] = 0.0
    max_regions: Annotated[int | None, typer.Option(help="Mark the best so many detections.")] = None
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", help="Kind of marker; once for all, or once per region. 'auto' chooses."),
    ] = None
    color: Annotated[list[str] | None, typer.Option("--color", "-c", help="Color; once per region.")] = None
    numbers: Annotated[bool, typer.Option("--numbers", help="Put numbers beside the regions.")] = False
    zoom: Annotated[bool, typer.Option("--zoom", help="Crop around the regions when they are small.")] = False
    seed: Annotated[int | None, typer.Option(help="Draw in the hand-drawn style of the training data.")] = None

    def mark(self) -> MarkedImage:
        """Mark the image as the options say; warnings become lines on standard error.

        Raises:
            RegionError: nothing to mark, or a box that cannot be read.
        """
        image = load_image(self.image)
        regions = [_parse_box(text) for text in self.box or ()]
        if self.detections is not None:
            regions += regions_from(
                _read_text(self.detections),
                image_size=image.size,
                box_format=None if self.box_format is None else parse_box_format(self.box_format),
                min_score=self.min_score,
                max_regions=self.max_regions,
            )
        if not regions:
            raise RegionError(
                "nothing to mark; give --box x0,y0,x1,y1 or --detections FILE with at least one detection."
            )
        with warnings_as_lines():
            return mark(
                image,
                regions,
                kind=_one_or_each(self.kind) or "rectangle",  # type: ignore[arg-type]  # mark checks the names
                color=_one_or_each(self.color),  # type: ignore[arg-type]
                numbers=self.numbers,
                zoom="auto" if self.zoom else None,
                seed=self.seed,
            )


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint to load, and how."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="VIPLLAVA_MODEL",
            help="Hub id or folder of a ViP-LLaVA checkpoint, such as llava-hf/vip-llava-7b-hf; "
            "'bundled' is the small one inside this package.",
        ),
    ] = "bundled"
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, float16, bfloat16 or float32.")] = "auto"
    quantization: Annotated[str | None, typer.Option(help="8bit or 4bit weights, on a CUDA GPU.")] = None
    attention: Annotated[str | None, typer.Option(help="sdpa, eager or flash_attention_2.")] = None
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 256

    def loading(self) -> dict[str, Any]:
        """Return the same as arguments of `LoadOptions`."""
        return {
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "attn_implementation": self.attention,
        }

    def load(self) -> ChatVipLlava:
        """Load the model, and print which checkpoint answers.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        from langchain_vipllava.backends.local import LocalBackend  # noqa: PLC0415  # `mark` needs no model
        from langchain_vipllava.chat.model import ChatVipLlava  # noqa: PLC0415

        backend = LocalBackend.load(**self.loading())
        with console.status(f"Loading {self.model} ..."):
            model = backend.runner.model
        console.print(f"[dim]{self.describe()} ({model.device}, {model.dtype}).[/]", highlight=False)
        return ChatVipLlava(backend=backend, max_tokens=self.max_tokens)

    def describe(self) -> str:
        """Which checkpoint answers, in words that promise nothing."""
        if self.model == "bundled":
            return "The small bundled checkpoint answers: it knows plain colored shapes, not photographs"
        return f"The checkpoint {self.model} answers"


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some groups: it is called with one value per group, and its own options.

    Args:
        groups: dataclasses whose fields are annotated as Typer wants them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name not in _names(groups)]
        hints = get_type_hints(command, include_extras=True)
        parameters = [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=hint)
            for group in groups
            for field in fields(group)
            for hint in [get_type_hints(group, include_extras=True)[field.name]]
        ]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = {_name(group): group(**{f.name: values.pop(f.name) for f in fields(group)}) for group in groups}
            command(**made, **values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__  # typer would look at the command itself
        return run

    return decorate


def _name(group: type) -> str:
    """`MarkOptions` is given as `mark_options`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in group.__name__).lstrip("_")


def _names(groups: tuple[type, ...]) -> set[str]:
    return {_name(group) for group in groups}


def _default(field: Any) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _parse_box(text: str) -> Region:
    try:
        numbers = [float(part) for part in text.replace(" ", "").split(",")]
    except ValueError as error:
        raise RegionError(f"--box {text!r}; expected x0,y0,x1,y1 or x,y in pixels.") from error
    if len(numbers) == 4:
        return Region(box=tuple(numbers))
    if len(numbers) == 2:
        return Region(point=tuple(numbers))
    raise RegionError(f"--box {text!r} has {len(numbers)} numbers; expected x0,y0,x1,y1 or x,y in pixels.")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegionError(f"cannot read the detections in {str(path)!r}: {error}.") from error


def _one_or_each(values: list[str] | None) -> str | list[str | None] | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else list(values)
