/* The parts of a call. The thread that comes first claims a part, so nobody waits for a worker that wakes late: a
 * sleeping thread of a virtual machine takes 0.1 to 0.5 ms to wake (bench/NOTES.md, Claimed parts). */
#ifndef FASTRNN_WORK_H
#define FASTRNN_WORK_H

#include <stdint.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <sched.h>
#include <time.h>
#endif

/* Atomic operations, all in one total order. */
#if defined(__GNUC__)
static inline uint64_t fr_load64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
static inline void fr_store64(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
/* Sets *at to `value` if it is `old`; returns whether it did. */
static inline int fr_swap_if64(uint64_t *at, uint64_t old, uint64_t value)
{
    return __atomic_compare_exchange_n(at, &old, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int fr_load(const int *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
static inline void fr_store(int *at, int value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
static inline int fr_add(int *at, int value) { return __atomic_add_fetch(at, value, __ATOMIC_SEQ_CST); }
static inline int fr_swap(int *at, int value) { return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST); }
#else
#include <intrin.h>
static inline uint64_t fr_load64(const uint64_t *at)
{
    return (uint64_t)_InterlockedCompareExchange64((volatile int64_t *)at, 0, 0);
}
static inline int fr_swap_if64(uint64_t *at, uint64_t old, uint64_t value)
{
    return (uint64_t)_InterlockedCompareExchange64((volatile int64_t *)at, (int64_t)value, (int64_t)old) == old;
}
static inline void fr_store64(uint64_t *at, uint64_t value)
{
    while (!fr_swap_if64(at, fr_load64(at), value))
        ;
}
static inline int fr_load(const int *at) { return _InterlockedOr((volatile long *)at, 0); }
static inline int fr_swap(int *at, int value) { return _InterlockedExchange((volatile long *)at, value); }
static inline void fr_store(int *at, int value) { fr_swap(at, value); }
static inline int fr_add(int *at, int value) { return _InterlockedExchangeAdd((volatile long *)at, value) + value; }
#endif

/* Returns whether the caller is now the only one inside; it must then call fr_leave. Both need the GIL if there is one:
 * plain reads and writes are then enough, 1 ns instead of 8 (bench/NOTES.md, fr_enter). */
static inline int fr_enter(int *inside)
{
#if defined(Py_VERSION_HEX) && !defined(Py_GIL_DISABLED)
    if (*inside)
        return 0;
    *inside = 1;
    return 1;
#else
    return !fr_swap(inside, 1);
#endif
}
static inline void fr_leave(int *inside)
{
#if defined(Py_VERSION_HEX) && !defined(Py_GIL_DISABLED)
    *inside = 0;
#else
    fr_store(inside, 0);
#endif
}

/* One turn of a spinning thread: 10 to 40 ns. */
static inline void fr_pause(void)
{
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ volatile("yield");
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
    _mm_pause();
#endif
}

/* Lets another thread have this CPU. */
static inline void fr_yield(void)
{
#if defined(_WIN32)
    SwitchToThread();
#else
    sched_yield();
#endif
}

/* Milliseconds of a clock that never goes back. */
static inline uint64_t fr_clock(void)
{
#if defined(_WIN32)
    return GetTickCount64();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
#endif
}

/* The work of one call; all zero before first use. Worker 0 is the caller. The call has reserved the workers below
 * `workers`; no other worker takes a part. Part 0 belongs to the caller from the start. */
typedef struct fr_work {
    uint64_t word; /* call number (32 bits), workers (10), parts (11), next part (11) */
    int left, waiting;
} fr_work;

enum { FR_MOST_WORKERS = 1023, FR_MOST_PARTS = 2047 };

static inline int fr_word_workers(uint64_t word) { return (int)(word >> 22 & 0x3ff); }
static inline int fr_word_parts(uint64_t word) { return (int)(word >> 11 & 0x7ff); }
static inline int fr_word_next(uint64_t word) { return (int)(word & 0x7ff); }

/* The word of the call that follows `word`'s call; its next part is 1. */
static inline uint64_t fr_word_open(uint64_t word, int parts, int workers)
{
    return ((word >> 32) + 1) << 32 | (uint64_t)workers << 22 | (uint64_t)parts << 11 | 1;
}

/* Whether worker `who` may take a part. */
static inline int fr_word_offers(uint64_t word, int who)
{
    return who < fr_word_workers(word) && fr_word_next(word) < fr_word_parts(word);
}

static inline void fr_work_open(fr_work *work, int parts, int workers)
{
    fr_store(&work->left, parts);
    fr_store64(&work->word, fr_word_open(fr_load64(&work->word), parts, workers));
}

/* No work and nobody waiting. Also for a child process that was forked during a call of its parent. */
static inline void fr_work_reset(fr_work *work)
{
    fr_store(&work->waiting, 0);
    fr_work_open(work, 0, 0);
}

/* Claims a part for worker `who` and returns it, or -1 if there is none. A word read in one call claims no part of the
 * next. */
static inline int fr_work_claim(fr_work *work, int who)
{
    uint64_t word;
    do {
        word = fr_load64(&work->word);
        if (!fr_word_offers(word, who))
            return -1;
    } while (!fr_swap_if64(&work->word, word, word + 1));
    return fr_word_next(word);
}

/* Call when a claimed part is finished. Returns whether the caller sleeps and must be woken. */
static inline int fr_work_done(fr_work *work) { return fr_add(&work->left, -1) == 0 && fr_swap(&work->waiting, 0); }

/* Spins for at most `turns` turns until worker `who` may take a part; returns whether it may. */
static inline int fr_work_watch(fr_work *work, int who, int turns)
{
    for (; !fr_word_offers(fr_load64(&work->word), who); turns--) {
        if (turns == 0)
            return 0;
        fr_pause();
    }
    return 1;
}

/* Spins for at most `turns` turns until all parts are finished; returns whether they are. */
static inline int fr_work_finished(fr_work *work, int turns)
{
    for (; fr_load(&work->left) != 0; turns--) {
        if (turns == 0)
            return 0;
        fr_pause();
    }
    return 1;
}

/* A thread calls fr_sleep_begin before it sleeps. It and its waker may both call fr_sleep_end: the first gets 1. */
static inline void fr_sleep_begin(int *asleep) { fr_store(asleep, 1); }
static inline int fr_sleep_end(int *asleep) { return fr_swap(asleep, 0); }

#endif
