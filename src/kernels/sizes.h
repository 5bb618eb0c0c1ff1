/* Sizes of memory: products that cannot wrap, and checks of debug builds. */
#ifndef FASTRNN_SIZES_H
#define FASTRNN_SIZES_H

#include "kernels.h"
#include <stddef.h>

/* With -DFR_DEBUG: if `holds` is false, prints `what` and aborts the process. Otherwise does nothing. */
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

/* Stands for every size that is negative or larger than any memory. */
#define FR_TOO_MUCH ((size_t)-1 / 2)

/* a * b */
static inline size_t fr_times(size_t a, size_t b) { return b > 0 && a > FR_TOO_MUCH / b ? FR_TOO_MUCH : a * b; }

/* a * b for a, b >= 0, at most FR_TOO_MUCH / 4, so that the sum of a few products cannot overflow. */
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
