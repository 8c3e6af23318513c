"""`python -m benchmarks.gpu` (`make gpu-check`): the model runner on one CUDA GPU, in at most nine minutes.

Needs no package index and no weights: a ViP-LLaVA of the 7B's shape with random weights, and a small one for exactness.
The table goes to a file after each part, so a run that is cut off leaves what it has. `--shape tiny --device cpu` runs
every part in a small form; its times mean nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from benchmarks import gpu_exactness, gpu_limits, gpu_speed
from benchmarks.gpu_check import Check

PARTS: list[tuple[Callable[[Check], None], int]] = [
    (gpu_limits.limits, 5),
    (gpu_speed.compiled, 60),
    (gpu_exactness.float32, 45),
    (gpu_exactness.bfloat16, 45),
    (gpu_speed.recorded, 20),
    (gpu_speed.plain, 20),
    (gpu_speed.quantized, 60),
]
"""The parts with about how many seconds each takes. Estimated: the one run on an H100 was cut off in the fourth."""


def main() -> None:
    """Run every part that fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("7b", "tiny"), default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=int, default=540, help="time for all parts")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"), help="file of the table")
    parser.add_argument("--only", nargs="*", default=[], help="names of parts, such as compiled")
    options = parser.parse_args()
    device = torch.device(options.device)
    check = Check(device, options.shape, time.monotonic() + options.seconds, options.out)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    check.add("machine", f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    for part, seconds in PARTS:
        if not options.only or part.__name__ in options.only:
            check.run(part, seconds if options.shape == "7b" else 0)


if __name__ == "__main__":
    main()
