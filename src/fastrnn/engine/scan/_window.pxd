"""A layer that sees the last k inputs at each step; see ``_window.pyx``."""

from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._rows cimport Rows

cdef struct Window:
    # Of one direction of one layer for one worker's rows, in that direction's packed order; W = features.
    const char *source      # [N, W] the inputs
    char *before            # [batch, (k-1)*W] inputs before the first step, oldest first
    char *dbefore           # [batch, (k-1)*W] in: gradient of the last k-1 inputs; out: gradient of `before`

cdef void unfold(char *x, const Layer *layer, const Rows *rows, const Window *window, fr_int t,
                 fr_int end) noexcept nogil
cdef void fold(char *dx, const char *dunfolded, const Layer *layer, const Rows *rows,
               const Window *window) noexcept nogil
cdef void last_inputs(char *dst, const Layer *layer, const Rows *rows, const Window *window, fr_int j) noexcept nogil
