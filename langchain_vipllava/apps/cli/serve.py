"""`langchain-vipllava serve`: serve an exported checkpoint with vLLM, or print how."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from langchain_vipllava.apps.cli.console import Screen
    from langchain_vipllava.serving.vllm_command import VllmCommand
    from langchain_vipllava.serving.vllm_environment import VllmEnvironment

_LAYOUT, _PLACE = "GPUs and machines", "Where it listens"
_REPORT_SECONDS = 5.0

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


def serve(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of `langchain-vipllava export`.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model in requests. Default: the name of the folder.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 for all.", rich_help_panel=_PLACE)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", rich_help_panel=_PLACE)] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="VIPLLAVA_API_KEY",
            help="Key that requests must have. Better in the variable: other users see a command line.",
            rich_help_panel=_PLACE,
            show_envvar=True,
        ),
    ] = None,
    tensor_parallel_size: Annotated[
        int, typer.Option("--tensor-parallel-size", "--tp", help="GPUs that share each layer.", rich_help_panel=_LAYOUT)
    ] = 1,
    pipeline_parallel_size: Annotated[
        int,
        typer.Option("--pipeline-parallel-size", "--pp", help="Groups of layers on GPUs.", rich_help_panel=_LAYOUT),
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that share one model.", rich_help_panel=_LAYOUT)] = 1,
    node_rank: Annotated[int, typer.Option(help="Which of them this is, from 0.", rich_help_panel=_LAYOUT)] = 0,
    master_addr: Annotated[str | None, typer.Option(help="Address of node 0.", rich_help_panel=_LAYOUT)] = None,
    master_port: Annotated[int, typer.Option(help="Port of node 0.", rich_help_panel=_LAYOUT)] = 29501,
    vllm_python: Annotated[
        str | None,
        typer.Option(
            envvar="VIPLLAVA_VLLM_PYTHON",
            show_envvar=True,
            help="Python of the environment that has vLLM. Default: .venv-vllm/bin/python, or beside the command vllm.",
        ),
    ] = None,
    print_as: Annotated[
        str | None, typer.Option("--print", help="Print the command instead: shell, docker, compose or kubernetes.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="File for vLLM's log; - for standard error. Default: a new one in /tmp.")
    ] = None,
    start_timeout: Annotated[float, typer.Option(help="Seconds until it must be ready.")] = 1800.0,
) -> None:
    """Serve an exported checkpoint with vLLM. Options that are not listed here go to vLLM as they are."""
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.errors import GenerationError, shorten  # noqa: PLC0415
    from langchain_vipllava.serving.manifests import WRITERS  # noqa: PLC0415
    from langchain_vipllava.serving.served_folder import ServedFolder  # noqa: PLC0415
    from langchain_vipllava.serving.vllm_command import Layout, VllmCommand  # noqa: PLC0415

    if str(folder).startswith("-"):
        raise GenerationError(f"{folder} stands where the folder is expected; write vLLM's options behind the folder.")
    if print_as is not None and print_as not in WRITERS:
        raise GenerationError(f"--print {shorten(print_as)}; expected one of {', '.join(WRITERS)}.")
    layout = Layout(tensor_parallel_size, pipeline_parallel_size, nodes, node_rank, master_addr, master_port)
    model = ServedFolder.read(folder)
    command = VllmCommand(model, name or model.path.name, host, port, layout, extra=tuple(context.args))
    environment = _environment(vllm_python, print_as)
    command = replace(command, on_cpu=environment.on_cpu)
    screen = Screen()
    if print_as is not None:
        screen.answer(WRITERS[print_as](command, environment.python), end="")
        return
    if not command.is_loopback and not api_key:
        screen.note(
            f"Note: {host} is reachable from other machines, and anybody there may ask; VIPLLAVA_API_KEY sets a key."
        )
    raise typer.Exit(_run(command, environment, api_key, log, start_timeout, screen))


def _environment(vllm_python: str | None, print_as: str | None) -> VllmEnvironment:
    """Find vLLM; what is printed may run elsewhere, so that it needs none here."""
    from langchain_vipllava.errors import GenerationError  # noqa: PLC0415
    from langchain_vipllava.serving.vllm_command import VLLM_VERSION  # noqa: PLC0415
    from langchain_vipllava.serving.vllm_environment import VllmEnvironment  # noqa: PLC0415

    try:
        return VllmEnvironment.find(vllm_python)
    except GenerationError:
        if print_as is None:
            raise
        return VllmEnvironment(vllm_python or "python3", VLLM_VERSION, on_cpu=False)


def _run(
    command: VllmCommand,
    environment: VllmEnvironment,
    api_key: str | None,
    log: str | None,
    start_timeout: float,
    screen: Screen,
) -> int:
    from langchain_vipllava.serving.server_process import ServerProcess, check_free  # noqa: PLC0415
    from langchain_vipllava.serving.supervise import Supervisor  # noqa: PLC0415
    from langchain_vipllava.serving.vllm_command import API_KEY  # noqa: PLC0415

    url = None if command.layout.is_headless else command.url.removesuffix("/v1")
    if url is not None:
        check_free(command.host, command.port)
    variables = {**os.environ, **{key: os.environ.get(key, value) for key, value in command.environment().items()}}
    variables.pop(API_KEY, None)
    if api_key:
        variables[API_KEY] = api_key
    path = None if log == "-" else Path(log) if log else _new_log()
    where = "" if path is None else f"; its log: {path}"
    screen.note(f"Starting vLLM {environment.version} ({environment.python}){where}")
    reported = [0.0]

    def report(seconds: float, line: str) -> None:
        if seconds - reported[0] >= _REPORT_SECONDS:
            reported[0] = seconds
            screen.note(f"  {seconds:.0f} s  {line[:120]}")

    def ready(seconds: float) -> None:
        arguments = f"base_url={command.url!r}, tokenizer={str(command.model.path)!r}"
        screen.note(
            f"Ready after {seconds:.0f} s: ChatVipLlava({arguments}). Check it: langchain-vipllava doctor --base-url "
            f"{command.url}. Ctrl-C stops it."
        )

    with Supervisor() as supervisor:
        process = ServerProcess(command.command(environment.python), variables, path)
        status = supervisor.run(process, url, start_timeout, report, ready)
        screen.note("Stopped.")
        return status


def _new_log() -> Path:
    handle, path = tempfile.mkstemp(prefix="vllm-", suffix=".log")
    os.close(handle)
    return Path(path)
