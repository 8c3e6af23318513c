"""`langchain-vipllava bench markers`: which kind, color, width and opacity of marker a model perceives best."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_vipllava.apps.cli import options
from langchain_vipllava.apps.cli.bench import (
    BatchOption,
    DataOption,
    NameOption,
    OutOption,
    RestartOption,
    TokensOption,
)

_LOOKS = "Looks"

KindsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", "-k", help=f"A kind; can be repeated. Default: all: {options.KINDS}.", rich_help_panel=_LOOKS
    ),
]
ColorsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--color", "-c", help=f"A color; can be repeated. Default: all: {options.COLORS}.", rich_help_panel=_LOOKS
    ),
]
WidthsOption = Annotated[
    list[float] | None,
    typer.Option(
        "--width",
        help="A line width in pixels of the model's square; can be repeated. Default: 1.5, 3 and 6.",
        rich_help_panel=_LOOKS,
    ),
]
OpacitiesOption = Annotated[
    list[float] | None,
    typer.Option(
        "--opacity",
        help="A share of the full opacity; can be repeated. Default: 0.4, 0.7 and 1.",
        rich_help_panel=_LOOKS,
    ),
]
PerLookOption = Annotated[
    int, typer.Option("--per-look", help="Questions that each look is asked about.", rich_help_panel=_LOOKS)
]


def markers(
    data: DataOption,
    out: OutOption = None,
    name: NameOption = None,
    batch: BatchOption = 16,
    restart: RestartOption = False,
    kind: KindsOption = None,
    color: ColorsOption = None,
    width: WidthsOption = None,
    opacity: OpacitiesOption = None,
    per_look: PerLookOption = 12,
    model: options.ModelOption = None,
    base_url: options.BaseUrlOption = None,
    tokenizer: options.TokenizerOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "auto",
    quantization: options.QuantizationOption = None,
    attention: options.AttentionOption = None,
    prompt_format: options.PromptFormatOption = "user_assistant",
    max_tokens: TokensOption = None,
    temperature: options.TemperatureOption = 0.0,
    sampling_seed: options.SamplingSeedOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Which markers a model perceives: your questions (markers.jsonl), asked in every look. Run it again to go on."""
    given = {**locals(), "kind": None, "limit": None}
    from langchain_vipllava.apps.cli.bench_run import BenchRun  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.bench.marker_bench import OPACITIES, WIDTHS, MarkerBench, MarkerLooks  # noqa: PLC0415
    from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS, parse_color, parse_kind  # noqa: PLC0415

    looks = MarkerLooks(
        tuple(dict.fromkeys(map(parse_kind, kind))) if kind else KINDS,
        tuple(dict.fromkeys(map(parse_color, color))) if color else COLOR_NAMES,
        tuple(dict.fromkeys(width)) if width else WIDTHS,
        tuple(dict.fromkeys(opacity)) if opacity else OPACITIES,
        per_look,
    )
    BenchRun.of(given).run(lambda found: MarkerBench(found, looks))
