"""Where a checkpoint would run, as what, and whether it fits: decided before anything is loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch

from langchain_vipllava.errors import CheckpointError
from langchain_vipllava.host.options import LoadOptions

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
        return "auto" if self.dtype == "auto" else getattr(torch, self.dtype)  # type: ignore[no-any-return]


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
    if options.device_map is not None or options.quantization is not None:
        _need("accelerate", "device_map and quantization")
    dtype = options.dtype
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    return Plan(device, dtype)


def weight_bytes(parameters: int, dtype: str, quantization: str | None) -> int:
    """Memory of the weights in bytes, for a number of parameters."""
    return int(parameters * _BYTES[quantization or dtype])


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


def _need(package: str, what_for: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise CheckpointError(
            f"{what_for} needs the package {package}, which is not installed: pip install 'langchain-vipllava[gpu]'."
        )
