"""`langchain-vipllava mark`: draw markers on an image, from boxes, a detector or its output."""

from __future__ import annotations

from langchain_vipllava.apps.cli import options


def mark(
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
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Draw markers on an image, and write it with --out.

    Standard output has the name of the file that was written, or with --json the regions and the phrases that name
    them.
    """
    from langchain_vipllava.apps.cli import marking, records, saving, stdin  # noqa: PLC0415  # --help loads nothing
    from langchain_vipllava.apps.cli.console import Screen  # noqa: PLC0415
    from langchain_vipllava.errors import VipLlavaError  # noqa: PLC0415

    screen = Screen(quiet, as_json)
    stdin.check_single(image=image == stdin.STDIN, detections=detections == stdin.STDIN)
    mark_options = marking.MarkOptions(
        image, box, detections, detector, format, box_format, min_score, max_regions, kind, color, numbers, zoom, seed
    )
    mark_options.check()
    to_stdout = saving.is_stdout(out)
    if to_stdout and as_json:
        raise VipLlavaError("--out - and --json both write to standard output; expected one of them.")
    target = None if out is None or to_stdout else saving.check_target(out, image, detections)
    marked = mark_options.mark(screen)
    marking.expect_regions(marked)
    saved = None if target is None else marked.save(target)
    screen.markers(marked)
    if to_stdout:
        saving.write_png(marked)
    elif as_json:
        screen.record(records.marked_record(image, marked, saved))
    elif saved is not None:
        screen.answer(str(saved))
    else:
        screen.note("Nothing was written: --out FILE writes the marked image, --json the regions.")
