"""Inputs side by side, so that one product computes a causal convolution over time.

    row (t, j) of the unfold input = [x_{t-k+1} .. x_{t-1}, x_t] of sequence j: [k*W]

The state holds the k - 1 inputs before a sequence's first step. Below, place p counts from the oldest of them: block b
of step t is place t + b, and the last k - 1 inputs are blocks 0 .. k-2 of the step after a sequence's end.
"""

from libc.string cimport memcpy, memset

from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._rows cimport Rows


cdef inline fr_int row_of(const Rows *rows, fr_int t, fr_int j) noexcept nogil:
    return rows.offset[t] + j


cdef inline const char *input_at(const Layer *layer, const Rows *rows, const Window *window, fr_int p,
                                 fr_int j) noexcept nogil:
    """The input at place p of sequence j."""
    cdef fr_int nbytes = layer.features * layer.k.itemsize, before = layer.window - 1
    if p < before:
        return window.before + (j * before + p) * nbytes
    return window.source + row_of(rows, p - before, j) * nbytes


cdef void unfold(char *x, const Layer *layer, const Rows *rows, const Window *window, fr_int t,
                 fr_int end) noexcept nogil:
    """x: [rows of the steps t .. end - 1, k*W]"""
    cdef fr_int nbytes = layer.features * layer.k.itemsize, j, b
    while t < end:
        for j in range(rows.active[t]):
            for b in range(layer.window):
                memcpy(x, input_at(layer, rows, window, t + b, j), nbytes)
                x += nbytes
        t += 1


cdef void last_inputs(char *dst, const Layer *layer, const Rows *rows, const Window *window, fr_int j) noexcept nogil:
    """dst: [(k-1)*W], the inputs that the next call needs before sequence j's first step."""
    cdef fr_int nbytes = layer.features * layer.k.itemsize, b
    for b in range(layer.window - 1):
        memcpy(dst + b * nbytes, input_at(layer, rows, window, rows.length[j] + b, j), nbytes)


cdef void fold(char *dx, const char *dunfolded, const Layer *layer, const Rows *rows,
               const Window *window) noexcept nogil:
    """dx: [N, W] and window.dbefore from dunfolded: [N, k*W] and the old window.dbefore: adds up each input's
    gradients."""
    cdef fr_int W = layer.features, nbytes = W * layer.k.itemsize, before = layer.window - 1, t, j, b, p, steps
    cdef char *initial
    cdef const char *last
    cdef const char *row
    memset(dx, 0, rows.count * nbytes)
    for j in range(rows.batch):
        # The last inputs' gradients go to these inputs' rows of dx, or to their places in `before`.
        initial = window.dbefore + j * before * nbytes
        steps = rows.length[j]
        if steps == 0:
            continue
        for b in range(before):
            last = initial + b * nbytes
            p = steps + b
            if p >= before:
                layer.k.add(dx + row_of(rows, p - before, j) * nbytes, W, last, W, 1, W)
        for p in range(before - 1, -1, -1):
            if p >= steps:
                memcpy(initial + p * nbytes, initial + (p - steps) * nbytes, nbytes)
            else:
                memset(initial + p * nbytes, 0, nbytes)
    # From the last step to the first, so that the sums have the same order with segments of the steps.
    for t in range(rows.steps - 1, -1, -1):
        row = dunfolded + rows.offset[t] * layer.input_size * layer.k.itemsize
        for j in range(rows.active[t]):
            for b in range(layer.window):
                p = t + b
                if p < before:
                    layer.k.add(window.dbefore + (j * before + p) * nbytes, W, row, W, 1, W)
                else:
                    layer.k.add(dx + row_of(rows, p - before, j) * nbytes, W, row, W, 1, W)
                row += nbytes
