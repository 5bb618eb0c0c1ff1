"""Signals during long native calls: see ``_signals.pyx``."""

from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._kernels cimport fr_int, fr_load

cdef enum:
    # Multiply-adds between two looks, 1 ms at 50 GMAC/s and 5 ms without vector instructions: a look reads a clock.
    LOOK_EVERY = 50000000
    # Multiply-adds of a piece of work that nothing can end early: 20 ms, and 100 ms without vector instructions.
    PIECE = 1000000000
    # What a step costs besides, in multiply-adds: some 40 ns.
    STEP_COST = 2000

cdef struct Interrupt:
    unsigned long caller    # the thread that Python runs signal handlers in; 0: this call looks for none
    int stopped             # a handler has raised: whoever sees it ends
    uint64_t due            # milliseconds of the clock, when to look next
    uint64_t word           # the caller's floating-point settings, for the handlers

# An `interrupt` for a call of so many multiply-adds, or NULL where it is short.
cdef Interrupt *watch(Interrupt *interrupt, fr_int madds) noexcept
# Whether the call is to end. The calling thread runs the handlers of signals that have come, every 20 ms.
cdef bint look(Interrupt *interrupt) noexcept nogil
# The same at once, whenever the last look was.
cdef bint look_now(Interrupt *interrupt) noexcept nogil
# Raises what a handler has raised.
cdef int settle(Interrupt *interrupt) except -1


cdef inline bint ended(const Interrupt *interrupt) noexcept nogil:
    """Whether the call is to end, without looking for signals."""
    return interrupt != NULL and fr_load(&interrupt.stopped)
