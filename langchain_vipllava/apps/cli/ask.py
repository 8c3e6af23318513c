"""`langchain-vipllava ask`: ask about an image, or about marked regions of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_vipllava.apps.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_vipllava.apps.cli.console import Screen
    from langchain_vipllava.apps.cli.model import Asker

QuestionsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="QUESTION...",
        help="Questions, each on its own; {0}, {1}, ... stand for the marked regions. - reads one question per line "
        "from standard input.",
    ),
]


def ask(
    image: options.ImageArgument,
    questions: QuestionsArgument,
    box: options.BoxOption = None,
    detections: options.DetectionsOption = None,
    detector: options.DetectorOption = None,
    format: options.FormatOption = None,
    box_format: options.BoxFormatOption = None,
    min_score: options.MinScoreOption = 0.0,
    max_regions: options.MaxRegionsOption = None,
    kind: options.KindOption = None,
    color: options.ColorOption = None,
    numbers: options.NumbersOption = False,
    zoom: options.ZoomOption = False,
    seed: options.SeedOption = None,
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
    save: options.SaveOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Ask about marked regions of an image; without --box, --detections and --detector, about the whole image.

    Standard output has the answers, one per line if there are several questions.
    """
    from langchain_vipllava.apps.cli import marking, saving, stdin  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415
    from langchain_vipllava.apps.cli.model import Asker, ModelOptions, fill  # noqa: PLC0415

    screen = Screen(quiet, as_json)
    from_stdin = questions == [stdin.STDIN]
    stdin.check_single(image=image == stdin.STDIN, question=from_stdin, detections=detections == stdin.STDIN)
    model_options = ModelOptions(
        model, device, dtype, quantization, attention, prompt_format, max_tokens, temperature, sampling_seed,
        tuple(base_url or ()), tokenizer,
    )  # fmt: skip
    model_options.check()
    mark_options = marking.MarkOptions(
        image, box, detections, detector, format, box_format, min_score, max_regions, kind, color, numbers, zoom, seed,
        model_options.view_size,
    )  # fmt: skip
    mark_options.check()
    target = None if save is None else saving.check_target(save, image, detections)
    marked = mark_options.mark(screen)
    if not from_stdin:
        for question in questions:
            fill(marked, question)
    backend = model_options.plan()
    saved = None if target is None else marked.save(target)
    screen.markers(marked)
    if saved is not None:
        screen.note(f"Wrote {saved}")
    model_options.load(backend, screen)
    asker = Asker(backend, model_options.settings, marked)
    lines = stdin.lines() if from_stdin else questions
    if not _answer(asker, lines, screen, image, saved, several=from_stdin or len(questions) > 1):
        raise typer.Exit(1)


def _answer(
    asker: Asker, questions: Iterable[str], screen: Screen, image: str, saved: Path | None, *, several: bool
) -> bool:
    """Write an answer for each question; one that cannot be answered does not keep the others from it."""
    from langchain_vipllava.apps.cli.console import show_error  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.model import fill  # noqa: PLC0415
    from langchain_vipllava.apps.cli.records import answer_record, error_record, marked_record  # noqa: PLC0415
    from langchain_vipllava.apps.cli.wording import in_options  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

    about = {"model": asker.backend.name, **marked_record(image, asker.marked, saved)}
    all_answered = True
    for question in questions:
        try:
            asked = fill(asker.marked, question)
            screen.note(asked)
            answer = asker.ask(asked)
        except VipLlavaError as error:
            if not several:
                raise
            all_answered = False
            show_error(error)
            if screen.as_json:
                screen.record({**error_record(question, error, in_options(str(error))), **about})
            else:
                screen.answer("")  # the answers stay beside their questions
            continue
        if screen.as_json:
            screen.record({**answer_record(question, asked, answer), **about})
        else:
            screen.answer(" ".join(answer.text.split("\n")) if several else answer.text)
    return all_answered
