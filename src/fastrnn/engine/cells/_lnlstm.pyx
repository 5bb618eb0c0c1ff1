"""Layer-normalised long short-term memory (Ba, Kiros and Hinton 2016, supplementary material).

    a_t = gain_ih * norm(W_ih x_t) + b_ih + gain_hh * norm(W_hh h_{t-1}) + b_hh      norm over all 4H values
    i, f, o = sigmoid of their part of a_t          g = tanh of its part
    c_t = f * c_{t-1} + i * g
    m_t = o * tanh(n_t),  n_t = gain_c * norm(c_t) + b_c          h_t = m_t, or W_hr m_t with a projection

    dm_t = dh_t, or dh_t W_hr
    dn_t = dm_t * o * (1 - tanh(n_t)^2)             dc_t += norm'(gain_c * dn_t)
    da_i = dc_t * g * i (1 - i)    da_f = dc_t * c_{t-1} * f (1 - f)    da_g = dc_t * i * (1 - g^2)
    da_o = dm_t * tanh(n_t) * o (1 - o)             dc_{t-1} = dc_t * f
    d(W_ih x_t) = norm'(gain_ih * da)    d(W_hh h_{t-1}) = norm'(gain_hh * da)    dh_{t-1} = d(W_hh h_{t-1}) W_hh

Gate order in memory: i, f, g, o. After BPTT z holds d(W_ih x_t), and `saved` d(W_hh h_{t-1}) in the place of its norm.
"""

from libc.string cimport memcpy

from fastrnn.engine.cells._cell cimport (
    CellOps, Arena, Layer, Product, Step, leads, barrier, no_cell, pack_whole_transposed, product, unit_room)
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.cells._lstm import LSTM
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.cells._norm cimport (
    STATS, add_values, normalise, normalise_backward, block_at, set_values, sum_shift, take_norm)
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_columns, pack_rows, zero

cdef enum:
    # Places in `saved`, in units of H: with a projection first m_t [H], then the norms of c_t [H], W_ih x_t [4H] and
    # W_hh h_{t-1} [4H], three rstd.
    NORM_C = 0          # with a projection this and the next places are one larger
    NORM_IH = 1
    NORM_HH = 5
    SAVED = 9
    # Places in `norm` and `sums`.
    GAIN_IH = 0
    GAIN_HH = 4
    SHIFT = 8           # b_ih + b_hh
    GAIN_C = 12
    SHIFT_C = 13
    SUMS = 14


cdef inline fr_int shift_of(const Layer *layer) noexcept nogil:
    """How far the places in `saved` are moved."""
    return 1 if layer.params.weight_hr != NULL else 0


cdef void pack_norm(Layer *layer, Arena *arena) noexcept nogil:
    layer.norm = take_norm(layer, arena)
    if layer.norm != NULL:
        set_values(layer, layer.norm, GAIN_IH, 4, layer.params.gain_ih, NULL)
        set_values(layer, layer.norm, GAIN_HH, 4, layer.params.gain_hh, NULL)
        set_values(layer, layer.norm, SHIFT, 4, layer.params.bias_ih, layer.params.bias_hh)
        set_values(layer, layer.norm, GAIN_C, 1, layer.params.gain_c, NULL)
        set_values(layer, layer.norm, SHIFT_C, 1, layer.params.bias_c, NULL)


cdef void pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    pack_norm(layer, arena)
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, layer.gate_size, layer.input_size)
    layer.p_hh = pack_rows(arena, layer.k, layer.params.weight_hh, layer.gate_size, layer.out)
    if layer.params.weight_hr != NULL:
        layer.p_hr = pack_rows(arena, layer.k, layer.params.weight_hr, layer.out, layer.hidden)


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    pack_norm(layer, arena)
    pack_whole_transposed(layer, arena)
    if layer.params.weight_hr != NULL:
        layer.q_hr = pack_columns(arena, layer.k, layer.params.weight_hr, layer.hidden, layer.out)


cdef inline void gates_forward(const Layer *layer, const Step *s, char *m, fr_int ld) noexcept nogil:
    cdef fr_int H = layer.hidden, E = layer.saved, moved = shift_of(layer), stats = SAVED + moved
    cdef char *hh = block_at(layer, s.saved, NORM_HH + moved)
    # hh: [R,4H] = h_in: [R,P] W_hh^T
    product(s, matrix(hh, E), matrix(s.h_in, s.ld_h_in), &layer.p_hh, zero())
    barrier(s)
    if leads(s):
        normalise(layer, s, s.z, layer.ld_z, s.z, layer.ld_z, NORM_IH + moved, 0, stats, GAIN_IH, SHIFT, 4)
        normalise(layer, s, s.z, layer.ld_z, hh, E, NORM_HH + moved, 1, stats, GAIN_HH, -1, 4)
        layer.k.lstm_cell(s.c, H, s.z, layer.ld_z, s.c_prev, H, s.rows, H)
        normalise(layer, s, m, ld, s.c, H, NORM_C + moved, 2, stats, GAIN_C, SHIFT_C, 1)
        layer.k.lstm_output(m, ld, s.z, layer.ld_z, m, ld, s.rows, H)
    barrier(s)


