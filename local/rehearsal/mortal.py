"""`python -m local.rehearsal.mortal PARENT MODULE …`: run a module that ends when the process PARENT ends.

The kernel sends SIGTERM when the parent dies, however it dies, so a rehearsal leaves nothing running. The child asks
for it itself: asking between fork and exec would run the parent's fork handlers, and gRPC's abort in such a child.
"""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Source: prctl(2); Linux only, elsewhere the child is ended by the rehearsal alone."""


def main() -> None:
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            raise SystemExit(1)
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
