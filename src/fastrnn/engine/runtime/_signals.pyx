"""Signals during long native calls.

Python runs signal handlers in the main thread, between two of its own instructions: a native call of many seconds would
delay Ctrl-C until its end. So a long call of the main thread looks for signals itself, from within its loops, and ends
early when a handler raises; the other threads of the call see the flag. The caller then discards the unfinished
results. Calls of a few milliseconds do not look.
"""

import os
import threading

from fastrnn.engine.runtime._kernels cimport flush_begin, flush_end, fr_clock, fr_store

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef enum:
    EVERY = 20      # milliseconds

cdef unsigned long _main


cdef Interrupt *watch(Interrupt *interrupt, fr_int madds) noexcept:
    cdef unsigned long me
    if madds < 2 * LOOK_EVERY:
        return NULL
    me = PyThread_get_thread_ident()
    if me != _main:
        return NULL
    interrupt.caller = me
    interrupt.stopped = 0
    interrupt.due = fr_clock() + EVERY
    interrupt.word = 0
    return interrupt


cdef bint look(Interrupt *interrupt) noexcept nogil:
    if interrupt == NULL:
        return False
    if fr_load(&interrupt.stopped):
        return True
    if interrupt.caller != PyThread_get_thread_ident() or fr_clock() < interrupt.due:
        return False
    flush_end(interrupt.word)
    with gil:
        if PyErr_CheckSignals() != 0:
            fr_store(&interrupt.stopped, 1)
    flush_begin()
    interrupt.due = fr_clock() + EVERY
    return fr_load(&interrupt.stopped)


cdef bint look_now(Interrupt *interrupt) noexcept nogil:
    if interrupt != NULL:
        interrupt.due = 0
    return look(interrupt)


cdef int settle(Interrupt *interrupt) except -1:
    return -1 if ended(interrupt) else 0


def _find_main():
    # After a fork the thread that forked is the main thread.
    global _main
    _main = threading.main_thread().ident


_find_main()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_find_main)
