from fastrnn._kernels cimport fr_int
from fastrnn._rows cimport Rows
from libc.stdint cimport uint64_t

cdef void drop(char *x, int itemsize, fr_int width, const Rows *rows, double p, uint64_t seed) noexcept nogil
