"""`langchain-vipllava ask`: one question about marked regions."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_vipllava.apps.cli.console import console, show_markers
from langchain_vipllava.apps.cli.options import MarkOptions, ModelOptions, takes


@takes(MarkOptions, ModelOptions)
def ask(
    mark_options: MarkOptions,
    model_options: ModelOptions,
    question: Annotated[str, typer.Argument(help="The question; {0}, {1}, ... stand for the marked regions.")],
) -> None:
    """Ask one question about marked regions of an image."""
    marked = mark_options.mark()
    message = marked.message(question)
    show_markers(marked)
    llm = model_options.load()
    console.print(marked.question(question), style="bold", markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print(llm.invoke([message]).text, markup=False, emoji=False, highlight=False, soft_wrap=True)
