"""`langchain-vipllava bench`: run a benchmark of regions, and write and score its official result files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from langchain_vipllava.apps.cli import options

if TYPE_CHECKING:
    from langchain_vipllava.bench.benchmark import Benchmark, Data

app = typer.Typer(no_args_is_help=True, help="Run a benchmark of regions, and score it.")

_RUN, _JUDGE = "Run", "Judge"

DataOption = Annotated[
    Path, typer.Option("--data", help="Folder of the data in its official layout, or its file of questions.")
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of the images, where they do not lie beside the questions.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for answers and results; it is made. Default: the folder of the data."),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", help="Name of the model in the result files. Default: the end of its name.", rich_help_panel=_RUN
    ),
]
BatchOption = Annotated[int, typer.Option("--batch", help="Questions that are answered at once.", rich_help_panel=_RUN)]
LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Answer only this many questions, the first ones.", rich_help_panel=_RUN)
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Forget the answers so far, instead of going on.", rich_help_panel=_RUN)
]
FormOption = Annotated[
    str,
    typer.Option(
        "--answers",
        help="letter, as the official evaluation, or option: the answer is held to the text of one of the options, for "
        "a model that was not trained to answer with letters.",
        rich_help_panel=_RUN,
    ),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        "-k",
        help=f"Kind of the markers that are drawn, by default rectangle. One of {options.KINDS}.",
        rich_help_panel=_RUN,
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        help="Maximum number of tokens of an answer. Default: as the official evaluation.",
        rich_help_panel=_RUN,
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split", help="bbox or human, whose images have markers; source draws them, in a kind of your choice."
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Grade with an LLM, as provider:model, such as openai:gpt-4-0613, or package.module:name of a chat model.",
        rich_help_panel=_JUDGE,
    ),
]
RunsOption = Annotated[
    int | None, typer.Option("--runs", help="Runs of the judge over all answers. Default: 5.", rich_help_panel=_JUDGE)
]
ShotsOption = Annotated[
    Path | None,
    typer.Option(
        "--judge-prompt",
        help="File with instruction and examples for the judge, such as those of the official evaluator.",
        rich_help_panel=_JUDGE,
    ),
]
JudgeTokensOption = Annotated[
    int | None,
    typer.Option("--judge-tokens", help="Maximum number of tokens of a grade. Default: 3.", rich_help_panel=_JUDGE),
]


@app.command("vip-bench")
def vip_bench(
    data: DataOption,
    split: SplitOption = "bbox",
    out: OutOption = None,
    name: NameOption = None,
    batch: BatchOption = 16,
    limit: LimitOption = None,
    restart: RestartOption = False,
    kind: KindOption = None,
    judge: JudgeOption = None,
    runs: RunsOption = None,
    judge_prompt: ShotsOption = None,
    judge_tokens: JudgeTokensOption = None,
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
    """ViP-Bench: open questions per capability, graded by a judge. Run the command again to go on after a kill."""
    given = locals()
    from langchain_vipllava.apps.cli.bench_run import BenchRun, JudgeOptions  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.bench.vip_bench import Split, VipBench  # noqa: PLC0415
    from langchain_vipllava.errors import BenchmarkError, shorten  # noqa: PLC0415

    judge_options = JudgeOptions(judge, runs, judge_prompt, judge_tokens)
    judge_options.check()
    if split not in get_args(Split):
        raise BenchmarkError(f"--split {shorten(split)}; expected bbox, human or source.")
    if kind is not None and split != "source":
        raise BenchmarkError(f"--kind beside --split {split}, whose images have markers; it is for --split source.")
    BenchRun.of(given).run(lambda found: VipBench(found, split), judge_options)  # type: ignore[arg-type]


@app.command("vp-bench")
def vp_bench(
    data: DataOption,
    out: OutOption = None,
    name: NameOption = None,
    batch: BatchOption = 16,
    limit: LimitOption = None,
    restart: RestartOption = False,
    answers: FormOption = "letter",
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
    """VP-Bench, stage 1: which markers a model perceives. Run the command again to go on after a kill."""
    given = locals()
    from langchain_vipllava.bench.vp_bench import VPBench  # noqa: PLC0415  # --help loads nothing

    _run(given, VPBench)


@app.command("gar-bench")
def gar_bench(
    data: DataOption,
    images: ImagesOption = None,
    out: OutOption = None,
    name: NameOption = None,
    batch: BatchOption = 16,
    limit: LimitOption = None,
    restart: RestartOption = False,
    answers: FormOption = "letter",
    kind: KindOption = None,
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
    """GAR-Bench-VQA: questions about several masks. Run the command again to go on after a kill."""
    given = locals()
    from langchain_vipllava.bench.gar_bench import GarBench  # noqa: PLC0415  # --help loads nothing

    _run(given, GarBench)


@app.command("visual7w")
def visual7w(
    data: DataOption,
    images: ImagesOption = None,
    out: OutOption = None,
    name: NameOption = None,
    batch: BatchOption = 16,
    limit: LimitOption = None,
    restart: RestartOption = False,
    answers: FormOption = "letter",
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
    """Visual7W: which of four boxes answers a question. Run the command again to go on after a kill."""
    given = locals()
    from langchain_vipllava.bench.visual7w import Visual7W  # noqa: PLC0415  # --help loads nothing

    _run(given, Visual7W)


def _run(given: dict[str, Any], open_benchmark: Callable[[Data], Benchmark]) -> None:
    from langchain_vipllava.apps.cli.bench_run import BenchRun  # noqa: PLC0415  # --help loads nothing

    BenchRun.of(given).run(open_benchmark)
