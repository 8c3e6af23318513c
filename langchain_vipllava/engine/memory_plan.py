"""Where a checkpoint runs, in which dtype, and whether it fits: decided before anything is loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from langchain_vipllava.engine.model_sizes import image_tokens, kv_values_per_token
from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.protocol.load_options import LoadOptions

_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_BYTES_PER_PARAMETER = {"float16": 2.0, "bfloat16": 2.0, "float32": 4.0, "8bit": 1.0, "4bit": 0.5 + 2 / 64}
"""In 4 bits, 64 of them share a scale of 16 bits, as bitsandbytes keeps it on a CPU; of 8 bits, a whole row."""


def choose_device(options: LoadOptions) -> str:
    """Choose the torch device of a model; with a `device_map`, the device whose memory is compared.

    Raises:
        CheckpointError: the device does not exist, or a package that the options need is not installed.
    """
    device = _choose_device(options.device)
    if options.quantization is not None:
        if not device.startswith(("cuda", "cpu")):
            raise CheckpointError(
                f"quantization={options.quantization!r} on device {device!r}; expected a CUDA GPU or a CPU. Use "
                "device='cpu', leave quantization out, or use a smaller checkpoint."
            )
        _require_package("bitsandbytes", f"quantization={options.quantization!r}")
    if options.attn_implementation is not None:
        _check_attention(options.attn_implementation, device)
    if options.device_map is not None or options.quantization is not None:
        _require_package("accelerate", "device_map or quantization")
    return device


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory that a checkpoint needs, estimated from its configuration.

    Attributes:
        parameters: number of parameters.
        weights: bytes of the weights.
        kv_cache: bytes of the keys and values of one conversation that fills the context.
        context: maximum number of tokens of prompt and answer together.
        dtype: name of the dtype.
        attention: attention implementation that transformers would use.
        image_side: side of the square image that the vision tower reads, in pixels.
        image_tokens: tokens of an image.
    """

    parameters: int
    weights: int
    kv_cache: int
    context: int
    dtype: str
    attention: str
    image_side: int
    image_tokens: int

    @property
    def total(self) -> int:
        """Bytes of the weights and one full conversation."""
        return self.weights + self.kv_cache


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a checkpoint, counted on a model on the meta device, which takes no memory.

    Attributes:
        total: all of them.
        quantizable: those of the language model's layers; see `quantization.py` for what keeps its dtype.
        attention: attention implementation that transformers would use.
    """

    total: int
    quantizable: int
    attention: str

    @classmethod
    def of(cls, config: Any) -> ParameterCount:
        """Count the parameters of a configuration."""
        from transformers import VipLlavaForConditionalGeneration  # noqa: PLC0415  # slow to load

        with torch.device("meta"):
            model = VipLlavaForConditionalGeneration(config)
        layers = model.get_submodule("model.language_model.layers")
        return cls(_count(model), _count(layers), str(model.config._attn_implementation))


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def estimate_memory(config: Any, options: LoadOptions, count: ParameterCount | None = None) -> MemoryEstimate:
    """Estimate what a checkpoint needs. Neither the device nor a package of the options has to be there.

    Args:
        config: the checkpoint's.
        options: how it would be loaded. The dtype "auto" is the checkpoint's own; `choose_dtype` decides for a CPU.
        count: its parameters, if they are counted already.
    """
    count = ParameterCount.of(config) if count is None else count
    dtype: str = options.dtype
    if dtype == "auto":
        dtype = str(getattr(config, "dtype", None) or "float16").removeprefix("torch.")
    quantized = count.quantizable if options.quantization else 0
    weights = (count.total - quantized) * _BYTES_PER_PARAMETER[dtype]
    weights += quantized * _BYTES_PER_PARAMETER[options.quantization or dtype]
    text = config.text_config
    kv_per_token = kv_values_per_token(text) * _BYTES_PER_PARAMETER[dtype]
    return MemoryEstimate(
        parameters=count.total,
        weights=int(weights),
        kv_cache=int(kv_per_token * text.max_position_embeddings),
        context=text.max_position_embeddings,
        dtype=dtype,
        attention=options.attn_implementation or count.attention,
        image_side=config.vision_config.image_size,
        image_tokens=image_tokens(config),
    )


def available_devices() -> list[str]:
    """Return the torch devices of this machine, fastest first."""
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def _choose_device(name: str) -> str:
    """Resolve "auto", and check that a named device exists."""
    available = available_devices()
    if name == "auto":
        return "cuda" if available[0].startswith("cuda") else available[0]
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CheckpointError(f"device={name!r}; expected 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu'.") from error
    types = {other.split(":")[0] for other in available}
    if device.type not in types or (device.index is not None and device.type == "cuda" and name not in available):
        raise CheckpointError(
            f"device={name!r}, but torch {torch.__version__} finds only {', '.join(available)}. Use device='auto', "
            "or install a torch build for your GPU."
        )
    return name


def _check_attention(name: str, device: str) -> None:
    if name not in _ATTENTION and "/" not in name:  # with a slash it is a kernel of the hub
        raise CheckpointError(f"attn_implementation={name!r}; expected one of {', '.join(_ATTENTION)}.")
    if name.startswith("flash_attention"):
        if not device.startswith("cuda"):
            raise CheckpointError(
                f"attn_implementation={name!r} on device {device!r}; it needs a CUDA GPU. Use 'sdpa'."
            )
        package = "flash_attn" if name == "flash_attention_2" else "flash_attn_interface"
        _require_package(package, f"attn_implementation={name!r}")


def _require_package(package: str, option: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise CheckpointError(f"{option} needs the package {package}, which is not installed: pip install {package}.")
