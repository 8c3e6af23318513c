"""The command of a server as text: for a shell, for Docker, for a cluster."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from langchain_vipllava.errors import GenerationError
from langchain_vipllava.serving.vllm_command import API_KEY, VLLM_VERSION, VllmCommand

IMAGE = f"vllm/vllm-openai:v{VLLM_VERSION}"
"""Container image of vLLM's releases; its entry point is the server."""

_MODEL = "/model"
"""Where a container sees the exported folder."""

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # inside a container; outside it is published on loopback
_STARTUP_SECONDS = 1800
"""Seconds in which a cluster lets a server start. Chosen: 13B weights from a slow volume, and compilation."""


def write_shell(command: VllmCommand, python: str) -> str:
    """Write the command for a shell, one option on a line; with several nodes, that of every node."""
    texts = []
    for rank in range(command.layout.node_rank, command.layout.nodes if not command.layout.node_rank else 0):
        one = replace(command, layout=replace(command.layout, node_rank=rank))
        texts.append((f"# node {rank}\n" if command.layout.nodes > 1 else "") + _one_shell(one, python))
    return "\n".join(texts or [_one_shell(command, python)])


def _one_shell(command: VllmCommand, python: str) -> str:
    settings = [f"{name}={shlex.quote(value)}" for name, value in command.environment().items()]
    words = command.command(python)
    first = next(index for index, word in enumerate(words) if word.startswith("--"))
    lines = [shlex.join(words[:first]), *_lines(words[first:])]
    return " \\\n    ".join([" ".join([*settings, lines[0]]), *lines[1:]]) + "\n"


def write_docker(command: VllmCommand, python: str) -> str:
    """Write a `docker run` command; it publishes the port where the server would listen, on loopback by default."""
    del python
    inside = _inside(command)
    options = [
        "docker run --rm --ipc host",
        "--gpus all",
        f"--publish {shlex.quote(_published(command))}",
        f"--volume {shlex.quote(f'{command.model.path}:{_MODEL}:ro')}",
        f"--env {API_KEY}",
        *(f"--env {name}={value}" for name, value in inside.environment().items()),
        IMAGE,
    ]
    return " \\\n    ".join([*options, *_lines(inside.arguments(_MODEL))]) + "\n"


def write_compose(command: VllmCommand, python: str) -> str:
    """Write a compose file with one service."""
    del python
    inside = _inside(command)
    return f"""\
services:
  vllm:
    image: {IMAGE}
    ipc: host
    command:
{_yaml_list(inside.arguments(_MODEL), 6, "$$")}
    environment:
      {API_KEY}: "${{{API_KEY}:-}}"
{_yaml_pairs(inside.environment(), 6)}
    ports:
      - {json.dumps(_published(command))}
    volumes:
      - {json.dumps(f"{command.model.path}:{_MODEL}:ro")}
    healthcheck:
      test: ["CMD", "curl", "--fail", "--silent", "http://127.0.0.1:{command.port}/health"]
      interval: 10s
      start_period: {_STARTUP_SECONDS}s
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: {command.layout.gpus_per_node}
              capabilities: [gpu]
"""


def write_kubernetes(command: VllmCommand, python: str) -> str:
    """Write a deployment and a service; the folder is on a volume claim, the API key in a secret of the same name."""
    del python
    inside = _inside(command)
    name = re.sub(r"[^a-z0-9]+", "-", command.name.lower()).strip("-")[:50] or "vipllava"
    return f"""\
# the exported folder is on the volume claim {name}-model, the API key in a secret:
# kubectl create secret generic {name} --from-literal=api-key=...
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 1
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: vllm
          image: {IMAGE}
          args:
{_yaml_list(inside.arguments(_MODEL), 12)}
          env:
            - name: {API_KEY}
              valueFrom:
                secretKeyRef: {{name: {name}, key: api-key}}
{_yaml_named(inside.environment(), 12)}
          ports:
            - containerPort: {command.port}
          resources:
            limits:
              nvidia.com/gpu: {command.layout.gpus_per_node}
          startupProbe:
            httpGet: {{path: /health, port: {command.port}}}
            periodSeconds: 10
            failureThreshold: {_STARTUP_SECONDS // 10}
          readinessProbe:
            httpGet: {{path: /health, port: {command.port}}}
          livenessProbe:
            httpGet: {{path: /health, port: {command.port}}}
            failureThreshold: 6
          volumeMounts:
            - {{name: model, mountPath: {_MODEL}, readOnly: true}}
            - {{name: shm, mountPath: /dev/shm}}
      volumes:
        - name: model
          persistentVolumeClaim: {{claimName: {name}-model, readOnly: true}}
        - name: shm
          emptyDir: {{medium: Memory}}
---
{_service(command, name)}"""


def _service(command: VllmCommand, name: str) -> str:
    return f"""\
# headless: a client sees the address of every replica, and keeps a conversation on one
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  clusterIP: None
  selector: {{app: {name}}}
  ports:
    - port: {command.port}
"""


WRITERS: Mapping[str, Callable[[VllmCommand, str], str]] = MappingProxyType(
    {"shell": write_shell, "docker": write_docker, "compose": write_compose, "kubernetes": write_kubernetes}
)


def _expect_one_node(command: VllmCommand) -> None:
    if command.layout.nodes > 1:
        raise GenerationError("several nodes are printed as shell commands only: --print shell.")


def _inside(command: VllmCommand) -> VllmCommand:
    """Return the command of a server in a container with GPUs."""
    _expect_one_node(command)
    return replace(command, host=_EVERYWHERE, on_cpu=False)


def _published(command: VllmCommand) -> str:
    return f"{f'[{command.host}]' if ':' in command.host else command.host}:{command.port}:{command.port}"


def _lines(arguments: Sequence[str]) -> list[str]:
    """Write each option with its value."""
    lines: list[str] = []
    for argument in arguments:
        if argument.startswith("--") or not lines:
            lines.append(shlex.quote(argument))
        else:
            lines[-1] += f" {shlex.quote(argument)}"
    return lines


def _yaml_list(values: Sequence[str], indent: int, dollar: str = "$") -> str:
    """Write a list; JSON's strings are YAML's. Compose reads a `$` as the start of a variable, and `$$` as a `$`."""
    return "\n".join(f"{' ' * indent}- {json.dumps(value).replace('$', dollar)}" for value in values)


def _yaml_pairs(values: Mapping[str, str], indent: int) -> str:
    return "\n".join(f"{' ' * indent}{name}: {json.dumps(value)}" for name, value in values.items())


def _yaml_named(values: Mapping[str, str], indent: int) -> str:
    pad = " " * indent
    return "\n".join(f"{pad}- name: {name}\n{pad}  value: {json.dumps(value)}" for name, value in values.items())
