/* Sizes of memory: products that cannot wrap, and checks that a debug build makes. */
#ifndef FASTRNN_SIZES_H
#define FASTRNN_SIZES_H

#include "kernels.h"
#include <stddef.h>

/* Built with -DFR_DEBUG the process ends where `holds` is false, and says what did not fit; otherwise nothing is done. */
#if defined(FR_DEBUG)
#include <stdio.h>
#include <stdlib.h>
static inline void fr_must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fastrnn: %s\n", what);
        abort();
    }
}
#else
static inline void fr_must(int holds, const char *what)
{
    (void)holds;
    (void)what;
}
#endif

/* More than any memory has: sizes that would be larger, or below 0, are this. */
#define FR_TOO_MUCH ((size_t)-1 / 2)

/* a * b */
static inline size_t fr_times(size_t a, size_t b) { return b > 0 && a > FR_TOO_MUCH / b ? FR_TOO_MUCH : a * b; }

/* a * b of counts of at least 0, at most a quarter of what there can be: some of them may be added up. */
static inline fr_int fr_product(fr_int a, fr_int b)
{
    const size_t product = fr_times((size_t)a, (size_t)b);
    return (fr_int)(product < FR_TOO_MUCH / 4 ? product : FR_TOO_MUCH / 4);
}

/* The bytes of [rows, columns] elements of `size` bytes. */
static inline size_t fr_bytes(fr_int rows, fr_int columns, fr_int size)
{
    if (rows < 0 || columns < 0 || size < 0)
        return FR_TOO_MUCH;
    return fr_times(fr_times((size_t)rows, (size_t)columns), (size_t)size);
}

#endif
