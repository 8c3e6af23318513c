"""`langchain-vipllava export`: write a folder that vLLM serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_vipllava.apps.cli import options


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="Hub id or folder of a ViP-LLaVA checkpoint, or 'bundled'; see --model of ask.")
    ],
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    prompt_format: Annotated[
        str | None,
        typer.Option(help="Format of requests that name none. Default: the one of the training, where it is known."),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the weights. Default: hard links, where the file system has them.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write a folder that vLLM serves rightly, and check it. Then: langchain-vipllava serve FOLDER."""
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.backends.local import import_engine  # noqa: PLC0415
    from langchain_vipllava.prompt.formats import check_format  # noqa: PLC0415
    from langchain_vipllava.protocol.load_options import TRAINED_FORMATS, LoadOptions  # noqa: PLC0415

    name = None if prompt_format is None else check_format(prompt_format)
    screen = Screen(as_json=as_json)
    if name is None and checkpoint not in TRAINED_FORMATS:
        screen.note(
            "Note: with which prompt format this checkpoint was trained is not known; user_assistant is the default of "
            "the export. --prompt-format says another (published 7B and 13B: llava_v1)."
        )
    import_engine()
    from langchain_vipllava.serving.export import export_checkpoint  # noqa: PLC0415  # torch is slow to load

    done = export_checkpoint(
        LoadOptions(checkpoint, revision=revision), folder, prompt_format=name, weights="copy" if copy else "link"
    )
    if as_json:
        screen.record(
            {
                "folder": str(done.folder),
                "prompt_format": done.prompt_format,
                "weights": done.weights,
                "checks": list(done.checks),
            }
        )
        return
    screen.answer(f"{done.folder}: weights {done.weights}, prompt format {done.prompt_format}. Loaded again:")
    for check in done.checks:
        screen.answer(f"  {check}")
    screen.note(f"Next: langchain-vipllava serve {done.folder}")
