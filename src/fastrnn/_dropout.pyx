"""Dropout between layers (Srivastava et al. 2014), without a stored mask.

Whether a value is dropped depends only on the seed, its step, its sequence and its unit, through the SplitMix64 mixer
(Steele, Lea and Flood 2014); so BPTT recomputes the mask, and thread count and row order do not change it.
"""

ctypedef fused real:
    float
    double


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t>0x94d049bb133111eb
    return x ^ (x >> 31)


cdef void drop_rows(real *x, fr_int width, const Rows *rows, double p, uint64_t seed) noexcept nogil:
    cdef uint64_t key, limit = <uint64_t>(p * 16777216.0)
    cdef real scale = <real>(1.0 / (1.0 - p)) if p < 1 else 0
    cdef fr_int t, j, u
    for t in range(rows.steps):
        for j in range(rows.active[t]):
            key = mix(seed + mix((<uint64_t>t << 32) + <uint64_t>rows.seq[j]))
            for u in range(width):
                x[u] = 0 if (mix(key + <uint64_t>u * <uint64_t>0x9e3779b97f4a7c15) >> 40) < limit else x[u] * scale
            x += width


cdef void drop(char *x, int itemsize, fr_int width, const Rows *rows, double p, uint64_t seed) noexcept nogil:
    """x: [N, width] in forward order, in place: each value 0 with probability p, else scaled by 1 / (1 - p)."""
    if itemsize == 4:
        drop_rows(<float *>x, width, rows, p, seed)
    else:
        drop_rows(<double *>x, width, rows, p, seed)
