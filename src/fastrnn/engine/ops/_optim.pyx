"""Fused parameter updates in one pass over each array: p: [n] is updated in place, g: [n] times scale is the gradient.

`fastrnn.optim` has the formulas. The arrays of one call have the same length and do not overlap.
"""

from cython cimport floating
from libc.float cimport DBL_MAX, DBL_MIN, FLT_MAX, FLT_MIN
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._arrays cimport check_aligned, check_sizes
from fastrnn.engine.runtime._kernels cimport flush_begin, flush_end
from fastrnn.engine.runtime._sums cimport product_total


cdef inline floating _sqrt(floating x) noexcept nogil:
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline floating _within(floating *like, double x) noexcept nogil:
    """x clamped to the finite numbers of this type: an infinite rate times a gradient of 0 would be NaN."""
    cdef double most = FLT_MAX if floating is float else DBL_MAX
    return <floating>min(max(x, -most), most)


cdef inline floating _above_zero(floating *like, double eps) noexcept nogil:
    """eps, at least the smallest normal number of this type, because 0 / 0 would be NaN."""
    return <floating>max(eps, FLT_MIN if floating is float else DBL_MIN)


cdef void _sgd(floating *p, const floating *g, Py_ssize_t n, floating scale, floating lr,
               floating decay) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] -= lr * (scale * g[i] + decay * p[i])


cdef void _sgd_momentum(floating *p, floating *velocity, const floating *g, Py_ssize_t n, floating scale,
                        floating lr, floating momentum, floating decay, bint nesterov) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating d
    if nesterov:
        for i in range(n):
            d = scale * g[i] + decay * p[i]
            velocity[i] = momentum * velocity[i] + d
            p[i] -= lr * (d + momentum * velocity[i])
    else:
        for i in range(n):
            velocity[i] = momentum * velocity[i] + (scale * g[i] + decay * p[i])
            p[i] -= lr * velocity[i]


cdef void _adam(floating *p, floating *mean, floating *square, const floating *g, Py_ssize_t n, floating scale,
                floating step, floating beta1, floating beta2, floating one_minus1, floating one_minus2, floating root,
                floating eps, floating decay, floating shrink) noexcept nogil:
    # step = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t)
    cdef Py_ssize_t i
    cdef floating d
    for i in range(n):
        d = scale * g[i] + decay * p[i]
        mean[i] = beta1 * mean[i] + one_minus1 * d
        square[i] = beta2 * square[i] + one_minus2 * d * d
        p[i] = shrink * p[i] - step * mean[i] / (_sqrt(square[i]) * root + eps)


cdef void _rmsprop(floating *p, floating *square, floating *mean, floating *velocity, const floating *g,
                   Py_ssize_t n, floating scale, floating lr, floating alpha, floating one_minus, floating eps,
                   floating momentum, floating decay) noexcept nogil:
    # mean: NULL unless centred; velocity: NULL unless momentum is used
    cdef Py_ssize_t i
    cdef floating d, variance
    for i in range(n):
        d = scale * g[i] + decay * p[i]
        square[i] = alpha * square[i] + one_minus * d * d
        variance = square[i]
        if mean != NULL:
            mean[i] = alpha * mean[i] + one_minus * d
            variance = variance - mean[i] * mean[i]
            variance = variance if variance > 0 else 0
        d = d / (_sqrt(variance) + eps)
        if velocity != NULL:
            velocity[i] = momentum * velocity[i] + d
            d = velocity[i]
        p[i] -= lr * d


cdef void _adagrad(floating *p, floating *total, const floating *g, Py_ssize_t n, floating scale, floating lr,
                   floating eps, floating decay) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating d
    for i in range(n):
        d = scale * g[i] + decay * p[i]
        total[i] += d * d
        p[i] -= lr * d / (_sqrt(total[i]) + eps)


