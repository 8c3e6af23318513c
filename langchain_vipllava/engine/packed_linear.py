"""`PackedLinear`: a weight in the layout of oneDNN, which multiplies faster than MKL on AMD's processors.

PyTorch multiplies float32 by MKL. On a processor of AMD, oneDNN takes half of its time or less when few rows are
multiplied, as in decoding, and a little less in prompts (`python -m benchmarks.packed`). It wants the weight in a
layout of its own. A layer keeps that one alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from langchain_vipllava.engine.cpu_flags import cpu_flags, cpu_vendor

_ROWS = 8
"""Number of rows that the layout is made for. Measured: with it, no number from 1 to 589 is slower than with MKL."""

MIN_WEIGHTS = 2**19
"""Fewest weights of a layer that is packed. Measured: packed, the small layers of the bundled checkpoint are slower,
those of a model with 128 million weights faster, from 768 x 768 on."""


class PackedLinear(torch.nn.Module):
    """A linear layer that holds its weight in oneDNN's layout. For inference alone.

    Args:
        layer: a float32 layer on the CPU.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self._packed = _reorder(layer.weight.detach())

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight, (out features, in features)."""
        weight: torch.Tensor = self._packed.to_dense()
        return weight

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Multiply states, (..., in features). Returns (..., out features).

        With gradients or in another dtype it multiplies a plain copy of the weight, which is slow.
        """
        has_gradient = torch.is_grad_enabled() and (states.requires_grad or self.bias is not None)
        if has_gradient or states.dtype != torch.float32 or states.device.type != "cpu":  # oneDNN's has none
            return torch.nn.functional.linear(states, self.weight.to(states.device, states.dtype), self.bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._packed, self.bias, "none", [], "")
        return product

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": self.weight}  # oneDNN's layout cannot be copied or pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_packed": _reorder(state["_packed"])})  # type: ignore[no-untyped-call]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # torch's
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight


def _reorder(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
    return packed


def packing_is_faster() -> bool:
    """Whether packed float32 layers are faster here: on AMD's processors with AVX-512. On others it is not measured."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    has_both = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    is_measured = cpu_vendor() == "AuthenticAMD" and "avx512f" in cpu_flags()
    return is_measured and has_both and all(hasattr(torch.ops.mkldnn, name) for name in names)


def pack_where_faster(model: Any) -> int:
    """Pack the large linear layers of a float32 model in their places, if that makes them faster.

    Layers that share their weight with another module stay as they are.

    Returns:
        The number of packed layers.
    """
    is_float32 = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
    if not (is_float32 and packing_is_faster()):
        return 0
    owners = Counter(id(own) for module in model.modules() for own in module._parameters.values())
    # by name: a list of the layers would keep their weights until the last one is packed
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and module.weight.numel() >= MIN_WEIGHTS and owners[id(module.weight)] == 1
    ]
    for name in names:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, PackedLinear(model.get_submodule(name)))
    if names:
        for parameter in model.parameters():  # a view of a mapped file keeps all of its pages
            parameter.data = parameter.data.clone()
    return len(names)
