"""Worker threads for whole sequences.

Workers sleep on a lock between calls and never spin, so that they take nothing from another library's threads. They
never touch Python objects. A second Python thread that calls while the pool is busy runs its work by itself. After a
fork the child starts without workers and makes its own when first needed.
"""

import os

from fastrnn._kernels cimport flush_begin, flush_end

cdef enum:
    MAX_WORKERS = 256
    # Multiply-adds a worker must have to be woken: a wake-up costs about 10 us, the time of 0.5 million at 50 GMAC/s.
    WORTH_A_WORKER = 500000

# CPython's own portable threads and locks; none of these needs the GIL.
cdef extern from "Python.h" nogil:
    ctypedef void *PyThread_type_lock
    int WAIT_LOCK, NOWAIT_LOCK
    PyThread_type_lock PyThread_allocate_lock() noexcept
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) noexcept
    void PyThread_release_lock(PyThread_type_lock lock) noexcept
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept nogil, void *arg) noexcept

cdef struct Worker:
    PyThread_type_lock wake     # held while there is nothing to do
    PyThread_type_lock done     # held until the task is finished
    int index

cdef Worker _workers[MAX_WORKERS]
cdef int _started = 1           # worker 0 is the caller
cdef int _limit = 1
cdef PyThread_type_lock _busy = NULL
cdef task_fn _task = NULL
cdef void *_arg = NULL


cdef void _serve(void *which) noexcept nogil:
    cdef Worker *me = <Worker *>which
    flush_begin()
    while True:
        PyThread_acquire_lock(me.wake, WAIT_LOCK)
        _task(_arg, me.index)
        PyThread_release_lock(me.done)


cdef int _grow(int workers) noexcept nogil:
    """Start threads until `workers` exist; the number there are then."""
    global _started
    cdef Worker *w
    while _started < workers:
        w = &_workers[_started]
        w.index = _started
        w.wake = PyThread_allocate_lock()
        w.done = PyThread_allocate_lock()
        if w.wake == NULL or w.done == NULL:
            break
        PyThread_acquire_lock(w.wake, WAIT_LOCK)
        PyThread_acquire_lock(w.done, WAIT_LOCK)
        if PyThread_start_new_thread(&_serve, w) == <unsigned long>-1:
            break
        _started += 1
    return _started


cdef int reserve(int workers) noexcept nogil:
    if workers < 2 or not PyThread_acquire_lock(_busy, NOWAIT_LOCK):
        return 1
    workers = min(_grow(workers), workers)
    if workers < 2:
        PyThread_release_lock(_busy)
    return workers


cdef void run_reserved(task_fn task, void *arg, int workers) noexcept nogil:
    global _task, _arg
    cdef unsigned long long word = flush_begin()
    cdef int i
    if workers > 1:
        _task = task
        _arg = arg
        for i in range(1, workers):
            PyThread_release_lock(_workers[i].wake)
    task(arg, 0)
    if workers > 1:
        for i in range(1, workers):
            PyThread_acquire_lock(_workers[i].done, WAIT_LOCK)
        PyThread_release_lock(_busy)
    flush_end(word)


cdef void run(task_fn task, void *arg, int workers) noexcept nogil:
    cdef unsigned long long word
    cdef int i, helpers = reserve(workers)
    run_reserved(task, arg, helpers)
    if helpers < workers:
        word = flush_begin()
        for i in range(helpers, workers):
            task(arg, i)
        flush_end(word)


cdef int workers_for(fr_int madds) noexcept nogil:
    return <int>max(1, min(_limit, madds // WORTH_A_WORKER))


def set_limit(int n):
    """Let calls use up to `n` threads (1 to MOST), the calling one included."""
    global _limit
    _limit = n


def limit():
    """How many threads a call may use."""
    return _limit


def _after_fork():
    # The parent's threads do not exist here, and its locks may be held for ever.
    global _started, _busy
    _started = 1
    _busy = PyThread_allocate_lock()


MOST = MAX_WORKERS
_busy = PyThread_allocate_lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
