"""Sums of a row, in double, and its largest value; in eight chains, because one would wait for each addition."""

from cython cimport floating


cdef inline double product_total(const floating *x, const floating *y, Py_ssize_t n) noexcept nogil:
    """The sum of x y; of x where y is NULL, which the compiler knows once this is inlined."""
    cdef double part[8]
    cdef double total = 0
    cdef Py_ssize_t i, j
    for j in range(8):
        part[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            part[j] += x[i + j] if y == NULL else <double>x[i + j] * y[i + j]
    for i in range(n - n % 8, n):
        part[0] += x[i] if y == NULL else <double>x[i] * y[i]
    for j in range(8):
        total += part[j]
    return total


cdef inline double row_total(const floating *x, Py_ssize_t n) noexcept nogil:
    return product_total(x, <const floating *>NULL, n)


cdef inline floating largest(const floating *x, Py_ssize_t n) noexcept nogil:
    cdef floating part[8]
    cdef Py_ssize_t i, j
    for j in range(8):
        part[j] = x[0]
    for i in range(0, n - 7, 8):
        for j in range(8):
            part[j] = x[i + j] if x[i + j] > part[j] else part[j]
    for i in range(n - n % 8, n):
        part[0] = x[i] if x[i] > part[0] else part[0]
    for j in range(1, 8):
        part[0] = part[j] if part[j] > part[0] else part[0]
    return part[0]
