"""Worker threads for whole sequences.

A call reserves some of the pool's threads. They and the caller claim its parts one by one, so a call never waits for a
thread that wakes late; no other thread takes a part. Part 0 is always the caller's. Workers watch for the next call for
about 20 us and then sleep, so they take no CPU from another library's threads. A caller watches for the last part of
its own call for about 4 ms. Workers never touch Python objects. A second Python thread that calls while the pool is
busy does its work alone. After a fork the child starts without workers and makes its own when it needs them.

`tests/pool_model.c` checks every interleaving of the operations below and in `work.h`: change both together.
"""

import os

from fastrnn.engine.runtime._kernels cimport (
    FR_CALLER, FR_MOST_PARTS, FR_NOBODY, FR_WORKER, flush_begin, flush_end, fr_load, fr_sleep_begin, fr_sleep_end,
    fr_store, fr_work, fr_work_claim, fr_work_done, fr_work_finished, fr_work_open, fr_work_reset, fr_work_watch,
    fr_yield, keep_apart, play)
from fastrnn.engine.runtime._signals cimport Interrupt, look

cdef enum:
    MAX_WORKERS = 256
    # Least multiply-adds of a worker: waking one costs about 10 us (bench/NOTES.md, Work for a worker).
    WORTH_A_WORKER = 500000
    PATIENCE = 1000     # turns of about 20 ns that a worker spins before it sleeps
    # Rounds of WATCH turns, about 0.2 ms each, that a caller waits before it sleeps: in turn with NumPy 1.15 to 1.25
    # times the sum of both, 2.2 without (bench/NOTES.md, How long threads spin).
    ROUNDS = 20
    WATCH = 10000
    NAP = 10000         # microseconds that a caller sleeps before it looks for signals

# CPython's own portable threads and locks; none of these needs the GIL.
cdef extern from "Python.h" nogil:
    ctypedef void *PyThread_type_lock
    int WAIT_LOCK, NOWAIT_LOCK, PY_LOCK_ACQUIRED
    PyThread_type_lock PyThread_allocate_lock() noexcept
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) noexcept
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr) noexcept
    void PyThread_release_lock(PyThread_type_lock lock) noexcept
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept nogil, void *arg) noexcept

cdef struct Worker:
    PyThread_type_lock wake     # held; a release wakes the worker once
    int asleep
    int number

cdef Worker _workers[MAX_WORKERS]
cdef int _started = 1           # worker 0 is the caller
cdef int _limit = 1
cdef PyThread_type_lock _busy = NULL
cdef PyThread_type_lock _finished = NULL    # held; its release wakes a caller whose last part is done
cdef fr_work _work
cdef task_fn _task = NULL
cdef void *_arg = NULL


cdef inline void _do_part(int part) noexcept nogil:
    _task(_arg, part)
    if fr_work_done(&_work):
        PyThread_release_lock(_finished)


cdef inline void _do_parts(int who) noexcept nogil:
    """Do parts of the call until this thread may take no more."""
    cdef int part = fr_work_claim(&_work, who)
    while part >= 0:
        keep_apart()
        _do_part(part)
        part = fr_work_claim(&_work, who)


cdef void _serve(void *which) noexcept nogil:
    cdef Worker *me = <Worker *>which
    flush_begin()
    play(FR_WORKER)
    while True:
        _do_parts(me.number)
        if fr_work_watch(&_work, me.number, PATIENCE):
            continue
        fr_sleep_begin(&me.asleep)
        # Work that was opened before fr_sleep_begin does not wake this thread.
        if fr_work_watch(&_work, me.number, 0) and fr_sleep_end(&me.asleep):
            continue
        PyThread_acquire_lock(me.wake, WAIT_LOCK)


cdef void _await(Interrupt *interrupt) noexcept nogil:
    """Wait until every part is done; a signal meanwhile ends the parts early."""
    cdef int patience = ROUNDS
    while not fr_work_finished(&_work, WATCH):
        look(interrupt)
        patience -= 1
        if patience > 0:
            fr_yield()      # with more threads than CPUs, a worker may need this one
            continue
        fr_sleep_begin(&_work.waiting)
        if fr_work_finished(&_work, 0) and fr_sleep_end(&_work.waiting):
            break
        if interrupt != NULL:
            if PyThread_acquire_lock_timed(_finished, NAP, 0) == PY_LOCK_ACQUIRED:
                continue
            if fr_sleep_end(&_work.waiting):
                continue        # no worker has woken this thread, and none will
        PyThread_acquire_lock(_finished, WAIT_LOCK)


