"""The masks' random numbers, and dropout between layers; see ``_dropout.pyx``."""

from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._rows cimport Rows, View, at


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t>0x94d049bb133111eb
    return x ^ (x >> 31)


cdef inline uint64_t row_key(uint64_t seed, fr_int t, fr_int sequence) noexcept nogil:
    """The key of the random numbers of one row: step t of a sequence."""
    return mix(seed + mix((<uint64_t>t << 32) + <uint64_t>sequence))


cdef inline uint64_t limit_of(double p) noexcept nogil:
    return <uint64_t>(p * 16777216.0)


cdef inline bint drawn(uint64_t key, fr_int u, uint64_t limit) noexcept nogil:
    """True for unit u with probability p, where limit is limit_of(p)."""
    return (mix(key + <uint64_t>u * <uint64_t>0x9e3779b97f4a7c15) >> 40) < limit


cdef inline double scale_of(double p) noexcept nogil:
    """The factor of the values that are kept."""
    return 1.0 / (1.0 - p) if p < 1 else 0


# As `drop`, but for the `steps` steps of sequence b in the caller's array.
cdef void drop_sequence(const View *x, int itemsize, fr_int width, fr_int b, fr_int steps, fr_int first, double p,
                        uint64_t seed) noexcept nogil
cdef void drop(char *x, int itemsize, fr_int width, const Rows *rows, fr_int first, double p,
               uint64_t seed) noexcept nogil
