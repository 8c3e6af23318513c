"""In which session a tool call runs: that of its LangGraph thread, else that of its agent's run."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_vipllava.errors import SessionError
from langchain_vipllava.workspace.session_id import ProgramSession, RunSession, SessionKey, session_key


def session_of(config: RunnableConfig | None, default: ProgramSession | None = None) -> SessionKey:
    """Return the session of a tool call; two runs of an agent without a thread id have two.

    Args:
        config: of the call, as LangChain passes it.
        default: the session of calls without a thread id, where the program names one.

    Raises:
        SessionError: an id that cannot be one; or no id, no default, and no LangGraph run around the call.
    """
    configurable = (config or {}).get("configurable") or {}
    thread_id = configurable.get("thread_id")
    if thread_id is not None:
        return session_key(thread_id)
    if default is not None:
        return default
    run = _run_of(configurable)
    if run is None:
        raise SessionError(
            "nothing says whose images this call may use. Pass config={'configurable': {'thread_id': ...}}, one id per "
            "user or conversation; or name the session of a program with one user: VipLlavaToolkit(session='...')."
        )
    return RunSession(run)


def _run_of(configurable: Mapping[str, Any]) -> object | None:
    """Return an object that one LangGraph run owns, from its start to its end; None outside of one.

    LangGraph has no id for a run without a checkpointer: run ids are optional and chosen by callers, checkpoint and
    task ids change with each step, and a `RunControl` may be shared. What it makes anew for each run is the function
    that writes to the run's custom stream; a subgraph has its own. Seen in langgraph 1.0.0 to 1.2.22.
    """
    writer = getattr(configurable.get("__pregel_runtime"), "stream_writer", None)
    is_made_for_a_run = (
        isinstance(writer, FunctionType)
        and writer.__module__ == "langgraph.pregel.main"  # not the default of a Runtime, which all share
        and "<locals>" in writer.__qualname__
    )
    return writer if is_made_for_a_run else None
