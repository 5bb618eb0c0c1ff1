"""Minimal long short-term memory (Feng et al. 2024, "Were RNNs all we needed?", arXiv 2410.01201).

    f_t, i_t = sigmoid(W_f x_t + b_f), sigmoid(W_i x_t + b_i)      g(a) = a + 1/2 where a >= 0, else sigmoid(a)
    n_t  = g(W_n x_t + b_n)
    f'_t = f_t / (f_t + i_t)              i'_t = i_t / (f_t + i_t)
    h_t  = f'_t * h_{t-1} + i'_t * n_t

    dh_t += dy_t                          d = dh_t * (h_{t-1} - n_t) * f'_t * i'_t
    da_f = d * (1 - f_t)                  da_i = -d * (1 - i_t)                      da_n = dh_t * i'_t * g'(a_n)
    dh_{t-1} = dh_t * f'_t

The paper's log-space form, with normalised gates, in its sequential mode: h_0 is used as it is. Gate order in memory:
f, i, n. BPTT needs f', i', n in place of these, and f + i: [R,H] in `saved`.
"""

from fastrnn.engine.cells._cell cimport CellOps, Layer
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_scan
from fastrnn.engine.scan._scan cimport scan_cell


cdef void scan_forward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.minlstm_forward(scan)


cdef void scan_backward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.minlstm_backward(scan)


cdef CellOps minlstm_ops
minlstm_ops = scan_cell(3)
minlstm_ops.saved = 1
minlstm_ops.scan_forward = &scan_forward
minlstm_ops.scan_backward = &scan_backward

cdef Kind kind = Kind(
    "MinLSTM", states="h", gates=[("f", "forget", "sigmoid", True), ("i", "input"), ("n", "candidate", None)],
    parameters=[("weight_ih", ("gates", "input"), "input"), ("bias_ih", ("gates",), "bias", "bias")],
)
kind.serve(&minlstm_ops)
MinLSTM = kind
