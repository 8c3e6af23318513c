"""`langchain-vipllava doctor`: show what would run on this machine, and what is missing."""

from __future__ import annotations

import importlib.util
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.console import console, in_markup
from langchain_vipllava.errors import CheckpointError

if TYPE_CHECKING:
    from langchain_vipllava.engine.memory_plan import MemoryEstimate
    from langchain_vipllava.protocol.load_options import LoadOptions

_OPTIONAL = (
    ("accelerate", "device_map and quantization"),
    ("bitsandbytes", "quantization='4bit' and '8bit'"),
    ("flash_attn", "attn_implementation='flash_attention_2'"),
    ("langgraph", "agents, and `langchain-vipllava demo`"),
    ("skimage", "the face detector of the demo"),
)
_OK, _MISSING = "[green]yes[/]", "[yellow]no[/]"


def doctor(
    model: options.ModelOption = "bundled",
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    max_tokens: options.MaxTokensOption = 256,
) -> None:
    """Show which device, dtype, attention and checkpoint would be used, and whether it fits into memory."""
    from langchain_vipllava.engine.memory_plan import available_devices  # noqa: PLC0415  # torch is slow to load
    from langchain_vipllava.protocol.load_options import LoadOptions  # noqa: PLC0415

    del max_tokens  # accepted so that one set of options fits every command
    _show_machine(available_devices())
    model_options = options.ModelOptions(model, device, dtype, quantization, attention)
    try:
        fits = _show_plan(LoadOptions(**model_options.load_arguments()))
    except CheckpointError as error:
        console.print(f"[bold red]Cannot run:[/] {in_markup(error)}", highlight=False, soft_wrap=True)
        fits = False
    if not fits:
        raise typer.Exit(1)


def _show_machine(devices: list[str]) -> None:
    table = Table(title="This machine", show_header=False, title_justify="left")
    table.add_row("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("langchain-vipllava", "torch", "transformers", "langchain-core", "opencv-python"):
        table.add_row(package, version(package))
    table.add_row("devices", ", ".join(devices))
    console.print(table)
    optional = Table(title="Optional packages", title_justify="left", header_style="bold")
    for column in ("package", "installed", "needed for"):
        optional.add_column(column)
    for package, purpose in _OPTIONAL:
        installed = importlib.util.find_spec(package) is not None
        optional.add_row(package, _OK if installed else _MISSING, purpose)
    console.print(optional)


def _show_plan(load_options: LoadOptions) -> bool:
    """Print what the options mean on this machine. Returns whether the checkpoint fits into the free memory."""
    from langchain_vipllava.engine.compiled_decode import choose_decode  # noqa: PLC0415
    from langchain_vipllava.engine.loading import load_config, pin, published_config  # noqa: PLC0415
    from langchain_vipllava.engine.memory_plan import estimate_memory, free_bytes, plan_placement  # noqa: PLC0415

    placement = plan_placement(load_options)
    missing = None
    try:
        pinned = pin(load_options)
        config = load_config(pinned)
    except CheckpointError as error:
        pinned = load_options
        config, missing = published_config(load_options.model), error
        if config is None:
            raise
    estimate = estimate_memory(config, load_options)
    free = free_bytes(placement.device)
    fits = estimate.total <= free
    table = Table(title=f"The checkpoint {in_markup(load_options.model)}", show_header=False, title_justify="left")
    table.add_row("commit", in_markup(_commit(load_options, pinned)))
    table.add_row(
        "device", placement.device if load_options.device_map is None else f"device_map={load_options.device_map}"
    )
    table.add_row(
        "dtype", estimate.dtype + (f", weights in {load_options.quantization}" if load_options.quantization else "")
    )
    table.add_row(
        "attention", estimate.attention + ("" if load_options.attn_implementation else " (transformers' choice)")
    )
    compiled, reason = choose_decode(
        load_options.compile_decode,
        device=placement.device,
        attention=estimate.attention,
        quantized=load_options.quantization is not None,
        multi_device=load_options.device_map is not None,
    )
    table.add_row("decoding", f"{'compiled' if compiled else 'eager'}: {reason}")
    table.add_row("weights", f"{_mib(estimate.weights)} ({estimate.parameters / 1e6:,.1f} million parameters)")
    table.add_row("KV cache", f"{_mib(estimate.kv_cache)} for a full context of {estimate.context:,} tokens")
    table.add_row("image", f"{estimate.image_side} px square, {estimate.image_tokens} tokens")
    table.add_row("free memory", _mib(free))
    table.add_row("fits", _OK if fits else "[red]no[/]")
    console.print(table)
    if not fits:
        console.print(_advice(load_options, estimate, free), highlight=False, soft_wrap=True)
    if missing is not None:
        console.print(
            "[bold red]The checkpoint itself is missing[/] (its published configuration is used above): "
            f"{in_markup(missing)}"
        )
    return fits and missing is None


def _commit(load_options: LoadOptions, pinned: LoadOptions) -> str:
    """What would be loaded of the hub, and whether that can change."""
    if pinned.revision is None:
        return "none: not from the hub"
    if pinned.revision == load_options.revision:
        return pinned.revision
    return f"{pinned.revision} (of {load_options.revision or 'main'}, which can change: revision= pins it)"


def _advice(load_options: LoadOptions, estimate: MemoryEstimate, free: int) -> str:
    missing = _mib(estimate.total - free)
    if load_options.quantization == "4bit":
        return f"{missing} are missing even in 4 bit; use a smaller checkpoint, or device_map='auto' over several GPUs."
    packed = _mib(estimate.parameters // 2)
    return f"{missing} are missing; quantization='4bit' (CUDA) takes about {packed} for the weights."


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < 10 * 2**30 else f"{size / 2**30:,.1f} GiB"
