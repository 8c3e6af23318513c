"""`CudaGraph`: work on a GPU that is recorded once and then launched as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class CudaGraph(Generic[T]):
    """Records the kernels of some work, and launches them again with one call.

    Launching a kernel from Python takes a few microseconds, longer than many kernels run: a decoding step of the 7B has
    some 500. On a device without CUDA graphs, the work itself runs at each call.

    Args:
        work: reads and writes only tensors that stay where they are, and does not wait for the device.
        device: where it runs.
        warm_ups: how often the work runs before, as compilers and autotuners do not work while a graph is recorded; one
            is enough where it has run with these shapes.
    """

    def __init__(self, work: Callable[[], T], device: torch.device, *, warm_ups: int = 2) -> None:
        self._work = work
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type != "cuda":
            return
        warm_up = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        warm_up.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(warm_up):
            for _ in range(warm_ups):
                work()
        torch.cuda.current_stream(device).wait_stream(warm_up)
        graph = torch.cuda.CUDAGraph()
        # other threads of the process may allocate on the GPU meanwhile, which the default mode forbids
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._result = work()
        self._graph = graph

    def __call__(self) -> T:
        """Run the work.

        Returns:
            What it returns. Recorded work returns the same tensors each time: read them before the next call.
        """
        if self._graph is None:
            return self._work()
        self._graph.replay()
        return self._result
