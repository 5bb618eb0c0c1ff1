"""Losses fused with their gradients: a function returns the sum of the losses, in double, and writes the gradient."""

from cython cimport floating
from libc.math cimport exp, log, log1p
from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._arrays cimport check_aligned, check_sizes
from fastrnn.engine.runtime._kernels cimport flush_begin, flush_end, kernels
from fastrnn.engine.runtime._sums cimport largest, row_total


cdef double _cross_entropy_row(floating *dlogits, const floating *logits, Py_ssize_t target,
                               Py_ssize_t classes, const double *class_weight, double class_total,
                               double smoothing, double scale) noexcept nogil:
    # loss = (1 - smoothing) c[t] nll[t] + smoothing / K * sum_k c[k] nll[k]
    # nll[k] = log(sum_j exp(x[j])) - x[k].  dlogits may be logits, which are not read once dlogits are written.
    cdef Py_ssize_t k
    cdef floating top = largest(logits, classes)
    cdef double total, log_total, loss, hit = 1 - smoothing, spread = smoothing / classes, shifted = 0
    cdef floating factor, even, wanted = logits[target] - top
    if smoothing != 0:
        for k in range(classes):    # sum of c[k] (x[k] - top)
            shifted += (logits[k] - top) if class_weight == NULL else class_weight[k] * (logits[k] - top)
    for k in range(classes):
        dlogits[k] = logits[k] - top
    kernels(sizeof(floating)).map_exp(dlogits, dlogits, classes)
    total = row_total(dlogits, classes)
    log_total = log(total)
    if class_weight != NULL:
        hit *= class_weight[target]
    loss = hit * (log_total - wanted) + spread * (class_total * log_total - shifted)
    factor = <floating>(scale * (hit + spread * class_total) / total)
    if smoothing == 0:
        for k in range(classes):
            dlogits[k] *= factor
    elif class_weight == NULL:
        even = <floating>(scale * spread)
        for k in range(classes):
            dlogits[k] = dlogits[k] * factor - even
    else:
        for k in range(classes):
            dlogits[k] = dlogits[k] * factor - <floating>(scale * spread * class_weight[k])
    dlogits[target] -= <floating>(scale * hit)
    return loss


def cross_entropy(floating[:, ::1] dlogits not None, const floating[:, ::1] logits not None,
                  const long long[::1] target not None, const double[::1] weight, const double[::1] class_weight,
                  double smoothing, double scale):
    """Sum over rows n of weight[n] times the softmax cross-entropy; dlogits = scale times its gradient.

    dlogits, logits: [N,K], perhaps the same; target: [N], in 0 .. K-1 where weight is not 0; weight: [N] or None;
    class_weight: [K] or None. A row of weight 0 is not read and has gradient 0.
    """
    cdef Py_ssize_t n, k, classes = logits.shape[1], rows = logits.shape[0]
    cdef double total = 0, row = 1, class_total = classes
    cdef const double *class_ptr = NULL
    cdef bint outside = False
    check_aligned("dlogits", &dlogits[0, 0], sizeof(floating))
    check_aligned("logits", &logits[0, 0], sizeof(floating))
    check_aligned("target", &target[0], sizeof(long long))
    if weight is not None:
        check_aligned("weight", &weight[0], sizeof(double))
    if class_weight is not None:
        check_aligned("class_weight", &class_weight[0], sizeof(double))
    check_sizes("dlogits", rows, dlogits.shape[0])
    check_sizes("dlogits", classes, dlogits.shape[1])
    check_sizes("target", rows, target.shape[0])
    if weight is not None:
        check_sizes("weight", rows, weight.shape[0])
    if class_weight is not None:
        check_sizes("class_weight", classes, class_weight.shape[0])
    for n in range(rows):
        if weight is None or weight[n] != 0:
            outside |= <unsigned long long>target[n] >= <unsigned long long>classes
    if outside:
        raise ValueError(f"target: expected ints in 0 .. {classes - 1}, found others")
    if classes == 0:
        return 0.0
    if class_weight is not None:
        class_ptr = &class_weight[0]
        class_total = 0
        for k in range(classes):
            class_total += class_weight[k]
    cdef uint64_t word = flush_begin()
    with nogil:
        for n in range(logits.shape[0]):
            if weight is not None:
                row = weight[n]
            if row == 0:
                for k in range(classes):
                    dlogits[n, k] = 0
            else:
                total += row * _cross_entropy_row(&dlogits[n, 0], &logits[n, 0], target[n], classes,
                                                  class_ptr, class_total, smoothing, scale * row)
    flush_end(word)
    return total


def log_likelihood(double[::1] out not None, floating[:, ::1] logits not None, const long long[::1] target not None):
    """out[n] = log(softmax(logits[n]))[target[n]]; logits become the gradient of it.

    out, target: [N]; logits: [N,K]. A logit of -inf is a class left out.
    """
    cdef Py_ssize_t n, classes = logits.shape[1], rows = logits.shape[0]
    cdef bint outside = False
    check_sizes("out", rows, out.shape[0])
    check_sizes("target", rows, target.shape[0])
    if rows == 0:
        return
    check_aligned("out", &out[0], sizeof(double))
    check_aligned("logits", &logits[0, 0], sizeof(floating))
    check_aligned("target", &target[0], sizeof(long long))
    for n in range(rows):
        outside |= <unsigned long long>target[n] >= <unsigned long long>classes
    if outside:
        raise ValueError(f"target: expected ints in 0 .. {classes - 1}, found others")
    cdef uint64_t word = flush_begin()
    with nogil:
        for n in range(rows):
            out[n] = -_cross_entropy_row(&logits[n, 0], &logits[n, 0], target[n], classes, NULL, classes, 0, -1)
    flush_end(word)


def binary_cross_entropy(floating[::1] dlogits not None, const floating[::1] logits not None,
                         const floating[::1] target not None, const double[::1] weight, double positive, double scale):
    """Sum of weight (positive t softplus(-x) + (1 - t) softplus(x)); dlogits = scale times its gradient.

    dlogits, logits (x), target (t, in 0 .. 1): [N]; weight: [N] or None; positive: factor of the terms with t.
    An element of weight 0 is not read and has gradient 0.
    """
    cdef Py_ssize_t n
    cdef double total = 0, row = 1, x, on, off, e, tail, slope
    check_aligned("dlogits", &dlogits[0], sizeof(floating))
    check_aligned("logits", &logits[0], sizeof(floating))
    check_aligned("target", &target[0], sizeof(floating))
    if weight is not None:
        check_aligned("weight", &weight[0], sizeof(double))
    check_sizes("dlogits", logits.shape[0], dlogits.shape[0])
    check_sizes("target", logits.shape[0], target.shape[0])
    if weight is not None:
        check_sizes("weight", logits.shape[0], weight.shape[0])
    cdef uint64_t word = flush_begin()
    with nogil:
        for n in range(logits.shape[0]):
            if weight is not None:
                row = weight[n]
            if row == 0:
                dlogits[n] = 0
                continue
            x = logits[n]
            on = positive * target[n]
            off = 1 - target[n]
            e = exp(-x if x > 0 else x)  # exp(-|x|), so softplus(x) = max(x, 0) + log1p(e)
            tail = log1p(e)
            total += row * (on * ((0 if x > 0 else -x) + tail) + off * ((x if x > 0 else 0) + tail))
            slope = (off * (1 if x > 0 else e) - on * (e if x > 0 else 1)) / (1 + e)
            dlogits[n] = <floating>(scale * row * slope)
    flush_end(word)
    return total
