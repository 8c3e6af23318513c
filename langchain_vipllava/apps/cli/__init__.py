"""The command line: `langchain-vipllava demo | mark | ask | chat | doctor`."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from langchain_vipllava.apps.cli import ask, chat, demo, doctor, mark
from langchain_vipllava.apps.cli.console import show_error
from langchain_vipllava.errors import VipLlavaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(metadata.version("langchain-vipllava"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Mark regions of an image, and ask a local ViP-LLaVA about them."""
    del version


for command in (demo.demo, mark.mark, ask.ask, chat.chat, doctor.doctor):
    app.command()(command)


def main() -> None:
    """Run the command line. A `VipLlavaError` prints one line and exits with status 1."""
    try:
        app()
    except VipLlavaError as error:
        show_error(error)
        sys.exit(1)
