"""`Report`: what the doctor found. All sizes are in GiB."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from langchain_vipllava.apps.cli.ways import Recommendation, Way, is_installed, list_ways, recommend
from langchain_vipllava.apps.cli.wording import in_options
from langchain_vipllava.engine.compiled_decode import choose_decode
from langchain_vipllava.engine.dtype_choice import DtypeChoice, choose_dtype, in_gib
from langchain_vipllava.engine.free_memory import free_bytes
from langchain_vipllava.engine.loading import load_config, pin, published_config
from langchain_vipllava.engine.memory_plan import (
    MemoryEstimate,
    ParameterCount,
    available_devices,
    choose_device,
)
from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.prompt.formats import PromptFormatName
from langchain_vipllava.protocol.load_options import TRAINED_FORMATS, LoadOptions

_PACKAGES = ("langchain-vipllava", "torch", "transformers", "langchain-core", "opencv-python")
_OPTIONAL = (
    ("accelerate", "device_map and --quantization"),
    ("bitsandbytes", "--quantization 4bit and 8bit"),
    ("flash_attn", "--attention flash_attention_2"),
    ("langgraph", "agents, and `langchain-vipllava demo`"),
    ("skimage", "the detector 'faces', and the photograph of the demo"),
)
_GIB = 2**30


@dataclass(frozen=True)
class Report:
    """What the doctor found.

    Attributes:
        model: hub id or folder.
        plan: what would be used, by name; empty if that cannot be said.
        estimate: memory of the checkpoint; None without a configuration.
        free: free bytes of the device.
        ways: other ways to load it.
        problem: why it cannot run at all; None if only memory decides.
    """

    model: str
    plan: dict[str, str]
    estimate: MemoryEstimate | None
    free: int
    ways: tuple[Way, ...]
    problem: str | None

    @property
    def recommended(self) -> Recommendation | None:
        """The way that the doctor recommends; None if none fits."""
        return recommend(self.ways)

    @property
    def fits(self) -> bool:
        """Whether weights and a full context fit into the free memory."""
        return self.estimate is not None and self.estimate.total <= self.free

    @property
    def runs(self) -> bool:
        """Whether the checkpoint is there and fits."""
        return self.fits and self.problem is None

    def record(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        estimate = self.estimate
        return {
            "model": self.model,
            "runs": self.runs,
            "fits": self.fits,
            "problem": self.problem,
            **self.plan,
            "weights_gib": None if estimate is None else _rounded(estimate.weights),
            "kv_cache_gib": None if estimate is None else _rounded(estimate.kv_cache),
            "free_gib": _rounded(self.free),
            "ways": [
                {"options": way.options, "needs_gib": _rounded(way.needs), "free_gib": _rounded(way.free),
                 "fits": way.fits, "missing": way.missing or None, "seconds": way.seconds}
                for way in self.ways
            ],
            "recommended": None if self.recommended is None else asdict(self.recommended),
            "packages": {name: version(name) for name in _PACKAGES},
            "optional": {name: is_installed(name) for name, _ in _OPTIONAL},
            "devices": available_devices(),
        }  # fmt: skip

    def text(self) -> str:
        """Return the report for a person."""
        machine = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
        machine += [(name, version(name)) for name in _PACKAGES]
        machine.append(("devices", ", ".join(available_devices())))
        optional = [(name, f"{'yes' if is_installed(name) else 'no':3}  for {use}") for name, use in _OPTIONAL]
        parts = [_section("This machine", machine), _section("Optional packages", optional)]
        if self.estimate is not None:
            parts.append(_section(f"The checkpoint {self.model}", self._checkpoint_rows(self.estimate)))
            parts.append(_section("Ways to load it", [(way.options, way.verdict) for way in self.ways]))
            if self.recommended is not None:
                parts.append(_section("Recommended", [(self.recommended.options, self.recommended.reason)]))
            if not self.fits:
                parts.append(self._advice(self.estimate))
        if self.problem is not None:
            begin = "Cannot run" if self.estimate is None else "The checkpoint itself is missing"
            used = "" if self.estimate is None else " (its published configuration is used above)"
            parts.append(f"{begin}{used}: {self.problem}\n")
        return "\n".join(parts)

    def _checkpoint_rows(self, estimate: MemoryEstimate) -> list[tuple[str, str]]:
        return [
            *self.plan.items(),
            ("weights", f"{in_gib(estimate.weights)} ({estimate.parameters / 1e6:,.1f} million parameters)"),
            ("KV cache", f"{in_gib(estimate.kv_cache)} for a full context of {estimate.context:,} tokens"),
            ("image", f"{estimate.image_side} px square, {estimate.image_tokens} tokens"),
            ("free memory", in_gib(self.free)),
            ("fits", "yes" if self.fits else f"no: {in_gib(estimate.total - self.free)} are missing"),
        ]

    def _advice(self, estimate: MemoryEstimate) -> str:
        fitting = [way.options for way in self.ways if way.fits]
        if fitting:
            return f"It does not fit this way. It would fit with: {'; '.join(fitting)}.\n"
        here = [way for way in self.ways if not way.missing]
        smallest = min(here, key=lambda way: way.needs - way.free, default=None)
        gap = estimate.total - self.free if smallest is None else smallest.needs - smallest.free
        best = f" ({smallest.options})" if smallest is not None else ""
        return (
            f"It fits in no way on this machine: {in_gib(max(gap, 0))} are missing in the smallest{best}. Use a "
            "smaller checkpoint, a machine with more memory, or, from Python, device_map='auto' over several GPUs.\n"
        )


def examine(load_options: LoadOptions, prompt_format: PromptFormatName = "user_assistant") -> Report:
    """Find out what the options mean on this machine. Loads no weights."""
    plan: dict[str, str] = {}
    try:
        device = choose_device(load_options)
        pinned, config, problem = _find(load_options)
        count = ParameterCount.of(config)
        free = free_bytes(device)
        choice = choose_dtype(config, load_options, device, count, free)
        estimate = choice.estimate
    except CheckpointError as error:
        return Report(load_options.model, plan, None, 0, (), in_options(str(error)))
    compiled, reason = choose_decode(
        load_options.compile_decode,
        device=device,
        attention=estimate.attention,
        quantized=load_options.quantization is not None,
        multi_device=load_options.device_map is not None,
    )
    plan = {
        "commit": _commit(load_options, pinned),
        "device": device,
        "dtype": estimate.dtype + _dtype_note(load_options, choice),
        "attention": estimate.attention + ("" if load_options.attn_implementation else " (transformers' choice)"),
        "decoding": f"{'compiled' if compiled else 'eager'}: {reason}",
        "prompt format": _format_note(load_options.model, prompt_format),
    }
    return Report(load_options.model, plan, estimate, free, tuple(list_ways(load_options, config, count)), problem)


def _find(load_options: LoadOptions) -> tuple[LoadOptions, Any, str | None]:
    """Return the options with the commit, the configuration, and why the checkpoint itself is missing."""
    try:
        pinned = pin(load_options)
        return pinned, load_config(pinned), None
    except CheckpointError as error:
        config = published_config(load_options.model)
        if config is None:
            raise
        return load_options, config, in_options(str(error))


def _commit(load_options: LoadOptions, pinned: LoadOptions) -> str:
    """What would be loaded of the hub, and whether that can change."""
    if os.path.isdir(load_options.source):
        return "none: not from the hub"
    if pinned.revision is None:
        return "unknown"
    if pinned.revision == load_options.revision:
        return pinned.revision
    return f"{pinned.revision} (of {load_options.revision or 'main'}, which can change: revision= pins it)"


def _dtype_note(load_options: LoadOptions, choice: DtypeChoice) -> str:
    if load_options.quantization:
        return f", weights in {load_options.quantization}"
    return f", {choice.reason}" if choice.reason else ""


def _format_note(model: str, chosen: PromptFormatName) -> str:
    """The prompt format, and with which one the weights were trained."""
    trained = TRAINED_FORMATS.get(model)
    if trained == chosen:
        return f"{chosen}, with which the weights were trained"
    if trained is not None:
        return f"{chosen}; the weights were trained with {trained}: --prompt-format {trained}"
    return f"{chosen}; that of the training is not known (published 7B and 13B: llava_v1)"


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:{width}}  {value}" for name, value in rows)]) + "\n"


def _rounded(size: int) -> float:
    return round(size / _GIB, 3)
