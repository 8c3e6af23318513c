"""Whose session a call uses: a thread's, a named one of the program, or that of one run of an agent."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from uuid import UUID

from langchain_vipllava.errors import SessionError, shorten

MAX_ID = 1000
"""Characters of a session's id. Chosen: a URL with a UUID or two; an id is text that a client may choose."""


@dataclass(frozen=True)
class ProgramSession:
    """A session that the program names. No thread id names it, whatever it says.

    Attributes:
        name: any text.
    """

    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _checked(self.name, "session"))


class RunSession:
    """The session of one run. It is forgotten when the run is over, and never stored.

    Args:
        run: an object that lives as long as the run, and belongs to it alone.
    """

    def __init__(self, run: object) -> None:
        self._run = weakref.ref(run)
        self._hash = id(run)

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self._run() is None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunSession):
            return NotImplemented
        run = self._run()  # an ended run equals nothing: its address may be that of a later one
        return self is other or (run is not None and run is other._run())

    def __hash__(self) -> int:
        return self._hash


StoredKey = str | ProgramSession
"""A session that can outlive the process."""

SessionKey = str | ProgramSession | RunSession | None
"""One session. The kinds never equal each other; None is the program's own session, of this process."""


SessionId = SessionKey | int | UUID
"""A session as callers name it: LangGraph's thread ids may be numbers and UUIDs."""


def session_key(session: object) -> SessionKey:
    """Check a session's id, as a caller has it.

    Args:
        session: text, or a whole number or UUID, which LangGraph's thread ids may be; None is the program's own.

    Raises:
        SessionError: empty, too long, or of another type.
    """
    if session is None or isinstance(session, (ProgramSession, RunSession)):
        return session
    if isinstance(session, (int, UUID)) and not isinstance(session, bool):
        try:
            return _checked(str(session), "thread_id")
        except ValueError as error:  # an integer of more than 4300 digits
            raise SessionError(f"thread_id={shorten(session)}; expected at most {MAX_ID} digits.") from error
    return _checked(session, "thread_id")


def _checked(session: object, what: str) -> str:
    if not isinstance(session, str):
        raise SessionError(f"{what}={shorten(session)}; expected text, a whole number or a UUID.")
    if not session.strip():
        # an id that a client failed to send: everybody without one would share a session
        raise SessionError(f"{what}={shorten(session)} is empty; expected an id that one user or conversation has.")
    if len(session) > MAX_ID:
        raise SessionError(f"{what} has {len(session)} characters; expected at most {MAX_ID}. Pass a hash of it.")
    return str(session)
