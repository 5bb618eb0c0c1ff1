"""Quasi-recurrent network with fo-pooling (Bradbury et al. 2017, arXiv 1611.01576).

    u_t = tanh(sum_j W_u^j x_{t-k+j} + b_u)              j = 1 .. k, a convolution that sees the last k inputs
    f_t, o_t = sigmoid(sum_j W_f^j x_{t-k+j} + b_f), sigmoid(sum_j W_o^j x_{t-k+j} + b_o)
    c_t = f_t * c_{t-1} + (1 - f_t) * u_t
    h_t = o_t * c_t

    dc_t += dh_t * o_t
    da_u = dc_t * (1 - f_t) * (1 - u_t^2)                da_f = dc_t * (c_{t-1} - u_t) * f_t (1 - f_t)
    da_o = dh_t * c_t * o_t (1 - o_t)                    dc_{t-1} = dc_t * f_t

Gate order in memory: u, f, o. The last k inputs side by side are the input of a step, see `_window`.
"""

from fastrnn.engine.cells._cell cimport CellOps, Layer
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_scan
from fastrnn.engine.scan._scan cimport scan_cell


cdef void scan_forward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.qrnn_forward(scan)


cdef void scan_backward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.qrnn_backward(scan)


cdef CellOps qrnn_ops
qrnn_ops = scan_cell(3)
qrnn_ops.has_c = True
qrnn_ops.scan_forward = &scan_forward
qrnn_ops.scan_backward = &scan_backward

cdef Kind kind = Kind(
    "QRNN", states="c w", gates=[("u", "candidate", "tanh"), ("f", "forget", "sigmoid", True), ("o", "output")],
    parameters=[("weight_ih", ("gates", "input"), "input"), ("bias_ih", ("gates",), "bias", "bias")],
)
kind.serve(&qrnn_ops)
QRNN = kind
