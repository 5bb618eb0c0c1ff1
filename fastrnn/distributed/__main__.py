"""``mpiexec -n N python -m fastrnn.distributed SCRIPT [ARGUMENTS]`` or ``-m MODULE [ARGUMENTS]``: one rank of a run.

The program runs in a child process. mpiexec kills all of its processes as soon as one is killed; so that the others
can save what has been reached, this process stays in place of a killed child until they have, for 30 s at most.
"""

import os
import signal
import subprocess
import sys
import time

from .guard import PIPE
from .ranks import load_mpi

GRACE = 30.0
WANTED = (-signal.SIGINT, -signal.SIGTERM)  # ends that nobody needs to survive
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def main(arguments):
    """Run the program; returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 2
    load_mpi(start=False)
    pipe, _ = os.pipe()  # the other end closes with this process
    os.set_inheritable(pipe, True)
    environment = {**os.environ, PIPE: str(pipe)}
    command = [sys.executable, "-m", "mpi4py", *arguments]  # which ends all where one fails before it makes its `Ranks`
    # close_fds: the launcher's connections are inherited; a session of its own: the launcher's kill stops at this one
    child = subprocess.Popen(command, env=environment, close_fds=False, start_new_session=True)
    os.close(pipe)
    for name in FORWARDED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: child.send_signal(number))
    status = child.wait()
    if status >= 0:
        return status
    if status not in WANTED:
        print(f"fastrnn: a process was ended by signal {-status}", file=sys.stderr, flush=True)
        time.sleep(GRACE)
    return 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
