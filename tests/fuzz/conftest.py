"""Fuzzing: short in the normal tests, long with `FUZZ=long` (`make fuzz`), with a summary of every class in JSON.

Every class of input is a test that calls `fuzz.try_input` for each input. What the input causes is an answer, or an
error of LangChain's tree or ours ("handled"); anything else has "escaped" and fails the test.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from langchain_core.exceptions import LangChainException
from langchain_core.tools import ToolException

from langchain_vipllava import VipLlavaError
from langchain_vipllava.errors import MAX_MESSAGE

LONG = os.environ.get("FUZZ") == "long"
SUMMARY = Path(os.environ.get("FUZZ_SUMMARY", "build/fuzz.json"))

_COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("fuzz-short", max_examples=40, derandomize=True, **_COMMON)
settings.register_profile("fuzz-long", max_examples=5000, **_COMMON)

HANG_SECONDS = 30
"""An input that takes longer counts as a hang. Chosen: hundreds of times what the slowest takes on an idle machine."""


@dataclass
class Fuzz:
    """Counts what the inputs of one class did.

    Attributes:
        name: of the class.
        tried: inputs.
        answered: inputs that had a result.
        handled: inputs that were refused by an error of the two trees.
        escaped: inputs that raised anything else.
        hangs: inputs that took more than `HANG_SECONDS`.
        worst_seconds: the longest time that an input took.
        worst_bytes: the most memory that Python allocated for an input; measured for a tenth of them.
        grown_bytes: by how much the peak memory of the process grew over the class, decoders and all; 0 where an
            earlier class needed as much.
    """

    name: str
    tried: int = 0
    answered: int = 0
    handled: int = 0
    escaped: int = 0
    hangs: int = 0
    worst_seconds: float = 0.0
    worst_bytes: int = 0
    grown_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    def rng(self) -> random.Random:
        """A generator with the seed of the class."""
        return random.Random(f"{self.name} {os.environ.get('FUZZ_SEED', '1')}")

    def rounds(self, short: int) -> range:
        """How many inputs to try: some, or fifty times as many."""
        return range(short * 50 if LONG else short)

    def try_input(self, call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """Call with one input; return the result, or None for an error of the two trees."""
        self.tried += 1
        traced = self.tried % 10 == 1  # tracing slows everything down
        if traced:
            tracemalloc.start()
        start = time.perf_counter()
        result = None
        try:
            result = call(*arguments, **settings)
            self.answered += 1
        except (VipLlavaError, LangChainException, ToolException) as error:
            self.handled += 1
            if isinstance(error, VipLlavaError) and (len(str(error)) > MAX_MESSAGE or " at 0x" in str(error)):
                self._escape(arguments, settings, error)
        except Exception as error:
            self._escape(arguments, settings, error)
        finally:
            seconds = time.perf_counter() - start
            if traced:
                self.worst_bytes = max(self.worst_bytes, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            self.worst_seconds = max(self.worst_seconds, seconds)
            self.hangs += seconds > HANG_SECONDS
        return result

    def _escape(self, arguments: Any, settings: Any, error: Exception) -> None:
        self.escaped += 1
        if len(self.failures) < 5:
            try:
                shown = repr((arguments, settings))[:500]
            except Exception:
                shown = "an input that cannot be shown"
            trace = "".join(traceback.format_exception(error, limit=-4))[-1500:]
            self.failures.append(f"{shown}\n{trace}")


_ALL: dict[str, Fuzz] = {}


@pytest.fixture(autouse=True)
def _profile() -> Iterator[None]:
    before = settings.get_current_profile_name()
    settings.load_profile("fuzz-long" if LONG else "fuzz-short")
    yield
    settings.load_profile(before)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Iterator[Fuzz]:
    """The counts of this test's class of inputs; the test fails if anything escaped or hung."""
    name = request.node.name.removeprefix("test_")
    counts = _ALL.setdefault(name, Fuzz(name))
    before = _peak_bytes()
    yield counts
    counts.grown_bytes += _peak_bytes() - before
    assert counts.escaped == 0, "\n\n".join(counts.failures)
    assert counts.hangs == 0
    assert counts.tried


def _peak_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was tried, where `FUZZ_SUMMARY` or a long run asks for it."""
    if _ALL and (LONG or "FUZZ_SUMMARY" in os.environ):
        SUMMARY.parent.mkdir(parents=True, exist_ok=True)
        rows = [{key: value for key, value in asdict(counts).items() if key != "failures"} for counts in _ALL.values()]
        SUMMARY.write_text(json.dumps({"profile": "long" if LONG else "short", "classes": rows}, indent=2) + "\n")
