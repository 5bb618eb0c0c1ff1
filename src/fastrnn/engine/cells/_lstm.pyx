"""Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000).

    i, f, o = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)     g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
    c_t = f * c_{t-1} + i * g
    m_t = o * tanh(c_t)          h_t = m_t, or W_hr m_t with a projection (Sak, Senior and Beaufays 2014)

    dm_t = dh_t, or dh_t W_hr
    dc_t += dm_t * o * (1 - tanh(c_t)^2)
    dz_i = dc_t * g * i (1 - i)    dz_f = dc_t * c_{t-1} * f (1 - f)    dz_g = dc_t * i * (1 - g^2)
    dz_o = dm_t * tanh(c_t) * o (1 - o)
    dc_{t-1} = dc_t * f            dh_{t-1} = dz_t W_hh

Gate order in memory: i, f, g, o. `saved` keeps m_t: [R,H] when there is a projection.
"""

from libc.string cimport memcpy

from fastrnn.engine.cells._cell cimport (
    Arena, Layer, Step, leads, barrier, no_cell, pack_whole, pack_whole_transposed, product, unit_room, whole_product)
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_int, fr_matrix
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_columns, pack_rows, zero


cdef void pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    pack_whole(layer, arena)
    if layer.params.weight_hr != NULL:
        layer.p_hr = pack_rows(arena, layer.k, layer.params.weight_hr, layer.out, layer.hidden)


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    pack_whole_transposed(layer, arena)
    if layer.params.weight_hr != NULL:
        layer.q_hr = pack_columns(arena, layer.k, layer.params.weight_hr, layer.hidden, layer.out)


cdef inline void gates_forward(const Layer *layer, const Step *s, char *m, fr_int ld, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef fr_matrix z = matrix(s.z, layer.ld_z)
    # z: [R,4H] += h_in: [R,P] W_hh^T
    product(s, z, matrix(s.h_in, s.ld_h_in), &layer.p_hh, z)
    barrier(s)
    if leads(s):
        layer.k.lstm_forward(m, ld, s.c, H, s.z, layer.ld_z, s.c_prev, H, keep, s.rows, H)
    barrier(s)


cdef inline void gates_backward(const Layer *layer, const Step *s, const char *dm) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.k.lstm_backward(s.z, layer.ld_z, s.dc, H, dm, H, s.c, H, s.c_prev, H, s.rows, H)
    # dh_in: [R,P] = dz: [R,4H] W_hh
    multiply(matrix(s.dh_in, layer.out), matrix(s.z, layer.ld_z), &layer.q_hh, zero(), s.rows)


cdef void step_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    gates_forward(layer, s, s.h, s.ld_h, keep)


cdef void step_backward(const Layer *layer, const Step *s) noexcept nogil:
    gates_backward(layer, s, s.dh)


cdef void projected_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    gates_forward(layer, s, s.saved, layer.hidden, keep)
    # h: [R,P] = m: [R,H] W_hr^T
    product(s, matrix(s.h, s.ld_h), matrix(s.saved, layer.hidden), &layer.p_hr, zero())
    barrier(s)


cdef void projected_backward(const Layer *layer, const Step *s) noexcept nogil:
    memcpy(s.dp, s.dh, s.rows * layer.out * layer.k.itemsize)
    # dm: [R,H] = dh: [R,P] W_hr
    cdef char *dm = unit_room(layer, s)
    multiply(matrix(dm, layer.hidden), matrix(s.dh, layer.out), &layer.q_hr, zero(), s.rows)
    gates_backward(layer, s, dm)


lstm_ops = no_cell()
lstm_ops.gates = 4
lstm_ops.has_c = True
lstm_ops.pack_forward = &pack_forward
lstm_ops.pack_backward = &pack_backward
lstm_ops.step_forward = &step_forward
lstm_ops.step_backward = &step_backward
lstm_ops.products = &whole_product

lstm_projected_ops = lstm_ops
lstm_projected_ops.saved = 1
lstm_projected_ops.step_forward = &projected_forward
lstm_projected_ops.step_backward = &projected_backward

cdef Kind kind = Kind(
    "LSTM", states="h c", activations="sigmoid tanh tanh", opening="f", keras="i f g o", onnx="i o f g",
    gates=[("i", "input"), ("f", "forget", "sigmoid", True), ("g", "cell", "tanh"), ("o", "output")],
    parameters=[
        ("weight_ih", ("gates", "input"), "input"),
        ("weight_hh", ("gates", "out"), "recurrent"),
        ("bias_ih", ("gates",), "bias", "bias"),
        ("bias_hh", ("gates",), "bias", "bias"),
        ("weight_ci", ("hidden",), "vector", "peepholes"),
        ("weight_cf", ("hidden",), "vector", "peepholes"),
        ("weight_co", ("hidden",), "vector", "peepholes"),
        ("weight_hr", ("out", "hidden"), "input", "projection"),
        ("gain_ih", ("gates",), "ones", "layer_norm"),
        ("gain_hh", ("gates",), "ones", "layer_norm"),
        ("gain_c", ("hidden",), "ones", "layer_norm"),
        ("bias_c", ("hidden",), "bias", "layer_norm bias"),
    ],
)
kind.serve(&lstm_ops)
kind.serve(&lstm_projected_ops, "projection")
LSTM = kind
