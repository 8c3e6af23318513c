"""`langchain-vipllava mcp`: the workspace as an MCP server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_vipllava.apps.cli import options

if TYPE_CHECKING:
    from langchain_vipllava.apps.cli.console import Screen
    from langchain_vipllava.apps.cli.model import ModelOptions
    from langchain_vipllava.apps.mcp.access import HttpAccess
    from langchain_vipllava.apps.mcp.server import WorkspaceServer
    from langchain_vipllava.backends.local import LocalBackend
    from langchain_vipllava.backends.served import ServedBackend

_FILES, _WEB = "Images", "HTTP"
_HOST, _PORT = "127.0.0.1", 8000


def mcp(
    root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder whose images may be opened; can be repeated. The roots of a client narrow it. Without it: the "
            "client's roots, and over HTTP no file.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Return marked images too.", rich_help_panel=_FILES)
    ] = True,
    http: Annotated[
        bool,
        typer.Option("--http", help="Serve streamable HTTP, not standard input and output.", rich_help_panel=_WEB),
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address; beyond loopback clients need tokens.", rich_help_panel=_WEB)
    ] = _HOST,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", rich_help_panel=_WEB)] = _PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name of this server in the URLs of clients, such as a proxy's; can be repeated.",
            rich_help_panel=_WEB,
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File with a client's name and its token on each line. A single token: VIPLLAVA_MCP_TOKEN.",
            rich_help_panel=_WEB,
        ),
    ] = None,
    detector: options.DetectorOption = None,
    segmenter: options.SegmenterOption = None,
    format: options.FormatOption = None,
    box_format: options.BoxFormatOption = None,
    min_score: options.MinScoreOption = 0.0,
    model: options.ModelOption = None,
    base_url: options.BaseUrlOption = None,
    tokenizer: options.TokenizerOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    prompt_format: options.PromptFormatOption = "user_assistant",
    max_tokens: options.MaxTokensOption = 256,
    temperature: options.TemperatureOption = 0.0,
    sampling_seed: options.SamplingSeedOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Serve the tools over MCP: to one client over standard input and output, or to many over HTTP."""
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.model import ModelOptions  # noqa: PLC0415
    from langchain_vipllava.apps.mcp import sdk  # noqa: PLC0415
    from langchain_vipllava.apps.mcp.access import HttpAccess  # noqa: PLC0415
    from langchain_vipllava.apps.mcp.tokens import read_tokens  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

    sdk.require()
    model_options = ModelOptions(
        model, device, dtype, quantization, attention, prompt_format, max_tokens, temperature, sampling_seed,
        tuple(base_url or ()), tokenizer,
    )  # fmt: skip
    model_options.check()
    names = tuple(allow_host or ())
    access = None
    if not http and (host, port, names, tokens) != (_HOST, _PORT, (), None):
        raise VipLlavaError("--host, --port, --allow-host and --tokens are for HTTP; expected --http beside them.")
    if http:
        access = HttpAccess(host, port, names, read_tokens(os.environ.get("VIPLLAVA_MCP_TOKEN"), tokens))
    detection = {"format": format, "box_format": box_format, "min_score": min_score}
    backend = model_options.plan()
    found = _found(detector, segmenter)
    server = _server(model_options, backend, root or [], access, found, detection, images)
    _run(server, access, model_options, backend, Screen(quiet))


def _server(
    model_options: ModelOptions,
    backend: LocalBackend | ServedBackend,
    roots: list[Path],
    access: HttpAccess | None,
    found: Mapping[str, Any],
    detection: Mapping[str, object],
    images: bool,
) -> WorkspaceServer:
    from langchain_vipllava.apps.mcp.server import WorkspaceServer  # noqa: PLC0415
    from langchain_vipllava.backends.vision import BackendVision  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415
    from langchain_vipllava.images.access import ImageAccessPolicy  # noqa: PLC0415
    from langchain_vipllava.regions.detection_options import DetectionOptions  # noqa: PLC0415

    for root in roots:
        if not root.is_dir():
            raise VipLlavaError(f"--root {str(root)!r} is no folder; expected one with images.")
    return WorkspaceServer(
        BackendVision(backend, model_options.settings),
        **found,
        detection_options=DetectionOptions.of(detection),
        access=ImageAccessPolicy(roots or None),
        http=access,
        show_images=images,
    )


def _found(detector: str | None, segmenter: str | None) -> dict[str, Any]:
    from langchain_vipllava.apps.detectors import find_detector  # noqa: PLC0415
    from langchain_vipllava.apps.segmenters import find_segmenter  # noqa: PLC0415

    return {
        "detector": None if detector is None else find_detector(detector),
        "segmenter": None if segmenter is None else find_segmenter(segmenter),
    }


def _run(
    server: WorkspaceServer,
    access: HttpAccess | None,
    model_options: ModelOptions,
    backend: LocalBackend | ServedBackend,
    screen: Screen,
) -> None:
    import gc  # noqa: PLC0415
    import threading  # noqa: PLC0415

    from langchain_vipllava.apps.mcp.run import serve_http, serve_stdio  # noqa: PLC0415

    gc.enable()  # off in `main`, which other commands leave soon
    if access is None:
        # beside the first messages: a client does not wait for a large model before it has said hello
        threading.Thread(target=_load, args=(model_options, backend, screen), daemon=True).start()
        serve_stdio(server)
        return
    with access.listen() as listener:
        model_options.load(backend, screen)
        where = f"[{access.host}]" if ":" in access.host else access.host
        screen.note(f"Serving MCP at http://{where}:{listener.getsockname()[1]}/mcp. Ctrl-C stops it.")
        serve_http(server, listener)


def _load(model_options: ModelOptions, backend: LocalBackend | ServedBackend, screen: Screen) -> None:
    from langchain_vipllava.apps.cli.console import show_error  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

    try:
        model_options.load(backend, screen)
    except VipLlavaError as error:  # each question raises it again
        show_error(error)
