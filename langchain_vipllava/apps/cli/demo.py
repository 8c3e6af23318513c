"""`langchain-vipllava demo`: run an agent that detects, marks and asks, and print every step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_vipllava.apps.cli import options


def demo(
    image: Annotated[str | None, typer.Option(help="Your own image: a path or URL.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="'shapes', 'faces', or package.module:name for your own.")
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option("--question", "-q", help="A question; can be repeated. {r1} and {r2} are the marked regions."),
    ] = None,
    llm: Annotated[
        str | None, typer.Option("--llm", help="The agent's LLM, as provider:model. Default: a script.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the marked images; it is made. Default: none.")
    ] = None,
    model: options.ModelOption = None,
    base_url: options.BaseUrlOption = None,
    tokenizer: options.TokenizerOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    prompt_format: options.PromptFormatOption = "user_assistant",
    max_tokens: options.MaxTokensOption = 256,
) -> None:
    """Run an agent that detects, marks and asks, on a bundled scene and on a photograph."""
    from langchain_vipllava.apps.cli import agent_demo  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.model import ModelOptions  # noqa: PLC0415

    model_options = ModelOptions(
        model,
        device,
        dtype,
        quantization,
        attention,
        prompt_format,
        max_tokens,
        base_url=tuple(base_url or ()),
        tokenizer=tokenizer,
    )
    model_options.check()
    tasks = agent_demo.choose_tasks(image, detector, tuple(question or ()))
    agent_demo.run(tasks, llm, model_options, out)
