"""How much memory a device has left, within what a container may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

_ROOT = Path("/")


def free_bytes(device: str) -> int:
    """Return the free memory of a device in bytes; for "cpu" and "mps" what this process can still get."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # noqa: PLC0415  # not needed on a CUDA device

    return min([int(psutil.virtual_memory().available), *container_rooms()])


def container_rooms(root: Path = _ROOT) -> Iterator[int]:
    """Yield how many bytes are left in each control group of this process that has a limit.

    A container sees the memory of its host, and is killed at its own limit. Files that the kernel may drop from memory
    count as free, those in use lately too, as in the available memory of a machine: else the weights that one process
    has read would refuse the next one.

    Args:
        root: where `/proc` and `/sys` are.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":  # version 2
            names, prefix = ("memory.max", "memory.current"), ""
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "memory" in controllers.split(","):
            names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
            mounts = ["sys/fs/cgroup/memory"]
        else:
            continue
        group = Path(path.lstrip("/"))
        for mount in mounts:
            # a limit holds for all groups below; a container may see only the top
            for folder in (group, *group.parents):
                yield from _room(root / mount / folder, *names, [f"{prefix}inactive_file", f"{prefix}active_file"])


def _room(folder: Path, limit_name: str, usage_name: str, file_names: list[str]) -> Iterator[int]:
    limit, usage = _read(folder / limit_name).strip(), _read(folder / usage_name).strip()
    if limit.isdigit() and usage.isdigit():  # "max" is no limit
        stat = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
        yield max(int(limit) - int(usage) + sum(int(stat.get(name, 0)) for name in file_names), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):  # not Linux, or not allowed
        return ""
