"""`langchain-vipllava doctor`: show what would run on this machine, and what is missing."""

from __future__ import annotations

import typer

from langchain_vipllava.apps.cli import options


def doctor(
    model: options.ModelOption = "bundled",
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    prompt_format: options.PromptFormatOption = "user_assistant",
    max_tokens: options.MaxTokensOption = 256,
    as_json: options.JsonOption = False,
) -> None:
    """Show which device, dtype, attention and checkpoint would be used, whether it fits, and what would fit."""
    from langchain_vipllava.apps.cli import report  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415
    from langchain_vipllava.apps.cli.model import ModelOptions  # noqa: PLC0415

    del max_tokens  # accepted so that one set of options fits every command
    model_options = ModelOptions(model, device, dtype, quantization, attention, prompt_format)
    model_options.check()
    found = report.examine(model_options.load_options, model_options.settings.prompt_format)
    screen = Screen(as_json=as_json)
    if as_json:
        screen.record(found.record())
    else:
        screen.answer(found.text(), end="")
    if not found.runs:
        raise typer.Exit(1)
