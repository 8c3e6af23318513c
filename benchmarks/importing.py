"""The time to import the package, in addition to langchain-core, in new processes."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.answering import Row
from benchmarks.timing import measure

CORE = "from langchain_core.language_models import BaseChatModel"
OURS = f"{CORE}; import langchain_vipllava"
LAZY = f"{CORE}; from langchain_vipllava import ChatVipLlava, mark, regions_from"


def rows(repeats: int) -> list[Row]:
    """Measure two rows: the package alone, and the names that most programs import."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  # the constants above

    times = measure({code: partial(run, code) for code in (CORE, OURS, LAZY)}, 3 * repeats)
    names = {OURS: "import langchain_vipllava", LAZY: "import ChatVipLlava, mark, regions_from"}
    return [
        Row(
            name,
            "langchain-core's chat models",
            times[code],
            times[CORE],
            0.0,
            note=f"{(times[code].median - times[CORE].median) * 1e3:.0f} ms in addition",
        )
        for code, name in names.items()
    ]
