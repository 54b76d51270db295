"""Becomes `relayd run`, tied to the sandbox: should the sandbox be killed, the kernel ends the daemon too.

A program of its own, because a process can only ask this for itself, and Python can run nothing safely between fork
and exec in a program with threads. What was asked survives the exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        # The sandbox was gone before the line above.
        sys.exit(1)
os.execv(sys.executable, [sys.executable, "-m", "relayd", "run"])  # noqa: S606 - our own program
