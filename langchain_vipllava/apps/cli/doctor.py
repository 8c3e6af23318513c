"""`langchain-vipllava doctor`: show what would run on this machine, and what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from langchain_vipllava.apps.cli import options

if TYPE_CHECKING:
    from langchain_vipllava.apps.cli.console import Screen
    from langchain_vipllava.serving.server_report import ServerReport


def doctor(
    model: options.ModelOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    prompt_format: options.PromptFormatOption = "user_assistant",
    max_tokens: options.MaxTokensOption = 256,
    base_url: options.BaseUrlOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show which device, dtype, attention and checkpoint would be used, whether it fits, and what would fit."""
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415  # --help loads nothing

    if base_url:
        _examine_servers(base_url, model, Screen(as_json=as_json))
        return
    from langchain_vipllava.apps.cli import report  # noqa: PLC0415
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


def _examine_servers(addresses: list[str], model: str | None, screen: Screen) -> None:
    from langchain_vipllava.serving.server_probe import ServerProbe  # noqa: PLC0415
    from langchain_vipllava.serving.server_report import examine_server  # noqa: PLC0415

    key = os.environ.get("VIPLLAVA_API_KEY") or None
    runs = True
    for probe in [ServerProbe(address, key) for address in addresses]:
        found = examine_server(probe, model)
        probe.close()
        runs = runs and found.runs
        if screen.as_json:
            screen.record(found.record())
        else:
            screen.answer(_server_text(found), end="")
    if not runs:
        raise typer.Exit(1)


def _server_text(found: ServerReport) -> str:
    lines = [f"The server {found.url}", f"  vLLM      {found.version}", f"  serves    {', '.join(found.models) or '-'}"]
    if found.context is not None:
        lines.append(f"  context   {found.context:,} tokens")
    width = max((len(check.name) for check in found.checks), default=0)
    for check in found.checks:
        lines.append(f"  {check.name:{width}}  {'yes' if check.ok else 'no '}  {check.found}")
        lines += [f"  {'':{width}}       {check.remedy}"] if check.remedy else []
    lines.append(f"It cannot be used: {found.problem}." if found.problem else "ChatVipLlava(base_url=...) can use it.")
    return "\n".join(lines) + "\n"
