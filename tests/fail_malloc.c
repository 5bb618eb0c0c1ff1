/* Lets chosen allocations fail: preloaded by test_faults.py and fault_job.py. glibc only. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { MOST_RANGES = 256 };

/* Code whose allocations count: bounds of a range, one pair after another. */
static uintptr_t ranges[2 * MOST_RANGES];
static int range_count = 0;
static long seen = 0, first = 0, last = 0;
static int armed = 0;

int fault_code(const uintptr_t *bounds, int count)
{
    if (count > MOST_RANGES)
        return -1;
    for (int i = 0; i < 2 * count; i++)
        ranges[i] = bounds[i];
    range_count = count;
    return 0;
}

/* From now on allocations number `from` to `to`, counted from 1, fail. */
void fault_arm(long from, long to)
{
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
    first = from;
    last = to;
    __atomic_store_n(&armed, 1, __ATOMIC_SEQ_CST);
}

/* None fails any more: how many have been asked for. */
long fault_disarm(void)
{
    __atomic_store_n(&armed, 0, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&seen, __ATOMIC_SEQ_CST);
}

static int fails(void *caller)
{
    if (!__atomic_load_n(&armed, __ATOMIC_SEQ_CST))
        return 0;
    for (int i = 0; i < range_count; i++)
        if ((uintptr_t)caller >= ranges[2 * i] && (uintptr_t)caller < ranges[2 * i + 1]) {
            const long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
            if (number < first || number > last)
                return 0;
            errno = ENOMEM;
            return 1;
        }
    return 0;
}

#define FAILS fails(__builtin_return_address(0))

void *malloc(size_t n) { return FAILS ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return FAILS ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return FAILS ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return FAILS ? NULL : __libc_memalign(align, n); }
int posix_memalign(void **p, size_t align, size_t n)
{
    if (FAILS)
        return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}
