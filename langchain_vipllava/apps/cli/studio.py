"""`langchain-vipllava studio`: a page in the browser to point at regions of an image, and ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from langchain_vipllava.apps.cli import options

if TYPE_CHECKING:
    from langchain_vipllava.apps.cli.model import ModelOptions
    from langchain_vipllava.apps.studio.page import Studio

_PLACE = "Where it listens"
_INSTALL = "pip install 'langchain-vipllava[studio]'"


def studio(
    detector: options.DetectorOption = None,
    segmenter: options.SegmenterOption = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address. One that other machines reach needs a password in VIPLLAVA_STUDIO_PASSWORD.",
            rich_help_panel=_PLACE,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.", rich_help_panel=_PLACE)] = 7860,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--host-name",
            help="Another name by which browsers ask for the page, as behind a proxy; can be repeated.",
            rich_help_panel=_PLACE,
        ),
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
    temperature: options.TemperatureOption = 0.0,
    sampling_seed: options.SamplingSeedOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Open a page to point at regions of an image, and ask. On this machine alone, unless --host says more."""
    import os  # noqa: PLC0415  # --help loads nothing
    from importlib.util import find_spec  # noqa: PLC0415

    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415
    from langchain_vipllava.apps.cli.model import ModelOptions  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

    if find_spec("gradio") is None:
        raise VipLlavaError(f"gradio is not installed; the page needs it: {_INSTALL}.")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before it is imported: it asks its own server otherwise
    from langchain_vipllava.apps.studio.server import Address, launch  # noqa: PLC0415

    screen = Screen(quiet)
    model_options = ModelOptions(
        model, device, dtype, quantization, attention, prompt_format, max_tokens, temperature, sampling_seed,
        tuple(base_url or ()), tokenizer,
    )  # fmt: skip
    model_options.check()
    address = Address(host, port, tuple(host_name or ()))
    address.check()
    shared = _studio(model_options, detector, segmenter)
    model_options.load(shared.vision.backend, screen)  # type: ignore[arg-type]  # one of the two that `plan` returns
    page, url = launch(shared, address, block=False)
    screen.note(f"Open {url} in a browser. Ctrl-C stops it.")
    try:
        page.block_thread()
    finally:
        shared.workspace.close()


def _studio(model_options: ModelOptions, detector: str | None, segmenter: str | None) -> Studio:
    """Make what the desks share; the bundled checkpoint's world has a detector and a segmenter of its own."""
    from langchain_vipllava.apps.detectors import find_detector  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.segmenters import find_segmenter  # noqa: PLC0415
    from langchain_vipllava.apps.studio.page import Studio  # noqa: PLC0415
    from langchain_vipllava.apps.studio.python_code import BackendCode  # noqa: PLC0415
    from langchain_vipllava.apps.studio.telling import TellingVision  # noqa: PLC0415
    from langchain_vipllava.workspace.workspace import Workspace  # noqa: PLC0415

    by_default = "shapes" if model_options.is_bundled else None
    found = None if (name := detector or by_default) is None else find_detector(name)
    outlined = None if (name := segmenter or by_default) is None else find_segmenter(name)
    vision = TellingVision(model_options.plan(), model_options.settings)
    if model_options.base_url:
        code = BackendCode.served(model_options.base_url, model_options.model, model_options.tokenizer)
    else:
        code = BackendCode.local(model_options.load_arguments)
    return Studio(
        Workspace(model=vision, detector=found, segmenter=outlined),
        vision,
        code,
        f"{model_options.describe()}.",
        detects=found is not None,
        segments=outlined is not None,
    )
