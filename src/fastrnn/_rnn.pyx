"""The simple recurrent cell (Elman 1990, "Finding structure in time").

    h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh),  act = tanh or relu

    dz_t     = dh_t * act'(z_t)
    dh_{t-1} = dz_t W_hh
"""

from fastrnn._cell cimport (
    Arena, CellOps, Layer, Product, Step, leads, meet, pack_columns, pack_rows, product, start_values)
from fastrnn._kernels cimport fr_int


cdef void pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    layer.start = start_values(arena, layer, layer.gates, layer.b_ih, layer.b_hh)
    layer.p_ih = pack_rows(arena, layer.k, layer.w_ih, layer.gates, layer.input_size)
    layer.p_hh = pack_rows(arena, layer.k, layer.w_hh, layer.gates, layer.out)


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    layer.q_ih = pack_columns(arena, layer.k, layer.w_ih, layer.input_size, layer.gates)
    layer.q_hh = pack_columns(arena, layer.k, layer.w_hh, layer.out, layer.gates)


cdef void step_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden
    # z: [R,H] += h_prev: [R,H] W_hh^T
    product(layer.k, s, s.z, H, s.h_prev, s.ld_h_prev, layer.p_hh, s.z, H, s.rows, H, H)
    meet(s)
    if leads(s):
        layer.k.rnn_forward(s.h, s.ld_h, s.z, H, layer.relu, s.rows, H)
    meet(s)


cdef void step_backward(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.k.rnn_backward(s.z, H, s.dh, H, s.h, s.ld_h, layer.relu, s.rows, H)
    # dh_prev: [R,H] = dz: [R,H] W_hh
    layer.k.gemm(s.dh, H, s.z, H, layer.q_hh, NULL, 0, s.rows, H, H)


cdef int products(const Layer *layer, Product *p) noexcept nogil:
    p[0] = Product(False, 0, 0, layer.gates, False)
    return 1


rnn_ops = CellOps(1, 0, False, &pack_forward, &pack_backward, &step_forward, &step_backward, &products)
