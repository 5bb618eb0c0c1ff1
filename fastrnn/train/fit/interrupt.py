"""Interrupts that wait until an update is complete."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def deferred_interrupt():
    """Let a first interrupt wait for the next call of the function that this yields, so that no update is cut in two.

    Works only in the main thread and with Python's own handler, which it restores at the end.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    pending = False

    def remember(signum, frame):
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True

    def check():
        if pending:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
