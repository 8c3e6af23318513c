"""The commands, and what becomes of their errors."""

from __future__ import annotations

import errno
import sys
from importlib import metadata
from typing import Annotated

import typer

from langchain_vipllava.apps.cli import (
    ask,
    bench,
    bench_markers,
    chat,
    demo,
    doctor,
    exits,
    export,
    mark,
    mcp,
    serve,
    studio,
)

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
    """Mark regions of an image, and ask a local ViP-LLaVA about them.

    Answers go to standard output, all else to standard error.
    """
    del version


for command in (demo.demo, mark.mark, ask.ask, chat.chat, doctor.doctor, export.export, mcp.mcp, studio.studio):
    app.command()(command)
bench.app.command()(bench_markers.markers)
app.add_typer(bench.app, name="bench")
app.command(context_settings=serve.CONTEXT_SETTINGS)(serve.serve)


def run(arguments: list[str]) -> int:
    """Run a command and return the status of the process. An error of ours prints one line, and its status is 1."""
    try:
        app(arguments)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich ends with 1 when nobody reads its output
            return exits.BROKEN_PIPE
        if end.code is not None and not isinstance(end.code, int):  # a detector's own sys.exit("no weights")
            print(end.code, file=sys.stderr)  # noqa: T201
            return 1
        return end.code or 0
    except BrokenPipeError:
        return exits.BROKEN_PIPE
    except Exception as error:
        from langchain_vipllava.apps.cli.console import show_error  # noqa: PLC0415  # --help needs none of it
        from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            return exits.BROKEN_PIPE
        if not isinstance(error, VipLlavaError):
            raise
        show_error(error)
        return 1
    return 0
