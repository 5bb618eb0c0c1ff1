"""The process that `python -m fastrnn.distributed` leaves between the launcher and a rank, seen from the rank."""

import os
import threading
import time

PIPE = "FASTRNN_GUARD"  # descriptor of a pipe whose other end is open as long as that process runs
EXIT_CODE = 70  # of a rank that ends because another did
PATIENCE = 10.0  # seconds that a rank has to save what it can once its launcher has ended the run

_gone = threading.Event()


def watch():
    """Look at the pipe from now on, in a thread, where there is one."""
    descriptor = os.environ.pop(PIPE, "")
    if descriptor:
        os.set_inheritable(int(descriptor), False)
        threading.Thread(target=_look, args=(int(descriptor),), daemon=True).start()


def gone():
    """Whether the launcher has ended the run."""
    return _gone.is_set()


def _look(descriptor):
    os.read(descriptor, 1)
    _gone.set()
    time.sleep(PATIENCE)
    os._exit(EXIT_CODE)  # a rank that hangs must not outlive its run
