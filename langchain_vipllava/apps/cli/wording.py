"""The messages of the package in the words of the command line: options in place of Python's arguments."""

from __future__ import annotations

import re

_OPTIONS = {
    "attn_implementation": "attention",
    "base_url": "base-url",
    "box_format": "box-format",
    "color": "color",
    "detector": "detector",
    "device": "device",
    "dtype": "dtype",
    "format": "format",
    "kind": "kind",
    "max_regions": "max-regions",
    "max_tokens": "max-tokens",
    "min_score": "min-score",
    "model": "model",
    "numbers": "numbers",
    "prompt_format": "prompt-format",
    "quantization": "quantization",
    "seed": "seed",
    "temperature": "temperature",
    "tokenizer": "tokenizer",
    "zoom": "zoom",
}
_SWITCHES = ("numbers", "zoom")
_NAME = rf"(?<![\w.-])({'|'.join(_OPTIONS)})"
_WITH_QUOTED = re.compile(rf"""{_NAME}\s?=\s?(?:str )?(?:'([^']*)'|"([^"]*)")""")
_WITH_VALUE = re.compile(rf"{_NAME}\s?=\s?(?:int |float )?(None|True|-?\w[\w.]*(?<!\.))")
_ALONE = re.compile(rf"{_NAME}=")
_IN_PROSE = re.compile(rf"(?<![\w.-])({'|'.join(name for name in _OPTIONS if '_' in name)})(?!\w)")
_PHRASES = (
    (re.compile(r"regions_from\(\.\.\., (--[^()]*)\)"), r"--detections FILE \1"),
    (re.compile(r"Region\(box=\(x0, y0, x1, y1\)\)"), "--box x0,y0,x1,y1"),
    (re.compile(r"Pass (?:it|the key) as api_key="), "Set VIPLLAVA_API_KEY to it"),
    (
        re.compile(r"with restart=True, or keep both under another name"),
        "with --restart, or keep both with --name NAME",
    ),
    (re.compile(r", or on several views with mark_pages"), ", as --max-regions does"),
    (re.compile(r"The program can allow a private host with .*$"), "Download it first."),
    (re.compile(r"local_files_only=True does not ask it"), "HF_HUB_OFFLINE=1 does not ask it"),
    (re.compile(r"\blocal_files_only=True\b"), "HF_HUB_OFFLINE=1"),
)


def in_options(message: str) -> str:
    """Write a message of the package with the options of the command line.

    Example:
        >>> in_options("are these pixels? Pass box_format='xywh', or min_score=0.5, or kind='auto' without color.")
        'are these pixels? Pass --box-format xywh, or --min-score 0.5, or --kind auto without color.'
    """
    message = _WITH_QUOTED.sub(lambda found: _option(found[1], found[2] or found[3] or ""), message)
    message = _WITH_VALUE.sub(lambda found: _option(found[1], found[2]), message)
    message = _ALONE.sub(lambda found: _option(found[1], ""), message)
    message = _IN_PROSE.sub(lambda found: _option(found[1], ""), message)
    for pattern, words in _PHRASES:
        message = pattern.sub(words, message)
    return message


def _option(name: str, value: str) -> str:
    option = f"--{_OPTIONS[name]}"
    if value == "None":
        return f"no {option}"
    if not value or (name in _SWITCHES and value in ("auto", "True")):
        return option
    return f"{option} '{value}'" if " " in value else f"{option} {value}"
