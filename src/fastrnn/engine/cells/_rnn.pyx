"""The simple recurrent cell (Elman 1990, "Finding structure in time").

    h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh),  act = tanh or relu

    dz_t     = dh_t * act'(z_t)
    dh_{t-1} = dz_t W_hh
"""

from fastrnn.engine.cells._cell cimport (
    Layer, Step, leads, barrier, no_cell, pack_whole, pack_whole_transposed, product, whole_product)
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_int, fr_matrix
from fastrnn.engine.runtime._panels cimport matrix, multiply, zero


cdef void step_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef fr_matrix z = matrix(s.z, layer.ld_z)
    # z: [R,H] += h_in: [R,H] W_hh^T
    product(s, z, matrix(s.h_in, s.ld_h_in), &layer.p_hh, z)
    barrier(s)
    if leads(s):
        layer.k.rnn_forward(s.h, s.ld_h, s.z, layer.ld_z, layer.relu, s.rows, H)
    barrier(s)


cdef void step_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.k.rnn_backward(s.z, layer.ld_z, s.dh, H, s.h, s.ld_h, layer.relu, s.rows, H)
    # dh_in: [R,H] = dz: [R,H] W_hh
    multiply(matrix(s.dh_in, H), matrix(s.z, layer.ld_z), &layer.q_hh, zero(), s.rows)


rnn_ops = no_cell()
rnn_ops.gates = 1
rnn_ops.pack_forward = &pack_whole
rnn_ops.pack_backward = &pack_whole_transposed
rnn_ops.step_forward = &step_forward
rnn_ops.step_backward = &step_backward
rnn_ops.products = &whole_product

cdef Kind kind = Kind(
    "RNN", states="h", activations="tanh", gates=[("h", "state", "tanh")], keras="h", onnx="h",
    parameters=[
        ("weight_ih", ("gates", "input"), "input"),
        ("weight_hh", ("gates", "out"), "recurrent"),
        ("bias_ih", ("gates",), "bias", "bias"),
        ("bias_hh", ("gates",), "bias", "bias"),
    ],
)
kind.serve(&rnn_ops)
RNN = kind
