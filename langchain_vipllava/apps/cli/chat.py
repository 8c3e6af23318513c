"""`langchain-vipllava chat`: chat about one image."""

from __future__ import annotations

from langchain_vipllava.apps.cli import options


def chat(
    image: options.ImageArgument,
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
    """Chat about an image and its marked regions. Answers are streamed; /help lists the commands."""
    from langchain_vipllava.apps.cli import marking, saving, stdin  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415
    from langchain_vipllava.apps.cli.conversation import Chat  # noqa: PLC0415
    from langchain_vipllava.apps.cli.model import Asker, ModelOptions  # noqa: PLC0415

    screen = Screen(quiet, as_json)
    stdin.check_single(image=image == stdin.STDIN, detections=detections == stdin.STDIN, **{"the conversation": True})
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
    backend = model_options.plan()
    screen.markers(marked)
    model_options.load(backend, screen)
    conversation = Chat(image, Asker(backend, model_options.settings, marked), mark_options, screen, target)
    conversation.save()
    conversation.run()
