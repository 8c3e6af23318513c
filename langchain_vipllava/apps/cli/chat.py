"""`langchain-vipllava chat`: keep asking about the same marked image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_vipllava.apps.cli.console import console, show_error, show_markers
from langchain_vipllava.apps.cli.options import MarkOptions, ModelOptions, takes
from langchain_vipllava.errors import VipLlavaError
from langchain_vipllava.markers.marked_image import MarkedImage

if TYPE_CHECKING:
    from langchain_vipllava.chat.model import ChatVipLlava

_LEAVE = ("/exit", "/quit", "exit", "quit")


@takes(MarkOptions, ModelOptions)
def chat(mark_options: MarkOptions, model_options: ModelOptions) -> None:
    """Keep asking about the same marked image; every answer is streamed."""
    marked = mark_options.mark()
    show_markers(marked)
    llm = model_options.load()
    names = ", ".join(f"{{{index}}}" for index in range(len(marked.markers)))
    console.print(f"[dim]Ask about {names}; /again starts over, /exit leaves.[/]", highlight=False)
    messages: list[BaseMessage] = []
    while (line := _read_line()) is not None:
        if line == "/again":
            messages = []
        elif line:
            messages = _turn(llm, marked, messages, line)


def _read_line() -> str | None:
    try:
        line = console.input("[bold cyan]you:[/] ").strip()
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None
    return None if line in _LEAVE else line


def _turn(llm: ChatVipLlava, marked: MarkedImage, messages: list[BaseMessage], line: str) -> list[BaseMessage]:
    """Ask, print the answer while it comes, and give the conversation back; as it was if that fails."""
    try:
        asked = HumanMessage(marked.question(line)) if messages else marked.message(line)
        answer = ""
        console.print("[bold green]model:[/] ", end="")
        for piece in llm.stream([*messages, asked]):
            answer += piece.text
            console.print(piece.text, end="", markup=False, highlight=False, soft_wrap=True)
        console.print()
    except VipLlavaError as error:
        show_error(error)
        return messages
    except KeyboardInterrupt:
        console.print("\n[dim]stopped[/]")
        return messages
    return [*messages, asked, AIMessage(answer)]
