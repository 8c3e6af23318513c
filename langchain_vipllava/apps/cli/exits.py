"""How the process ends: at once, by Ctrl-C at any moment, or because its reader has gone away."""

# not `signal`: its enums take as long to import as starting Python
import _signal as signal  # type: ignore[import-not-found]  # CPython has it, typeshed not
import os
import sys

INTERRUPTED = 130
"""Status after Ctrl-C: 128 + SIGINT, as shells report it."""

BROKEN_PIPE = 141
"""Status when nobody reads the output any more: 128 + SIGPIPE, as shells report it."""

_at_prompt = _is_watched = False


def set_default(name: str, value: str) -> None:
    """Set a variable of the environment, unless the user did."""
    os.environ.setdefault(name, value)


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process with status 130, wherever it is.

    The handler raises nothing: an exception in the middle of an import or of a finalizer would be printed, or lost.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored, as by nohup, it stays so
        signal.signal(signal.SIGINT, _interrupted)


def read_line(prompt: str) -> "str | None":
    """Read a line from a person at a terminal; None at the end. Ctrl-C ends the process, its terminal in order."""
    global _at_prompt  # noqa: PLW0603  # a signal handler gets no argument of ours
    _end_at_prompt()
    try:
        _at_prompt = True
        line = input(prompt)
    except EOFError:
        return None
    finally:
        _at_prompt = False
    return line


def _end_at_prompt() -> None:
    """Let a thread end the process when Ctrl-C is pressed at the prompt.

    Python's handler may come too late there: it runs between two steps of Python, and a signal that arrives right
    before readline waits for a key is handled at the next key.
    """
    global _is_watched  # noqa: PLW0603
    if _is_watched or signal.getsignal(signal.SIGINT) is not _interrupted:
        return
    import termios  # noqa: PLC0415  # only where a person types
    import threading  # noqa: PLC0415

    settings = termios.tcgetattr(0)
    signals, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written)  # every signal with a Python handler is written there as it arrives

    def wait() -> None:
        while signal.SIGINT not in os.read(signals, 64) or not _at_prompt:
            pass  # elsewhere, the handler is in time
        termios.tcsetattr(0, termios.TCSADRAIN, settings)  # readline has changed them
        end_now(INTERRUPTED)

    threading.Thread(target=wait, name="vipllava-interrupt", daemon=True).start()
    _is_watched = True


def _interrupted(number: int, frame: object) -> None:
    del number, frame
    if not _at_prompt:
        end_now(INTERRUPTED)


def end_now(status: int) -> None:
    """End the process with what is written so far, and nothing else."""
    _flush()
    os._exit(status)


def leave(status: int) -> None:
    """End the process after its work is done: what must run at exit runs, but nothing is taken apart.

    Taking torch apart takes 0.85 s. A thread of somebody else's, as of a detector, is waited for.
    """
    import atexit  # noqa: PLC0415  # Ctrl-C is taken care of without these two
    import threading  # noqa: PLC0415

    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        sys.exit(status)
    atexit._run_exitfuncs()
    end_now(status if _flush() else BROKEN_PIPE)


def _flush() -> bool:
    """Flush what was written; return whether somebody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            return False
        except (AttributeError, OSError, RuntimeError, ValueError):  # closed, or interrupted in the middle of a write
            continue
    return True
