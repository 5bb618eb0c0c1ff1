"""Worker threads: see ``_pool.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._signals cimport Interrupt

ctypedef void (*task_fn)(void *arg, int part) noexcept nogil

# Runs task(arg, 0 .. parts-1) in at most `threads` threads, the calling one included; returns when all are done. The
# calling thread always does part 0. `interrupt`: the flag that lets tasks end early, or NULL.
cdef void run(task_fn task, void *arg, int parts, int threads, Interrupt *interrupt) noexcept nogil
# The same in two steps, for tasks that wait for one another: `reserve` keeps the free threads, at most `workers`, for
# the caller and returns their number; `run_reserved` runs that many tasks at the same time.
cdef int reserve(int workers) noexcept nogil
cdef void run_reserved(task_fn task, void *arg, int workers, Interrupt *interrupt) noexcept nogil
# How many workers `madds` multiply-adds are worth: at least 1, at most the limit.
cdef int workers_for(fr_int madds) noexcept nogil
