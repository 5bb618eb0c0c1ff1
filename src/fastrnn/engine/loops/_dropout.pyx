"""Dropout between layers (Srivastava et al. 2014), without a stored mask.

The seed, the step, the sequence and the unit alone determine whether a value is dropped, through the SplitMix64 mixer
(Steele, Lea and Flood 2014). So BPTT recomputes the mask, and thread count and row order do not change it.
"""

ctypedef fused real:
    float
    double


cdef inline void drop_row(real *x, fr_int width, uint64_t key, uint64_t limit, real scale) noexcept nogil:
    cdef fr_int u
    for u in range(width):
        x[u] = 0 if drawn(key, u, limit) else x[u] * scale


cdef void drop_rows(real *x, fr_int width, const Rows *rows, fr_int first, double p, uint64_t seed) noexcept nogil:
    cdef uint64_t limit = limit_of(p)
    cdef real scale = <real>scale_of(p)
    cdef fr_int t, j
    for t in range(rows.steps):
        for j in range(rows.active[t]):
            drop_row(x, width, row_key(seed, first + t, rows.seq[j]), limit, scale)
            x += width


cdef void drop(char *x, int itemsize, fr_int width, const Rows *rows, fr_int first, double p,
               uint64_t seed) noexcept nogil:
    """Set each value of x: [N, width], in forward order, to 0 with probability p, else multiply it by 1 / (1 - p).
    `first` is the number of the first step."""
    if itemsize == 4:
        drop_rows(<float *>x, width, rows, first, p, seed)
    else:
        drop_rows(<double *>x, width, rows, first, p, seed)


cdef void drop_sequence(const View *x, int itemsize, fr_int width, fr_int b, fr_int steps, fr_int first, double p,
                        uint64_t seed) noexcept nogil:
    cdef uint64_t key, limit = limit_of(p)
    cdef double scale = scale_of(p)
    cdef fr_int t
    for t in range(steps):
        key = row_key(seed, first + t, b)
        if itemsize == 4:
            drop_row(<float *>at(x, t, b), width, key, limit, <float>scale)
        else:
            drop_row(<double *>at(x, t, b), width, key, limit, scale)