cdef int _grow(int workers) noexcept nogil:
    """Start threads until `workers` exist; return how many there are then."""
    global _started
    cdef Worker *w
    while _started < workers:
        w = &_workers[_started]
        if w.wake == NULL:
            w.wake = PyThread_allocate_lock()
            if w.wake == NULL:
                break
            PyThread_acquire_lock(w.wake, WAIT_LOCK)
        w.asleep = 0
        w.number = _started
        if PyThread_start_new_thread(&_serve, w) == <unsigned long>-1:
            break       # the next try uses the same lock
        _started += 1
    return _started


cdef void _open(task_fn task, void *arg, int parts, int workers) noexcept nogil:
    """Start `workers` threads, the caller included, on the parts."""
    global _task, _arg
    cdef int i
    _task = task
    _arg = arg
    play(FR_CALLER)
    fr_work_open(&_work, parts, workers)
    for i in range(1, workers):
        if fr_sleep_end(&_workers[i].asleep):
            PyThread_release_lock(_workers[i].wake)


cdef void _close(Interrupt *interrupt) noexcept nogil:
    """Wait for the last part and free the pool for the next call."""
    _await(interrupt)
    play(FR_NOBODY)
    PyThread_release_lock(_busy)


cdef void _alone(task_fn task, void *arg, int parts) noexcept nogil:
    cdef int part
    for part in range(parts):
        task(arg, part)


cdef int reserve(int workers) noexcept nogil:
    if workers < 2 or _busy == NULL or not PyThread_acquire_lock(_busy, NOWAIT_LOCK):
        return 1
    workers = min(_grow(workers), workers)
    if workers < 2:
        PyThread_release_lock(_busy)
    return workers


cdef void run_reserved(task_fn task, void *arg, int workers, Interrupt *interrupt) noexcept nogil:
    cdef unsigned long long word = flush_begin()
    if interrupt != NULL:
        interrupt.word = word
    if workers < 2:
        _alone(task, arg, workers)
    else:
        _open(task, arg, workers, workers)
        _do_part(0)     # only one, because the parts wait for one another
        _close(interrupt)
    flush_end(word)


cdef void run(task_fn task, void *arg, int parts, int threads, Interrupt *interrupt) noexcept nogil:
    cdef unsigned long long word = flush_begin()
    cdef int workers = reserve(min(parts, threads)) if parts <= FR_MOST_PARTS else 1
    if interrupt != NULL:
        interrupt.word = word
    if workers < 2:
        _alone(task, arg, parts)
    else:
        _open(task, arg, parts, workers)
        _do_part(0)
        _do_parts(0)
        _close(interrupt)
    flush_end(word)


cdef int workers_for(fr_int madds) noexcept nogil:
    return <int>max(1, min(<fr_int>fr_load(&_limit), madds // WORTH_A_WORKER))


def set_limit(int n):
    """Let calls use up to `n` threads (1 to MOST), the calling one included."""
    if n < 1 or n > MAX_WORKERS:
        raise ValueError(f"n: expected an int of 1 to {MAX_WORKERS}, found {n}")
    fr_store(&_limit, n)


def limit():
    """How many threads a call may use."""
    return fr_load(&_limit)


def _start_over():
    # After a fork the parent's threads do not exist here, and its locks may stay held for ever.
    global _started, _busy, _finished
    cdef int i
    for i in range(MAX_WORKERS):
        _workers[i].wake = NULL
    _started = 1
    _busy = PyThread_allocate_lock()
    _finished = PyThread_allocate_lock()
    if _busy == NULL or _finished == NULL:
        _busy = NULL        # calls run alone
    else:
        PyThread_acquire_lock(_finished, WAIT_LOCK)
    fr_work_reset(&_work)   # no worker may take a part of a call that the parent was in


MOST = MAX_WORKERS
_start_over()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
del _start_over     # only for forks: a call while workers are busy would replace their locks
