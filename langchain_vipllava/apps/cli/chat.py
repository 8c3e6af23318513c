"""`langchain-vipllava chat`: chat about one marked image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.console import console, show_error, show_markers, show_text
from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.markers.marked_image import MarkedImage

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava

_EXIT_COMMANDS = ("/exit", "/quit", "exit", "quit")


def chat(
    image: options.ImageArgument,
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
    """Chat about one marked image. Answers are streamed."""
    marked = options.MarkOptions(
        image, box, detections, box_format, min_score, max_regions, kind, color, numbers, zoom, seed
    ).mark()
    show_markers(marked)
    llm = options.ModelOptions(model, device, dtype, quantization, attention).load(max_tokens)
    names = ", ".join(f"{{{index}}}" for index in range(len(marked.markers)))
    console.print(f"[dim]Ask about {names}; /again starts over, /exit leaves.[/]", highlight=False)
    messages: list[BaseMessage] = []
    while (line := _read_line()) is not None:
        if line == "/again":
            messages = []
        elif line:
            messages = _ask(llm, marked, messages, line)


def _read_line() -> str | None:
    try:
        line = console.input("[bold cyan]you:[/] ").strip()
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None
    return None if line in _EXIT_COMMANDS else line


def _ask(llm: ChatVipLlava, marked: MarkedImage, messages: list[BaseMessage], line: str) -> list[BaseMessage]:
    """Stream an answer to the console. Returns the conversation, unchanged if the answer fails."""
    try:
        question = HumanMessage(marked.question(line)) if messages else marked.message(line)
        answer = ""
        console.print("[bold green]model:[/] ", end="")
        for chunk in llm.stream([*messages, question]):
            answer += chunk.text
            show_text(chunk.text, end="")
        console.print()
    except VipLlavaError as error:
        show_error(error)
        return messages
    except KeyboardInterrupt:
        console.print("\n[dim]stopped[/]")
        return messages
    return [*messages, question, AIMessage(answer)]
