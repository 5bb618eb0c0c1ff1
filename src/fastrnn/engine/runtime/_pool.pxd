"""Worker threads: see ``_pool.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._signals cimport Interrupt

ctypedef void (*task_fn)(void *arg, int part) noexcept nogil

# Runs task(arg, 0 .. parts-1) in at most so many threads, the calling one included; returns when all are done. Part 0
# is always the calling thread's. `interrupt`: what the tasks look at to end early, or NULL.
cdef void run(task_fn task, void *arg, int parts, int threads, Interrupt *interrupt) noexcept nogil
# The same in two steps, for tasks that wait for one another: how many threads, at most `workers`, are free now and kept
# for the caller, and running exactly so many.
cdef int reserve(int workers) noexcept nogil
cdef void run_reserved(task_fn task, void *arg, int workers, Interrupt *interrupt) noexcept nogil
# How many workers so many multiply-adds are worth: at least 1, at most the limit.
cdef int workers_for(fr_int madds) noexcept nogil
