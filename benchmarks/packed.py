"""`python -m benchmarks.packed`: linear layers in float32, by MKL and in oneDNN's own layout.

The package packs the layers of a model that it loads on a processor of AMD (`engine/packed_linear.py`).
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.timing import measure
from langchain_vipllava.engine.cpu_flags import cpu_vendor
from langchain_vipllava.engine.packed_linear import PackedLinear

SHAPES = {"128M": ((768, 2048), (2048, 768)), "7B": ((4096, 4096), (4096, 11008))}
"""Inputs and outputs of layers, by model."""

ROWS = (1, 8, 64, 589)

_BYTES = 256 * 2**20
"""Weights of one run: more than caches hold."""


def main() -> None:
    """Print how many times faster a packed layer is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {cpu_vendor()}, {threads} threads, torch {torch.__version__}, float32")
    for model, shapes in SHAPES.items():
        for inputs, outputs in shapes:
            plain = [
                torch.nn.Linear(inputs, outputs, bias=False) for _ in range(max(_BYTES // (4 * inputs * outputs), 1))
            ]
            packed = [PackedLinear(layer) for layer in plain]
            for rows in ROWS:
                states = torch.randn(rows, inputs)
                functions = {"MKL": partial(_run, plain, states), "packed": partial(_run, packed, states)}
                times = measure(functions, options.repeats)
                ratio = times["MKL"].median / times["packed"].median
                print(f"{model}, {inputs} to {outputs}, {rows} rows: {times['MKL']}, {times['packed']}, {ratio:.2f}x")


def _run(layers: Sequence[torch.nn.Module], states: torch.Tensor) -> None:
    with torch.inference_mode():
        for layer in layers:
            layer(states)


if __name__ == "__main__":
    main()
