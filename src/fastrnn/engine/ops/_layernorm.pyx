"""Normalisation of rows.  x: [N,H];  scaled[n] = (x[n] - mean[n]) rstd[n],  y = scaled * weight + bias.

Means and variances are accumulated in double, eight sums at a time, whatever the element type.
"""

from cython cimport floating
from libc.math cimport sqrt

from fastrnn.engine.runtime._arrays cimport check_aligned, check_sizes
from fastrnn.engine.runtime._sums cimport product_total, row_total


def forward(floating[:, ::1] scaled not None, floating[::1] rstd not None, const floating[:, ::1] x not None,
            double eps):
    """scaled: [N,H], rstd: [N] = 1 / sqrt(variance + eps) of each row of x: [N,H]; scaled may be x."""
    cdef Py_ssize_t n, j, width = x.shape[1]
    cdef floating *row
    cdef const floating *source
    cdef floating mean, inverse
    check_aligned("scaled", &scaled[0, 0], sizeof(floating))
    check_aligned("rstd", &rstd[0], sizeof(floating))
    check_aligned("x", &x[0, 0], sizeof(floating))
    check_sizes("scaled", x.shape[0], scaled.shape[0])
    check_sizes("scaled", width, scaled.shape[1])
    check_sizes("rstd", x.shape[0], rstd.shape[0])
    if width == 0:
        return
    with nogil:
        for n in range(x.shape[0]):
            row, source = &scaled[n, 0], &x[n, 0]
            mean = <floating>(row_total(source, width) / width)
            for j in range(width):
                row[j] = source[j] - mean
            inverse = <floating>(1 / sqrt(product_total(row, row, width) / width + eps))
            for j in range(width):
                row[j] *= inverse
            rstd[n] = inverse


cdef void _backward_row(floating *dx, floating *dweight, floating *dbias, const floating *dy,
                        const floating *scaled, floating rstd, const floating *weight,
                        Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating mean, slope
    for j in range(width):
        dbias[j] += dy[j]
    for j in range(width):
        dweight[j] += dy[j] * scaled[j]
    for j in range(width):
        dx[j] = dy[j] * weight[j]
    mean = <floating>(row_total(dx, width) / width)
    slope = <floating>(product_total(dx, scaled, width) / width)
    for j in range(width):
        dx[j] = rstd * (dx[j] - mean - scaled[j] * slope)


def backward(floating[:, ::1] dx not None, floating[::1] dweight not None, floating[::1] dbias not None,
             const floating[:, ::1] dy not None, const floating[:, ::1] scaled not None,
             const floating[::1] rstd not None, const floating[::1] weight not None):
    """dx = rstd (g - mean(g) - scaled mean(g scaled)), g = dy weight;  dweight += dy scaled,  dbias += dy.

    dx, dy, scaled: [N,H]; rstd: [N]; dweight, dbias, weight: [H].
    """
    cdef Py_ssize_t n, width = dx.shape[1]
    check_aligned("dx", &dx[0, 0], sizeof(floating))
    check_aligned("dweight", &dweight[0], sizeof(floating))
    check_aligned("dbias", &dbias[0], sizeof(floating))
    check_aligned("dy", &dy[0, 0], sizeof(floating))
    check_aligned("scaled", &scaled[0, 0], sizeof(floating))
    check_aligned("rstd", &rstd[0], sizeof(floating))
    check_aligned("weight", &weight[0], sizeof(floating))
    check_sizes("dy", dx.shape[0], dy.shape[0])
    check_sizes("dy", width, dy.shape[1])
    check_sizes("scaled", dx.shape[0], scaled.shape[0])
    check_sizes("scaled", width, scaled.shape[1])
    check_sizes("rstd", dx.shape[0], rstd.shape[0])
    check_sizes("dweight", width, dweight.shape[0])
    check_sizes("dbias", width, dbias.shape[0])
    check_sizes("weight", width, weight.shape[0])
    if width == 0:
        return
    with nogil:
        for n in range(dx.shape[0]):
            _backward_row(&dx[n, 0], &dweight[0], &dbias[0], &dy[n, 0], &scaled[n, 0], rstd[n], &weight[0],
                          width)
