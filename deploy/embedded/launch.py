"""Become a command that gets a signal when its parent dies: `launch.py PARENT_PID SIGNAL NICENESS COMMAND...`.

A script of its own, run with `python -I -S`: asking for the signal between fork and exec in the parent would run
Python code in a forked process with threads. The request survives exec. Imports nothing of this project.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, signal_number: int, niceness: int, command: list[str]) -> None:
    """Ask for the signal, where this is Linux, look if the parent is still there, step back, and become the command."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    os.nice(niceness)
    os.execvp(command[0], command)  # noqa: S606 - the command is the stack's own, and no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
