"""The command line: `langchain-vipllava demo | mark | ask | chat | doctor | export | serve | bench | mcp | studio`.

Light on purpose: Ctrl-C is taken care of before anything else is imported.
"""

from langchain_vipllava.apps.cli import exits


def main() -> None:
    """Run the command line, and end the process with its status.

    0 is success, 1 an error of ours, 2 a wrong use of the options, 130 an interrupt, 141 a reader that has gone away.
    """
    exits.end_on_interrupt()
    import gc  # noqa: PLC0415  # after Ctrl-C is taken care of
    import sys  # noqa: PLC0415

    # Measured with `python -m benchmarks.startup`: collecting garbage is a tenth of the time of the imports, and
    # threads of OpenMP that wait by spinning make the first answer on a busy machine 1.7 s instead of 0.05 s.
    gc.disable()
    exits.set_default("OMP_WAIT_POLICY", "PASSIVE")
    exits.set_default("TQDM_DELAY", "1")  # a progress bar only for what takes longer than a second
    from langchain_vipllava.apps.cli.app import run  # noqa: PLC0415

    exits.leave(run(sys.argv[1:]))
