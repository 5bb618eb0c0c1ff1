"""Signals during long native calls: see ``_signals.pyx``."""

from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._kernels cimport fr_int, fr_load

cdef enum:
    # Multiply-adds between two looks for signals: 1 ms, or 5 ms without vectors (bench/NOTES.md, Looks for signals).
    LOOK_EVERY = 50000000
    # Most multiply-adds of a piece of work that no signal can end: 20 ms, or 100 ms without vectors.
    PIECE = 1000000000
    # Cost of a step besides its products, in multiply-adds: some 40 ns.
    STEP_COST = 2000

cdef struct Interrupt:
    unsigned long caller    # the thread in which Python runs signal handlers
    int stopped             # a handler has raised: every thread of the call ends
    uint64_t due            # time of the next look, in milliseconds of the clock
    uint64_t word           # the caller's floating-point settings, for the handlers

# Prepares `interrupt` for a call of `madds` multiply-adds; NULL if the call is short or outside the main thread.
cdef Interrupt *watch(Interrupt *interrupt, fr_int madds) noexcept
# Whether the call must end. Every 20 ms the calling thread runs the handlers of pending signals.
cdef bint look(Interrupt *interrupt) noexcept nogil
# The same, without waiting for the 20 ms.
cdef bint look_now(Interrupt *interrupt) noexcept nogil
# Passes on the exception that a handler has raised.
cdef int settle(Interrupt *interrupt) except -1


cdef inline bint ended(const Interrupt *interrupt) noexcept nogil:
    """Whether the call must end, without a look for signals."""
    return interrupt != NULL and fr_load(&interrupt.stopped)
