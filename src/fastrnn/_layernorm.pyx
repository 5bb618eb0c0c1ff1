"""Normalisation of rows.  x: [N,H];  scaled[n] = (x[n] - mean[n]) rstd[n],  y = scaled * weight + bias.

Means and variances are accumulated in double, eight sums at a time, whatever the element type.
"""

from cython cimport floating
from libc.math cimport sqrt


cdef inline double _sum(const floating *x, Py_ssize_t n) noexcept nogil:
    cdef double part[8]
    cdef double total = 0
    cdef Py_ssize_t i, j
    for j in range(8):
        part[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            part[j] += x[i + j]
    for i in range(n - n % 8, n):
        part[0] += x[i]
    for j in range(8):
        total += part[j]
    return total


cdef inline double _sum_product(const floating *x, const floating *y, Py_ssize_t n) noexcept nogil:
    cdef double part[8]
    cdef double total = 0
    cdef Py_ssize_t i, j
    for j in range(8):
        part[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            part[j] += <double>x[i + j] * y[i + j]
    for i in range(n - n % 8, n):
        part[0] += <double>x[i] * y[i]
    for j in range(8):
        total += part[j]
    return total


def forward(floating[:, ::1] scaled, floating[::1] rstd, const floating[:, ::1] x, double eps):
    """scaled: [N,H], rstd: [N] = 1 / sqrt(variance + eps) of each row of x: [N,H]; scaled may be x."""
    cdef Py_ssize_t n, j, width = x.shape[1]
    cdef floating mean, inverse
    if width == 0:
        return
    with nogil:
        for n in range(x.shape[0]):
            mean = <floating>(_sum(&x[n, 0], width) / width)
            for j in range(width):
                scaled[n, j] = x[n, j] - mean
            inverse = <floating>(1 / sqrt(_sum_product(&scaled[n, 0], &scaled[n, 0], width) / width + eps))
            for j in range(width):
                scaled[n, j] *= inverse
            rstd[n] = inverse


def backward(floating[:, ::1] dx, floating[::1] dweight, floating[::1] dbias, const floating[:, ::1] dy,
             const floating[:, ::1] scaled, const floating[::1] rstd, const floating[::1] weight):
    """dx = rstd (g - mean(g) - scaled mean(g scaled)), g = dy weight;  dweight += dy scaled,  dbias += dy.

    dx, dy, scaled: [N,H]; rstd: [N]; dweight, dbias, weight: [H].
    """
    cdef Py_ssize_t n, j, width = dx.shape[1]
    cdef floating mean, slope
    if width == 0:
        return
    with nogil:
        for n in range(dx.shape[0]):
            for j in range(width):
                dx[n, j] = dy[n, j] * weight[j]
                dweight[j] += dy[n, j] * scaled[n, j]
                dbias[j] += dy[n, j]
            mean = <floating>(_sum(&dx[n, 0], width) / width)
            slope = <floating>(_sum_product(&dx[n, 0], &scaled[n, 0], width) / width)
            for j in range(width):
                dx[n, j] = rstd[n] * (dx[n, j] - mean - scaled[n, j] * slope)
