"""`VllmCommand`: the command and the environment with which vLLM serves an exported checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from langchain_vipllava.backends.server_address import EVERY_ADDRESS
from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.serving.served_folder import ServedFolder

VLLM_VERSION = "0.32.0"
"""The version that `make test-vllm` tries. Its token-in route is new, and may change."""

API_KEY = "VLLM_API_KEY"
"""Variable from which vLLM reads its API key: a command line is visible to every user of a machine."""

_NO_MEDIA = "none.invalid"
"""No image has this host (RFC 2606): with it as the only host allowed, vLLM fetches none."""

_CPU_BLOCK = 32
"""Tokens of a block of the prefix cache on a CPU. Measured on the bundled checkpoint: 81% of the prompt tokens of
second turns were found there, and 64% with vLLM's default of 128 for CPUs."""

_CPU_CONTEXTS = 4
"""Full contexts that the KV cache of a CPU server holds. Chosen: vLLM's own choice is most of the machine's memory, and
it does not start where another process has some of it."""

_SHUTDOWN_SECONDS = 5
"""Seconds in which requests may finish after SIGTERM. Without it, some clients wait until their own time-out."""


@dataclass(frozen=True)
class Layout:
    """How a model is spread over GPUs and machines.

    Attributes:
        tensor: GPUs that share each layer.
        pipeline: groups of layers, each on its own GPUs.
        nodes: machines.
        node_rank: which of them this is, from 0.
        master_address: address of the first, for the others.
        master_port: its port.

    Raises:
        GenerationError: a value out of range.
    """

    tensor: int = 1
    pipeline: int = 1
    nodes: int = 1
    node_rank: int = 0
    master_address: str | None = None
    master_port: int = 29501

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "nodes"):
            if getattr(self, name) < 1:
                raise GenerationError(f"{name}={getattr(self, name)}; expected a whole number of at least 1.")
        if not 0 <= self.node_rank < self.nodes:
            raise GenerationError(f"node rank {self.node_rank} of {self.nodes} nodes; expected 0 to {self.nodes - 1}.")
        if self.nodes > 1 and not self.master_address:
            raise GenerationError("several nodes need the address of the first, the same on all: --master-addr.")
        if self.tensor * self.pipeline % self.nodes:
            raise GenerationError(
                f"tensor parallel {self.tensor} times pipeline parallel {self.pipeline} GPUs, which {self.nodes} nodes "
                "cannot share evenly."
            )

    @property
    def gpus_per_node(self) -> int:
        """GPUs on each machine."""
        return self.tensor * self.pipeline // self.nodes

    @property
    def is_headless(self) -> bool:
        """Whether this machine has no server of its own."""
        return self.node_rank > 0


@dataclass(frozen=True)
class VllmCommand:
    """How vLLM is started.

    Attributes:
        model: the exported checkpoint.
        name: the name under which it is served.
        host, port: where it listens.
        layout: how it is spread over GPUs and machines.
        on_cpu: whether it is a CPU build.
        extra: further arguments of vLLM; they come last, and so they win.

    Raises:
        GenerationError: a name or a port that cannot be, or an argument that is not vLLM's to decide.
    """

    model: ServedFolder
    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    layout: Layout = Layout()
    on_cpu: bool = False
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.port < 2**16:
            raise GenerationError(f"port {self.port}; expected 1 to 65535.")
        if not self.name.strip() or self.name.startswith("-"):
            raise GenerationError(f"the name {shorten(self.name)}; expected a word for requests to name the model by.")
        if self.model.heads % self.layout.tensor:
            raise GenerationError(
                f"tensor parallel {self.layout.tensor} cannot share the model's {self.model.heads} attention heads "
                "evenly; choose a number that divides them."
            )
        for argument in self.extra:
            if argument.partition("=")[0] == "--api-key":
                raise GenerationError(
                    "--api-key on the command line is visible to every user of the machine; set VIPLLAVA_API_KEY."
                )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def url(self) -> str:
        """What `ChatVipLlava(base_url=...)` takes on this machine."""
        host = "127.0.0.1" if self.host in EVERY_ADDRESS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    def arguments(self, folder: str | None = None) -> list[str]:
        """Return the arguments of vLLM.

        Args:
            folder: where the model is, as the server sees it; None for here.
        """
        layout = self.layout
        arguments = [
            "--model", folder or str(self.model.path),
            "--served-model-name", self.name,
            "--host", self.host,
            "--port", str(self.port),
            "--max-model-len", str(self.model.context),
            "--limit-mm-per-prompt", json.dumps({"image": self.model.images}, separators=(",", ":")),
            "--structured-outputs-config", '{"backend":"guidance"}',
            "--chat-template-content-format", "openai",
            "--enable-scale-out",
            "--enable-prefix-caching",
            "--enable-prompt-tokens-details",
            "--allowed-media-domains", _NO_MEDIA,
            "--mm-processor-cache-gb", "0",
            "--shutdown-timeout", str(_SHUTDOWN_SECONDS),
        ]  # fmt: skip
        if self.model.dtype == "float32":  # vLLM's own choice for these weights is 16 bits, with other answers
            arguments += ["--dtype", "float32"]
        if layout.tensor > 1:
            arguments += ["--tensor-parallel-size", str(layout.tensor)]
        if layout.pipeline > 1:
            arguments += ["--pipeline-parallel-size", str(layout.pipeline)]
        if layout.nodes > 1:
            arguments += ["--nnodes", str(layout.nodes), "--node-rank", str(layout.node_rank)]
            arguments += ["--master-addr", str(layout.master_address), "--master-port", str(layout.master_port)]
        if layout.is_headless:
            arguments += ["--headless"]
        if self.on_cpu:
            arguments += ["--block-size", str(_CPU_BLOCK)]
            if layout.pipeline == 1:  # pipeline parallel needs the compilation there; else it takes 40 s for no gain
                arguments += ["--enforce-eager"]
        return arguments + list(self.extra)

    def command(self, python: str) -> list[str]:
        """Return the whole command.

        Args:
            python: the interpreter of vLLM's environment.
        """
        if self.layout.is_headless:  # only this entry point has nodes without a server
            _, model, *options = self.arguments()
            return [python, "-m", "vllm.entrypoints.cli.main", "serve", model, *options]
        return [python, "-m", "vllm.entrypoints.openai.api_server", *self.arguments()]

    def environment(self) -> Mapping[str, str]:
        """Return what is added to the environment; the API key is not in it."""
        added = {
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",  # all files are in the folder
        }
        if self.on_cpu:  # with vLLM's own binding, several servers on one machine would share cores
            cache = math.ceil(_CPU_CONTEXTS * self.model.context * self.model.kv_bytes / 2**30)
            added |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": str(cache)}
        return added
