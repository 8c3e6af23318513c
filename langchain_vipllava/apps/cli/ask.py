"""`langchain-vipllava ask`: ask one question about marked regions."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.console import show_markers, show_text


def ask(
    image: options.ImageArgument,
    question: Annotated[str, typer.Argument(help="The question; {0}, {1}, ... stand for the marked regions.")],
    box: options.BoxOption = None,
    detections: options.DetectionsOption = None,
    box_format: options.BoxFormatOption = None,
    min_score: options.MinScoreOption = 0.0,
    max_regions: options.MaxRegionsOption = None,
    kind: options.KindOption = None,
    color: options.ColorOption = None,
    numbers: options.NumbersOption = False,
    zoom: options.ZoomOption = False,
    seed: options.SeedOption = None,
    model: options.ModelOption = "bundled",
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    max_tokens: options.MaxTokensOption = 256,
) -> None:
    """Ask one question about marked regions of an image."""
    marked = options.MarkOptions(
        image, box, detections, box_format, min_score, max_regions, kind, color, numbers, zoom, seed
    ).mark()
    message = marked.message(question)
    show_markers(marked)
    llm = options.ModelOptions(model, device, dtype, quantization, attention).load(max_tokens)
    show_text(marked.question(question), style="bold")
    show_text(llm.invoke([message]).text)
