"""Minimal gated recurrent unit (Feng et al. 2024, "Were RNNs all we needed?", arXiv 2410.01201).

    z_t = sigmoid(W_z x_t + b_z)          g(a) = a + 1/2 where a >= 0, else sigmoid(a)
    n_t = g(W_n x_t + b_n)
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    dh_t += dy_t
    da_n = dh_t * z_t * g'(a_n)           da_z = dh_t * (n_t - h_{t-1}) * z_t (1 - z_t)
    dh_{t-1} = dh_t * (1 - z_t)

The paper's log-space form, in which g keeps the candidate above 0, in its sequential mode: h_0 is used as it is. Gate
order in memory: z, n.
"""

from fastrnn.engine.cells._cell cimport CellOps, Layer
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_scan
from fastrnn.engine.scan._scan cimport scan_cell


cdef void scan_forward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.mingru_forward(scan)


cdef void scan_backward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.mingru_backward(scan)


cdef CellOps mingru_ops
mingru_ops = scan_cell(2)
mingru_ops.scan_forward = &scan_forward
mingru_ops.scan_backward = &scan_backward

cdef Kind kind = Kind(
    "MinGRU", states="h", gates=[("z", "keep", "sigmoid", True, True), ("n", "candidate", None)],
    parameters=[("weight_ih", ("gates", "input"), "input"), ("bias_ih", ("gates",), "bias", "bias")],
)
kind.serve(&mingru_ops)
MinGRU = kind
