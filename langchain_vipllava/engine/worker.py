"""`EngineWorker`: the one thread that runs an engine."""

from __future__ import annotations

import _thread
import atexit
import logging
import threading
from collections import deque
from queue import SimpleQueue

from langchain_vipllava.engine.engine import Engine
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.locks import WeakMethods, in_forked_process

logger = logging.getLogger(__name__)

StopOrder = SimpleQueue[threading.Thread | None]
"""Asks the worker to cancel everything; gets its thread, which then ends. None if it could not start."""


_EXITING = "the model's thread cannot start: the process is exiting."


class EngineWorker:
    """Runs an engine in one thread, which exists while there is work.

    Only the thread that holds `_ownership` touches the engine. A thread takes it itself, without waiting, as its first
    act; one thread too many finds it taken, and ends. No caller ever holds it, nor any other lock here: callers are
    interrupted by signal handlers, which may raise between any two instructions, and only the main thread is. They
    leave what arrives in a deque, and start a thread if nobody owns the engine; whoever gives the engine up looks at
    the deque once more.

    Attributes:
        requests: requests so far, without those that were not looked at yet.
        prompt_tokens: tokens of their prompts.
    """

    def __init__(self, engine: Engine) -> None:
        self.requests = self.prompt_tokens = 0
        self._engine = engine
        self._arrived: deque[Sequence | StopOrder] = deque()
        self._ownership = threading.Lock()
        self._thread: threading.Thread | None = None
        self._unusable: str | None = None
        in_forked_process.add(self._reset)
        _at_exit.add(self.stop)

    @property
    def arrived(self) -> list[Sequence]:
        """Requests that the thread has not looked at yet."""
        return [arrival for arrival in self._arrived.copy() if isinstance(arrival, Sequence)]

    def submit(self, sequence: Sequence) -> None:
        """Run a sequence.

        Raises:
            GenerationError: no thread can start; the process is exiting.
        """
        self.check_not_exiting()
        self._deliver(sequence)

    @staticmethod
    def check_not_exiting() -> None:
        """Refuse a request of a process that exits, before it is encoded.

        Raises:
            GenerationError: the process is exiting. A daemon thread that Python stops in tokenizers 0.22.0 aborts it.
        """
        if _at_exit.begun:
            raise GenerationError(_EXITING)

    def stop(self) -> None:
        """Cancel every request, and wait until the thread ends; the thread itself, as in a callback, only cancels."""
        thread, order = self._thread, StopOrder()
        if self._ownership.locked() or self._has_work:
            try:
                self._deliver(order)
            except GenerationError:  # without a thread, there is nothing to stop
                return
            if thread is threading.current_thread():
                return
            thread = order.get()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def _has_work(self) -> bool:
        return bool(self._arrived) or self._engine.scheduler.has_work

    def _deliver(self, arrival: Sequence | StopOrder) -> None:
        if self._unusable is not None:
            raise GenerationError(self._unusable)
        self._arrived.append(arrival)
        if self._ownership.locked():  # its holder looks at the arrivals after it gave the engine up
            return
        try:
            _thread.start_new_thread(self._start, ())
        except RuntimeError as error:
            try:
                self._arrived.remove(arrival)
            except ValueError:  # another caller's thread has taken it
                return
            raise GenerationError(f"the model's thread cannot start: {error}.") from error

    def _start(self) -> None:
        """Start the thread, from a thread that no signal handler interrupts.

        `Thread.start` waits with locks held; a caller that is interrupted there leaves threads that never run.
        """
        thread = threading.Thread(target=self._work, name="vipllava-engine", daemon=True)
        try:
            thread.start()
        except BaseException as error:
            if thread.ident is None:
                self._refuse(GenerationError(f"the model's thread cannot start: {error}."))

    def _refuse(self, error: GenerationError) -> None:
        """Fail what has arrived, unless a thread that owns the engine runs it."""
        while self._arrived and self._ownership.acquire(blocking=False):
            try:
                for order in self._take(error):
                    order.put(None)
            finally:
                self._ownership.release()

    def _work(self) -> None:
        thread, ownership = threading.current_thread(), self._ownership
        orders: list[StopOrder] = []
        try:
            while not orders and self._has_work and self._own(ownership):
                self._thread = thread
                try:
                    orders = self._run(ownership)
                finally:
                    ownership.release()
        finally:
            if self._has_work and not self._ownership.locked():  # who waits for this thread waits for nobody else
                self._start()
            for order in orders:
                order.put(thread)

    def _own(self, ownership: threading.Lock) -> bool:
        """Take the engine, unless another thread has it, or a fork in a callback left this one to another process."""
        return self._ownership is ownership and ownership.acquire(blocking=False)

    def _run(self, ownership: threading.Lock) -> list[StopOrder]:
        """Run the engine until it has nothing left to do, and return the order to stop that made it end earlier."""
        orders: list[StopOrder] = []
        scheduler = self._engine.scheduler
        while self._ownership is ownership:
            try:
                if not orders:  # what arrives after an order waits until all that came before it has ended
                    orders = self._take(GenerationError(_EXITING) if _at_exit.begun else None)
                if orders:
                    for sequence in (*scheduler.waiting, *scheduler.running):
                        sequence.handle.cancel()
                if not scheduler.has_work:
                    break
                self._engine.step()
            except BaseException as error:  # a Rust panic is no Exception; or every caller would wait indefinitely
                self._abort(error)
        return orders

    def _take(self, refusal: GenerationError | None) -> list[StopOrder]:
        """Put what has arrived into the engine's queue, or refuse it, up to an order to stop, which is returned."""
        while self._arrived:
            try:
                arrival = self._arrived.popleft()
            except IndexError:  # a caller has taken it back
                break
            if not isinstance(arrival, Sequence):
                return [arrival]
            if refusal is not None:
                arrival.fail(refusal)
            else:
                self.requests += 1
                self.prompt_tokens += len(arrival.prompt.ids)
                self._engine.scheduler.waiting.append(arrival)
        return []

    def _abort(self, error: BaseException) -> None:
        scheduler = self._engine.scheduler
        sequences = [*scheduler.running, *scheduler.waiting]
        try:
            self._engine.abort(error)
        except BaseException:  # such as an error that cannot be shown
            logger.debug("cannot explain why the model failed", exc_info=True)
            self._engine.reset()
        for sequence in sequences:  # those that did not get the error
            sequence.fail(GenerationError(f"the model failed: {type(error).__name__}."))

    def _reset(self) -> None:
        """In a forked process: the answers in progress are the parent's, and its thread does not exist here."""
        if self._thread is threading.current_thread():  # which goes on in the middle of a step
            self._unusable = "this process was forked by a callback of an answer; fork in a thread of your own."
        self._ownership = threading.Lock()
        self._thread = None
        self._arrived.clear()
        self._engine.reset()


class _AtExit(WeakMethods):
    """Stops every worker when the process exits.

    A daemon thread that Python stops inside torch's C++ code crashes the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        atexit.register(self.call)

    def call(self) -> None:
        self.begun = True  # from now on, workers refuse what arrives
        super().call()


_at_exit = _AtExit()
