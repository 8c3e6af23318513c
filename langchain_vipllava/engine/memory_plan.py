"""Where a checkpoint would run, as what, and whether it fits: decided before anything is loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from langchain_vipllava.engine.load_options import LoadOptions
from langchain_vipllava.errors import CheckpointError

_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_BYTES = {"float16": 2.0, "bfloat16": 2.0, "float32": 4.0, "8bit": 1.0, "4bit": 0.5}


@dataclass(frozen=True)
class Plan:
    """What `LoadOptions` come to on this machine.

    Attributes:
        device: torch device the model goes to (with a `device_map`: the one to reckon with).
        dtype: name of the torch dtype, or "auto" for the checkpoint's own.
    """

    device: str
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype | str:
        """What `from_pretrained(dtype=...)` takes."""
        return "auto" if self.dtype == "auto" else getattr(torch, self.dtype)


def make_plan(options: LoadOptions) -> Plan:
    """Choose device and dtype.

    Raises:
        CheckpointError: the device is not there, or a package that the options need is missing.
    """
    device = _choose_device(options.device)
    if options.quantization is not None:
        if not device.startswith("cuda"):
            raise CheckpointError(
                f"quantization={options.quantization!r} on device {device!r}; bitsandbytes needs a CUDA GPU. "
                "Leave quantization out, or use a smaller checkpoint."
            )
        _need("bitsandbytes", f"quantization={options.quantization!r}")
    if options.attn_implementation is not None:
        _check_attention(options.attn_implementation, device)
    if options.device_map is not None or options.quantization is not None:
        _need("accelerate", "device_map and quantization")
    dtype = options.dtype
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    return Plan(device, dtype)


@dataclass(frozen=True)
class Footprint:
    """Memory that a checkpoint needs, reckoned from its configuration.

    Attributes:
        parameters: number of parameters.
        weights: bytes of the weights.
        cache: bytes of the KV cache of one conversation that fills the context.
        context: tokens of prompt and answer together.
        dtype: name of the dtype it would have.
        attention: the kernel that transformers would take.
        image_side: side of the square that the vision tower reads, in pixels.
        image_tokens: tokens of an image.
    """

    parameters: int
    weights: int
    cache: int
    context: int
    dtype: str
    attention: str
    image_side: int
    image_tokens: int

    @property
    def total(self) -> int:
        """Bytes for weights and one full conversation."""
        return self.weights + self.cache


def footprint(config: Any, options: LoadOptions) -> Footprint:
    """Reckon what a checkpoint needs; builds its shape without any memory for it."""
    from transformers import VipLlavaForConditionalGeneration  # noqa: PLC0415  # slow to load

    with torch.device("meta"):
        model = VipLlavaForConditionalGeneration(config)
    dtype = make_plan(options).dtype
    if dtype == "auto":
        dtype = str(getattr(config, "dtype", None) or "float16").removeprefix("torch.")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # embeddings, vision tower and projector stay in the dtype when bitsandbytes packs the rest
    packed = model.get_submodule("model.language_model.layers") if options.quantization else None
    in_layers = sum(parameter.numel() for parameter in packed.parameters()) if packed is not None else 0
    weights = (parameters - in_layers) * _BYTES[dtype] + in_layers * _BYTES[options.quantization or dtype]
    text, vision = config.text_config, config.vision_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * _BYTES[dtype]
    return Footprint(
        parameters=parameters,
        weights=int(weights),
        cache=int(token * text.max_position_embeddings),
        context=text.max_position_embeddings,
        dtype=dtype,
        attention=options.attn_implementation or model.config._attn_implementation,
        image_side=vision.image_size,
        image_tokens=(vision.image_size // vision.patch_size) ** 2,
    )


def available_devices() -> list[str]:
    """Torch devices of this machine, best first."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def free_bytes(device: str) -> int:
    """Free memory of a device in bytes; for "cpu" and "mps" that of the machine."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # noqa: PLC0415  # only asked for by `doctor`

    return int(psutil.virtual_memory().available)


def _choose_device(wanted: str) -> str:
    if wanted == "auto":
        first = available_devices()[0]
        return "cuda" if first.startswith("cuda") else first
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise CheckpointError(f"device={wanted!r}; expected 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu'.") from error
    there = available_devices()
    kinds = {name.split(":")[0] for name in there}
    if device.type not in kinds or (device.index is not None and device.type == "cuda" and wanted not in there):
        raise CheckpointError(
            f"device={wanted!r}, but torch {torch.__version__} finds only {', '.join(there)} here. Use device='auto', "
            "or install a torch build for your GPU."
        )
    return wanted


def _check_attention(name: str, device: str) -> None:
    if name not in _ATTENTION and "/" not in name:  # with a slash it is a kernel on the hub
        raise CheckpointError(f"attn_implementation={name!r}; expected one of {', '.join(_ATTENTION)}.")
    if name.startswith("flash_attention"):
        if not device.startswith("cuda"):
            raise CheckpointError(
                f"attn_implementation={name!r} on device {device!r}; it needs a CUDA GPU. Use 'sdpa'."
            )
        _need("flash_attn" if name == "flash_attention_2" else "flash_attn_interface", f"attn_implementation={name!r}")


def _need(package: str, what_for: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise CheckpointError(f"{what_for} needs the package {package}, which is not installed: pip install {package}.")
