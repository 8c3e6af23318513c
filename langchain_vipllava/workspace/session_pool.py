"""`SessionPool`: the sessions of a workspace, bounded in number and in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from weakref import WeakValueDictionary

from langchain_vipllava.locks import fork_safe_lock
from langchain_vipllava.workspace.limits import SessionLimits
from langchain_vipllava.workspace.session import Session, SessionStorage
from langchain_vipllava.workspace.session_id import RunSession, SessionKey, session_key


class SessionPool:
    """Sessions by id; the least recently used are evicted first.

    Args:
        limits: how much is remembered.
        storage: where sessions outlive the process, and their eviction here.
    """

    def __init__(self, limits: SessionLimits, storage: SessionStorage | None = None) -> None:
        self.shared = Session(limits)
        self._limits, self._storage = limits, storage
        self._sessions: OrderedDict[SessionKey, Session] = OrderedDict()
        self._live: WeakValueDictionary[SessionKey, Session] = (
            WeakValueDictionary()
        )  # evicted ones that a call still uses
        self._lock = fork_safe_lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionPool:
        """Shared by copies of whatever holds it."""
        return self

    def peek(self, session: object) -> Session:
        """Return the session with an id if there is one, else a new one that is not remembered."""
        key = session_key(session)
        with self._lock:
            return self._live.get(key) or self._new(key)

    def get(self, session: object) -> Session:
        """Return the session with an id, a new one if need be; None is the program's own.

        Raises:
            SessionError: an id that cannot be one.
            ImageError: the session is stored and cannot be read.
        """
        key = session_key(session)
        with self._lock:
            found = self._live.get(key) or self._new(key)
            self._live[key] = self._sessions[key] = found
            self._sessions.move_to_end(key)
            self._evict()
        found.load()  # outside of the lock: others need not wait for a disk
        return found

    def fit(self, session: Session) -> None:
        """Bring a session, and then all of them together, within their limits in bytes."""
        session.fit(self.shared.images())
        with self._lock:
            self._evict()

    def forget(self, session: object) -> None:
        """Forget a session, also where it is stored."""
        self.peek(session).forget_all()
        with self._lock:
            self._sessions.pop(session_key(session), None)

    def clear(self) -> None:
        """Forget all sessions in memory, and what the program shares."""
        with self._lock:
            self._sessions.clear()
            self.shared = Session(self._limits)

    def _evict(self) -> None:
        for key in [key for key in self._sessions if isinstance(key, RunSession) and key.ended]:
            del self._sessions[key]
        held = sum(session.held for session in self._sessions.values())
        while len(self._sessions) > self._limits.max_sessions or (
            held > self._limits.max_bytes and len(self._sessions) > 1
        ):
            _, evicted = self._sessions.popitem(last=False)
            held -= evicted.held

    def _new(self, key: SessionKey) -> Session:
        if key is None or isinstance(key, RunSession):  # these end with this process
            return Session(self._limits)
        return Session(self._limits, key, self._storage)
