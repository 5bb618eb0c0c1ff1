"""Worker threads that sleep between calls: see ``_pool.pyx``."""

from fastrnn._kernels cimport fr_int

ctypedef void (*task_fn)(void *arg, int worker) noexcept nogil

# Runs task(arg, 0 .. workers-1), worker 0 in the calling thread; returns when all are done.
cdef void run(task_fn task, void *arg, int workers) noexcept nogil
# The same in two steps, for tasks that wait for one another: how many threads, at most `workers`, are free now and kept
# for the caller, and running exactly so many.
cdef int reserve(int workers) noexcept nogil
cdef void run_reserved(task_fn task, void *arg, int workers) noexcept nogil
# How many workers so many multiply-adds are worth: at least 1, at most the limit.
cdef int workers_for(fr_int madds) noexcept nogil