cdef bint _all_finite(const floating *x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= x[i] - x[i] != 0  # inf - inf and nan - nan are nan
    return not bad


def sgd(floating[::1] p not None, floating[::1] velocity, const floating[::1] g not None, double scale, double lr,
        double momentum, double decay, bint nesterov):
    """velocity = momentum velocity + d, p -= lr velocity, d = scale g + decay p.  No velocity: None."""
    cdef Py_ssize_t n = p.shape[0]
    check_aligned("p", &p[0], sizeof(floating))
    if velocity is not None:
        check_aligned("velocity", &velocity[0], sizeof(floating))
    check_aligned("g", &g[0], sizeof(floating))
    check_sizes("g", n, g.shape[0])
    if velocity is not None:
        check_sizes("velocity", n, velocity.shape[0])
    if n == 0:
        return
    cdef uint64_t word = flush_begin()
    if velocity is None:
        with nogil:
            _sgd(&p[0], &g[0], n, <floating>scale, _within(&p[0], lr), _within(&p[0], decay))
    else:
        with nogil:
            _sgd_momentum(&p[0], &velocity[0], &g[0], n, <floating>scale, _within(&p[0], lr), <floating>momentum,
                          _within(&p[0], decay), nesterov)
    flush_end(word)


def adam(floating[::1] p not None, floating[::1] mean not None, floating[::1] square not None,
         const floating[::1] g not None, double scale, long long t, double lr, double beta1, double beta2, double eps,
         double decay, double decoupled_decay):
    """Adam's update number t = 1, 2, ...; decay adds to the gradient, decoupled_decay (AdamW) shrinks p."""
    cdef Py_ssize_t n = p.shape[0]
    cdef double step = lr / (1 - beta1 ** t), root = 1 / sqrt(1 - beta2 ** t)
    check_aligned("p", &p[0], sizeof(floating))
    check_aligned("mean", &mean[0], sizeof(floating))
    check_aligned("square", &square[0], sizeof(floating))
    check_aligned("g", &g[0], sizeof(floating))
    check_sizes("g", n, g.shape[0])
    check_sizes("mean", n, mean.shape[0])
    check_sizes("square", n, square.shape[0])
    if n == 0:
        return
    cdef uint64_t word = flush_begin()
    with nogil:
        _adam(&p[0], &mean[0], &square[0], &g[0], n, <floating>scale, _within(&p[0], step), <floating>beta1,
              <floating>beta2, <floating>(1 - beta1), <floating>(1 - beta2), _within(&p[0], root),
              _above_zero(&p[0], eps), _within(&p[0], decay), _within(&p[0], 1 - lr * decoupled_decay))
    flush_end(word)


def rmsprop(floating[::1] p not None, floating[::1] square not None, floating[::1] mean, floating[::1] velocity,
            const floating[::1] g not None, double scale, double lr, double alpha, double eps, double momentum,
            double decay):
    """RMSprop's update; mean is None unless centred, velocity is None without momentum."""
    cdef Py_ssize_t n = p.shape[0]
    check_aligned("p", &p[0], sizeof(floating))
    check_aligned("square", &square[0], sizeof(floating))
    if mean is not None:
        check_aligned("mean", &mean[0], sizeof(floating))
    if velocity is not None:
        check_aligned("velocity", &velocity[0], sizeof(floating))
    check_aligned("g", &g[0], sizeof(floating))
    check_sizes("g", n, g.shape[0])
    check_sizes("square", n, square.shape[0])
    if n == 0:
        return
    cdef uint64_t word
    cdef floating *mean_ptr = NULL
    cdef floating *velocity_ptr = NULL
    if mean is not None:
        check_sizes("mean", n, mean.shape[0])
        mean_ptr = &mean[0]
    if velocity is not None:
        check_sizes("velocity", n, velocity.shape[0])
        velocity_ptr = &velocity[0]
    word = flush_begin()
    with nogil:
        _rmsprop(&p[0], &square[0], mean_ptr, velocity_ptr, &g[0], n, <floating>scale, _within(&p[0], lr),
                 <floating>alpha, <floating>(1 - alpha), _above_zero(&p[0], eps), <floating>momentum,
                 _within(&p[0], decay))
    flush_end(word)


def adagrad(floating[::1] p not None, floating[::1] total not None, const floating[::1] g not None, double scale,
            double lr, double eps, double decay):
    """total += d^2, p -= lr d / (sqrt(total) + eps), with d = scale g + decay p."""
    cdef Py_ssize_t n = p.shape[0]
    check_aligned("p", &p[0], sizeof(floating))
    check_aligned("total", &total[0], sizeof(floating))
    check_aligned("g", &g[0], sizeof(floating))
    check_sizes("g", n, g.shape[0])
    check_sizes("total", n, total.shape[0])
    if n == 0:
        return
    cdef uint64_t word = flush_begin()
    with nogil:
        _adagrad(&p[0], &total[0], &g[0], n, <floating>scale, _within(&p[0], lr), _above_zero(&p[0], eps),
                 _within(&p[0], decay))
    flush_end(word)


def sum_squares(const floating[::1] x not None):
    """Sum of the squares of x, accumulated in double."""
    cdef double total = 0
    check_aligned("x", &x[0], sizeof(floating))
    if x.shape[0]:
        with nogil:
            total = product_total(&x[0], &x[0], x.shape[0])
    return total


def all_finite(const floating[::1] x not None):
    """True when x holds neither NaN nor an infinity."""
    cdef bint finite = True
    check_aligned("x", &x[0], sizeof(floating))
    if x.shape[0]:
        with nogil:
            finite = _all_finite(&x[0], x.shape[0])
    return finite