cdef inline void gates_backward(const Layer *layer, const Step *s, const char *dm) noexcept nogil:
    cdef fr_int H = layer.hidden, E = layer.saved, moved = shift_of(layer), stats = SAVED + moved
    cdef char *hh = block_at(layer, s.saved, NORM_HH + moved)
    cdef char *dn = unit_room(layer, s)
    layer.k.lstm_output_backward(dn, H, s.z, layer.ld_z, dm, H, block_at(layer, s.saved, NORM_C + moved), E,
                                 block_at(layer, layer.norm, GAIN_C), block_at(layer, layer.norm, SHIFT_C), s.rows, H)
    sum_shift(layer, s, dn, H, SHIFT_C, 1)
    normalise_backward(layer, s, dn, H, dn, H, NORM_C + moved, 2, stats, GAIN_C, 1)
    layer.k.add(s.dc, H, dn, H, s.rows, H)
    layer.k.lstm_cell_backward(s.z, layer.ld_z, s.dc, H, s.c_prev, H, s.rows, H)
    sum_shift(layer, s, s.z, layer.ld_z, SHIFT, 4)
    normalise_backward(layer, s, hh, E, s.z, layer.ld_z, NORM_HH + moved, 1, stats, GAIN_HH, 4)
    normalise_backward(layer, s, s.z, layer.ld_z, s.z, layer.ld_z, NORM_IH + moved, 0, stats, GAIN_IH, 4)
    # dh_in: [R,P] = d(W_hh h_in): [R,4H] W_hh
    multiply(matrix(s.dh_in, layer.out), matrix(hh, E), &layer.q_hh, zero(), s.rows)


cdef void step_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    gates_forward(layer, s, s.h, s.ld_h)


cdef void step_backward(const Layer *layer, const Step *s) noexcept nogil:
    gates_backward(layer, s, s.dh)


cdef void projected_forward(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    gates_forward(layer, s, s.saved, layer.saved)
    # h: [R,P] = m: [R,H] W_hr^T
    product(s, matrix(s.h, s.ld_h), matrix(s.saved, layer.saved), &layer.p_hr, zero())
    barrier(s)


cdef void projected_backward(const Layer *layer, const Step *s) noexcept nogil:
    memcpy(s.dp, s.dh, s.rows * layer.out * layer.k.itemsize)
    # dm: [R,H] = dh: [R,P] W_hr
    cdef char *dm = unit_room(layer, s)
    multiply(matrix(dm, layer.hidden), matrix(s.dh, layer.out), &layer.q_hr, zero(), s.rows)
    gates_backward(layer, s, dm)


cdef int products(const Layer *layer, Product *p) noexcept nogil:
    p[0] = Product(True, (NORM_HH + shift_of(layer)) * layer.hidden, 0, layer.gate_size, False)
    return 1


cdef void add_sums(const Layer *layer, const char *sums) noexcept nogil:
    add_values(layer, layer.grads.gain_ih, block_at(layer, sums, GAIN_IH), 4)
    add_values(layer, layer.grads.gain_hh, block_at(layer, sums, GAIN_HH), 4)
    add_values(layer, layer.grads.gain_c, block_at(layer, sums, GAIN_C), 1)
    add_values(layer, layer.grads.bias_ih, block_at(layer, sums, SHIFT), 4)
    add_values(layer, layer.grads.bias_hh, block_at(layer, sums, SHIFT), 4)
    add_values(layer, layer.grads.bias_c, block_at(layer, sums, SHIFT_C), 1)


cdef CellOps lnlstm_ops, lnlstm_projected_ops
lnlstm_ops = no_cell()
lnlstm_ops.gates = 4
lnlstm_ops.saved = SAVED
lnlstm_ops.stats = STATS
lnlstm_ops.sums = SUMS
lnlstm_ops.has_c = True
lnlstm_ops.pack_forward = &pack_forward
lnlstm_ops.pack_backward = &pack_backward
lnlstm_ops.step_forward = &step_forward
lnlstm_ops.step_backward = &step_backward
lnlstm_ops.products = &products
lnlstm_ops.add_sums = &add_sums

lnlstm_projected_ops = lnlstm_ops
lnlstm_projected_ops.saved = SAVED + 1
lnlstm_projected_ops.step_forward = &projected_forward
lnlstm_projected_ops.step_backward = &projected_backward

cdef Kind kind = LSTM
kind.serve(&lnlstm_ops, "layer_norm")
kind.serve(&lnlstm_projected_ops, "layer_norm projection")
